"""The sampler and the batches: pure functions of (seed, step)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gqn.config import preset
from gqn.data.sources import source
from gqn.data.tasks import Sampler, batches, permuted
from gqn.errors import BadInput
from gqn.views import Cameras, Views


class Numbered:
    """A source whose frames say which scene and view they are."""

    num_views, image_size, overhead_queries = 6, 4, False

    def __len__(self):
        return 37

    def views(self, index, which):
        frames = torch.zeros(len(which), 3, 4, 4, dtype=torch.uint8)
        frames[:, 0] = index
        frames[:, 1] = torch.as_tensor(which)[:, None, None]
        return Views(frames, Cameras(torch.zeros(len(which), 5)))


def sampler(**options):
    given = dict(scenes=37, views=6, batch_size=4, min_context=1, max_context=4, queries=2, seed=0)
    return Sampler(**given | options)


@given(st.integers(1, 600), st.integers(0, 2**40))
@settings(max_examples=30)
def test_permuted_is_a_permutation(n, seed):
    assert sorted(permuted(i, n, (seed, 0)) for i in range(n)) == list(range(n))


def test_permutations_differ_between_epochs_and_seeds():
    orders = [[permuted(i, 50, key) for i in range(50)] for key in [(0, 0), (0, 1), (1, 0)]]
    assert orders[0] != orders[1] != orders[2] != orders[0]


@given(st.integers(0, 10**9), st.integers(0, 10**6))
@settings(max_examples=50)
def test_mistake_4_query_is_not_in_the_context(seed, step):
    requests = sampler(seed=seed).requests(step)
    assert len({len(r.context) for r in requests}) == 1
    for r in requests:
        together = [*r.context, *r.query]
        assert len(set(together)) == len(together) == len(r.context) + 2
        assert set(together) <= set(range(6))


def test_every_number_of_context_views_is_as_likely():
    sizes = [len(sampler().requests(step)[0].context) for step in range(2000)]
    counts = np.bincount(sizes, minlength=5)[1:]
    assert (abs(counts - 500) < 100).all()


def test_mistake_8_no_scene_is_lost_or_doubled_in_an_epoch():
    """37 scenes in batches of 4 and on 2 ranks; epochs run on without a seam."""
    both = [sampler(rank=r, ranks=2) for r in range(2)]
    scenes = [q.scene for step in range(37) for s in both for q in s.requests(step)]
    for epoch in range(4):
        assert sorted(scenes[epoch * 37 : (epoch + 1) * 37]) == list(range(37))


def test_ranks_share_the_batch_of_one():
    one = sampler().requests(5)
    shared = [r for rank in range(4) for r in sampler(rank=rank, ranks=4).requests(5)]
    for a, b in zip(one, shared, strict=True):
        assert a.scene == b.scene and (a.context == b.context).all() and (a.query == b.query).all()


def test_mistake_9_batches_differ_from_each_other():
    seen = {(*r.context, r.scene) for step in range(20) for r in sampler().requests(step)}
    assert len(seen) > 60


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(workers):
    steps = range(3, 9)
    alone = list(batches(Numbered(), sampler(), steps))
    helped = list(batches(Numbered(), sampler(), steps, workers))
    assert len(alone) == len(helped) == 6
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.context.frames, b.context.frames)
        assert torch.equal(a.query.frames, b.query.frames)


def test_a_task_holds_the_views_that_were_asked_for():
    for step, task in enumerate(batches(Numbered(), sampler(), range(4))):
        for i, request in enumerate(sampler().requests(step)):
            assert (task.context.frames[i, :, 0] == request.scene).all()
            assert task.context.frames[i, :, 1, 0, 0].tolist() == list(request.context)
            assert task.query.frames[i, :, 1, 0, 0].tolist() == list(request.query)


def test_an_error_does_not_leave_workers_behind_that_keep_the_program_from_ending():
    program = """
from test_tasks import Numbered, sampler, batches
tasks = batches(Numbered(), sampler(), range(100), 1)
next(tasks)
raise RuntimeError("an error that nobody caught")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "RuntimeError: an error that nobody caught"


def test_too_many_views_are_refused():
    with pytest.raises(BadInput, match="6 views"):
        sampler(max_context=5)
    with pytest.raises(BadInput, match="at least 1"):
        sampler(min_context=0, max_context=0)


MAZES = preset("demo").on("mazes").having(image_size=32, query="overhead", max_context_size=3, num_views=6)


def test_a_task_asks_for_the_map():
    scenes = source(**MAZES.scenes("test"))
    task = next(batches(scenes, Sampler(len(scenes), scenes.num_views, 2, 3, 3), range(1)))
    assert task.context.frames.shape == (2, 3, 3, 32, 32) and task.query.frames.shape == (2, 1, 3, 32, 32)
    assert task.context.cameras.fov == 90 and task.query.cameras.fov < 10
    requests = Sampler(len(scenes), scenes.num_views, 2, 3, 3).requests(0)
    for i, request in enumerate(requests):
        assert torch.equal(task.query.frames[i], scenes.overhead(request.scene).frames)
        assert torch.equal(task.context.frames[i], scenes.views(request.scene, request.context).frames)

"""The sampler and the batches: pure functions of (seed, step)."""

import pickle
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
from gqn.data.tasks import Sampler, _Batches, batches, permuted
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


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_number_of_workers_gives_the_tasks_that_were_asked_for_in_order(workers):
    steps = range(3, 12)
    tasks = list(batches(Numbered(), sampler(), steps, workers))
    assert len(tasks) == len(steps)
    for step, task in zip(steps, tasks, strict=True):
        requests = sampler().requests(step)
        assert task.context.frames[:, 0, 0, 0, 0].tolist() == [r.scene for r in requests]
        assert task.context.frames[:, :, 1, 0, 0].tolist() == [r.context.tolist() for r in requests]
        assert task.query.frames[:, :, 1, 0, 0].tolist() == [r.query.tolist() for r in requests]


def test_requests_are_those_of_recorded_runs():
    requests = Sampler(2**32, 15, 3, 1, 14, seed=5).requests(1000)
    assert [r.scene for r in requests] == [2766241408, 1159666062, 94490708]
    assert [r.context.tolist() for r in requests] == [[0, 3, 11], [8, 13, 14], [7, 5, 3]]
    assert [r.query.tolist() for r in requests] == [[7], [11], [13]]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_alone_work_out_what_a_batch_consists_of(monkeypatch, workers):
    """The process that trains is told of no task: on a GPU, a step takes less time than to draw its tasks."""
    drawn = []  # in this process: a worker has a copy
    requests = Sampler.requests
    monkeypatch.setattr(Sampler, "requests", lambda self, step: drawn.append(step) or requests(self, step))
    assert len(list(batches(Numbered(), sampler(), range(5), workers))) == 5
    assert drawn == ([] if workers else [0, 1, 2, 3, 4])


class Refused(BadInput):
    """One kind of BadInput."""


class Refusing(Numbered):
    """A source, and an order of its scenes, that refuses one of them."""

    def __init__(self, scene=-1, number=-1):
        self.scene, self.number = scene, number

    def views(self, index, which):
        if index == self.scene:
            raise Refused(f"no scene {index}")
        return super().views(index, which)

    def __call__(self, seed, number):
        if number == self.number:
            raise Refused(f"no task {number}")
        return number


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("refuses", ["scene", "number"])
def test_an_error_comes_with_its_batch(workers, refuses):
    source = Refusing(**{refuses: 4 * 5 + 1})
    tasks = batches(source, sampler(scenes=source), range(9), workers)
    assert [next(tasks).query.frames[0, 0, 0, 0, 0].item() for _ in range(5)] == [0, 4, 8, 12, 16]
    with pytest.raises(Refused, match=r"^no (scene|task) 21$"):
        next(tasks)


def test_what_a_worker_is_given_can_be_pickled():
    """Where processes are not forked, it is."""
    scenes = source("jaco", "train", image_size=16)
    made = _Batches(scenes, Sampler(scenes.order, scenes.num_views, 2, 1, 3))
    again = pickle.loads(pickle.dumps(made))
    assert torch.equal(again[7].context.frames, made[7].context.frames)


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

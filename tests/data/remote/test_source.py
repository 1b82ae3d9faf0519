"""Remote scenes come each once per epoch, in an order that depends on seed and step only."""

import pickle

import numpy as np
import torch

from bucket import NAME, SCENES, SIZES, WHICH
from gqn.data.remote import source as remote
from gqn.data.sources import source
from gqn.data.tasks import Sampler, batches


def windows(sizes, seed=0):
    """An order over files of these sizes, with what it asked about and told."""
    counted, told = [], []
    order = remote.Windows(len(sizes), lambda files: (counted.extend(files), [sizes[f] for f in files])[1], told.append)
    return order, counted, told


def test_each_scene_comes_once_per_epoch_window_after_window():
    sizes = (5, 1, 0, 7, 3, 2, 2, 9, 4, 4, 1, 6, 8, 0, 3, 3, 2, 2, 5)
    total = sum(sizes)
    order, _, _ = windows(sizes)
    epochs = [[order(3, e * total + i) for i in range(total)] for e in range(3)]
    everything = sorted(f * remote.MOST + i for f, n in enumerate(sizes) for i in range(n))
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    first = order.window(3, 0)
    assert first != order.window(3, 3)  # the same place in the next epoch
    n = sum(sizes[f] for f in first)
    assert len(first) == remote.WINDOW and {s // remote.MOST for s in epochs[0][:n]} == {f for f in first if sizes[f]}
    assert [s // remote.MOST for s in epochs[0][:n]] != sorted(s // remote.MOST for s in epochs[0][:n])
    assert [order(4, i) for i in range(total)] != epochs[0]


def test_the_order_does_not_depend_on_where_one_starts():
    sizes = (5, 1, 2, 7, 3, 2, 2, 9, 4, 4)
    straight, _, _ = windows(sizes)
    all_of_it = [straight(0, i) for i in range(100)]
    for start in (0, 17, 39, 61):
        resumed, _, told = windows(sizes)
        assert resumed(0, start) == all_of_it[start]
        assert len(told) <= 2  # what lies before is counted, and not fetched if it was before
        assert [resumed(0, i) for i in range(start, 100)] == all_of_it[start:]


def test_files_are_asked_about_when_needed_and_told_ahead():
    order, counted, told = windows((4,) * 24)
    order(0, 0)
    assert sorted(set(counted)) == sorted(order.window(0, 0)) and told == [order.window(0, 0)]
    order(0, 15)
    assert len(told) == 1
    order(0, 16)  # half of the window
    assert told == [order.window(0, 0), order.window(0, 1)] and len(set(counted)) == 8


def test_an_epoch_of_remote_scenes_has_each_once_on_ranks_with_workers_and_across_a_resume(bucket, tmp_path):
    seen = {}
    for workers, ranks in ((0, 1), (1, 2)):
        seen[workers] = []
        for steps in (range(3), range(3, 8)):
            scenes = [source(NAME, "train", data=bucket.address) for _ in range(ranks)]  # as after a new start
            shares = [
                batches(s, Sampler(s.order, 3, 4, 1, 2, rank=r, ranks=ranks), steps, workers)
                for r, s in enumerate(scenes)
            ]
            for tasks in zip(*shares, strict=True):
                seen[workers] += [WHICH[tuple(pose)] for t in tasks for pose in t.query.cameras.pose[:, 0].tolist()]
    assert seen[0] == seen[1]
    assert sorted(seen[0][:SCENES]) == list(range(SCENES)) and len(seen[0]) == 32
    fetched = [path for path, _ in bucket.gets("tfrecord")]
    assert len(fetched) == len(set(fetched)) == len(SIZES)  # no file twice, though processes shared the cache


def test_remote_scenes_are_those_of_the_files(bucket):
    scenes = source(NAME, "train", data=bucket.address)
    local = source(NAME, "train", data=bucket.root)
    assert (scenes.num_views, scenes.image_size) == (3, 16)
    number = next(i for i, a in enumerate(scenes.addresses) if a.endswith("/2-of-10.tfrecord"))
    a = scenes.views(number * remote.MOST + 1, np.array([2, 0]))
    index = next(i for i in range(len(local)) if local.place(i)[0].path.name == "2-of-10.tfrecord") + 1
    b = local.views(index, np.array([2, 0]))
    assert torch.equal(a.frames, b.frames) and torch.equal(a.cameras.pose, b.cameras.pose)


def test_processes_that_are_not_forked_can_have_it(bucket):
    scenes = source(NAME, "train", data=bucket.address)
    again = pickle.loads(pickle.dumps(scenes))
    index = scenes.order(0, 5)
    assert again.order(0, 5) == index
    assert torch.equal(again.views(index, np.arange(1)).frames, scenes.views(index, np.arange(1)).frames)

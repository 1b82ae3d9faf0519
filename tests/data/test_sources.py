"""Scenes of a source are functions of their index, coded as released, and its splits disjoint."""

import numpy as np
import pytest
import simplejpeg
import torch

from gqn.data.sources import SPLITS, source
from gqn.errors import BadInput


def test_splits_are_disjoint():
    assert set(SPLITS) == {"train", "test"}
    assert SPLITS["train"].stop <= SPLITS["test"].start


def test_rendered_scenes_are_a_function_of_their_index():
    rendered = source("shepard_metzler_5_parts", "train", 32)
    which = np.array([3, 1])
    a, b = rendered.views(11, which), rendered.views(11, which)
    assert torch.equal(a.frames, b.frames) and torch.equal(a.cameras.pose, b.cameras.pose)
    alone = rendered.views(11, which[1:])
    assert torch.equal(a.frames[1:], alone.frames)
    assert not torch.equal(a.frames, rendered.views(12, which).frames)
    test = source("shepard_metzler_5_parts", "test", 32)
    assert not torch.equal(a.frames, test.views(11, which).frames)


def test_rendered_frames_take_the_released_coding_but_keep_small_chroma():
    for size, chroma in ((32, "444"), (None, "420")):
        rendered = source("shepard_metzler_5_parts", "train", size)
        assert rendered.image_size == (size or 64)
        scene, cameras = rendered.scene(0)
        pixels = rendered.family.render(scene, cameras[:3], rendered.image_size).frames
        coded, pose = rendered.coded(0, np.arange(3))
        views = rendered.views(0, np.arange(3))
        for k in range(3):
            frame = pixels[k].permute(1, 2, 0).numpy()
            assert coded[k] == simplejpeg.encode_jpeg(np.ascontiguousarray(frame), 95, colorsubsampling=chroma)
            assert np.array_equal(views.frames[k].permute(1, 2, 0).numpy(), simplejpeg.decode_jpeg(coded[k]))
        assert np.array_equal(pose, views.cameras.pose.numpy())


def test_the_first_scenes_are_taken():
    few = source("shepard_metzler_5_parts", "test", 32, num_scenes=3)
    assert len(few) == 3
    whole = source("shepard_metzler_5_parts", "test", 32)
    assert torch.equal(few.views(2, np.arange(1)).frames, whole.views(2, np.arange(1)).frames)


def test_unknown_dataset_names_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'shepard_metzler_5_parts'"):
        source("shepard_metzler_5_part", "train")

"""What a context view saw of a query's pixels, where geometry says what that is."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from gqn.data.sources import source
from gqn.data.specification import DATASETS
from gqn.evaluation.evaluate import FINER
from gqn.metrics.visibility import seen
from gqn.scenes import raycast, shepard_metzler
from gqn.views import CLOCKWISE, Cameras

SIZE = 64


def boxes(*centres_and_sizes):
    n = len(centres_and_sizes)
    objects = raycast.Objects(
        shape=np.full(n, raycast.BOX),
        centre=np.array([centre for centre, _ in centres_and_sizes], float),
        axes=np.tile(np.eye(3), (n, 1, 1)),
        size=np.array([size for _, size in centres_and_sizes], float),
        colour=np.ones((n, 3)),
    )
    return raycast.World(objects, raycast.no_grid(), shepard_metzler.LIGHT, (0.0, 0.0, 0.0))


def saw(inspect, pose, fov, size=SIZE, convention=CLOCKWISE):
    """The seen mask (M, H, W) and the background of the first camera, given the others."""
    cameras = Cameras(torch.tensor(pose, dtype=torch.float32), fov, convention)
    [depth], [ids] = map(torch.from_numpy, inspect(cameras[:1], size))
    depths, their_ids = map(torch.from_numpy, inspect(cameras[1:], size * FINER))
    return seen(cameras[0], depth, ids, cameras[1:], depths, their_ids)


def of(world):
    return lambda cameras, size: raycast.inspect(world, cameras, size)


def test_the_shadow_of_an_occluder():
    """A wall at x = 2.9 fills the query's view; a plate at x = 1, outside of it, hides a rectangle from the context."""
    world = boxes(((3, 0, 0), (0.1, 9, 9)), ((1, 2.0, 0), (0.001, 0.2, 0.3)))
    poses = [(0, 0, 0, 0, 0), (0, 3, 0, math.pi / 4, 0)]
    mask, background = saw(of(world), poses, 60.0)
    assert not background.any()
    side = 2.9 * math.tan(math.pi / 6) * (2 * (np.arange(SIZE) + 0.5) / SIZE - 1)
    z, y = np.meshgrid(-side, -side, indexing="ij")  # of the wall, at each pixel
    edge = 0.1  # a pixel is 0.05 wide there

    def in_shadow(margin):  # of the plate, 2.9 times as far as it
        y0, y1 = (3 + (at - 3) * 2.9 for at in (1.8, 2.2))
        return (y > y0 - margin) & (y < y1 + margin) & (abs(z) < 0.3 * 2.9 + margin)

    assert not mask[0][torch.from_numpy(in_shadow(-edge))].any()
    assert mask[0][torch.from_numpy(~in_shadow(edge))].all()
    assert 200 < in_shadow(-edge).sum() < in_shadow(edge).sum() < 1500


def test_the_back_of_a_cube_is_hidden_and_an_image_has_edges():
    world = boxes(((0, 0, 0), (0.5, 0.5, 0.5)))
    poses = [(-4, 0, 0, 0, 0), (4, 0, 0, math.pi, 0), (-4, 0, 0, math.pi, 0), (-4, 0, 0, 0.2, 0)]
    mask, background = saw(of(world), poses, 20.0)
    surface = (~background).sum()
    assert 0 < surface < SIZE**2
    assert not mask[0].any()  # from the other side
    assert not mask[1].any()  # with the back to it
    assert 0 < mask[2].sum() < surface  # turned, so that a part of it is in view
    columns = mask[2].any(0).nonzero()
    assert columns.min() > (~background).any(0).nonzero().min()  # that which it turned to


def test_what_is_out_of_view_is_not_seen():
    """Before a wall, a step of 1 to the left of a view 3.35 wide: what it has lost lies in the right 1 / 3.35."""
    poses = [(0, 0, 0, 0, 0), (0, 1, 0, 0, 0), (5.8, 0, 0, math.pi, 0)]  # the last stands behind the wall
    mask, _ = saw(of(boxes(((3, 0, 0), (0.1, 9, 9)))), poses, 60.0)
    lost = round(SIZE / 3.35)
    assert mask[0][:, : SIZE - lost - 1].all() and not mask[0][:, SIZE - lost + 1 :].any()
    assert not mask[1].any()


@pytest.mark.parametrize("name", DATASETS)
def test_a_view_saw_all_that_it_shows(name):
    """The context contains the query; and a step to the side hides next to nothing, floors seen aslant included."""
    scenes = source(name, "test", 32)
    shown = found = 0
    for index in range(5):
        scene, cameras = scenes.scene(index)
        pose = cameras.pose[:1].repeat(3, 1)
        pose[2, :3] += torch.tensor([0.004, -0.004, 0.001])
        inspect = partial(scenes.family.inspect, scene)
        mask, background = saw(inspect, pose.tolist(), cameras.fov, 32, cameras.convention)
        assert torch.equal(mask[0], ~background)
        assert not mask[:, background].any()
        shown, found = shown + (~background).sum(), found + mask[1].sum()
    assert found > 0.95 * shown

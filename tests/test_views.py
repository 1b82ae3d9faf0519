"""Camera conventions."""

import math
from dataclasses import replace

import torch

from conftest import made_up
from gqn.views import Cameras


def test_vector_has_the_official_readers_order():
    v = Cameras(torch.tensor([1.0, 2.0, 3.0, 0.3, -0.2])).vector()
    expected = [1, 2, 3, math.sin(0.3), math.cos(0.3), math.sin(-0.2), math.cos(-0.2)]
    torch.testing.assert_close(v, torch.tensor(expected))


def test_axes():
    """Yaw 0 looks along x with y to the left and z up; yaw turns clockwise; positive pitch looks up."""
    ahead = Cameras(torch.zeros(5)).matrix()
    right, down, forward = ahead[:3, :3].unbind(1)
    torch.testing.assert_close(forward, torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(right, torch.tensor([0.0, -1, 0]))
    torch.testing.assert_close(down, torch.tensor([0.0, 0, -1]))
    turned = Cameras(torch.tensor([0, 0, 0, math.pi / 2, 0])).matrix()[:3, 2]
    torch.testing.assert_close(turned, torch.tensor([0.0, -1, 0]), atol=1e-6, rtol=0)
    raised = Cameras(torch.tensor([0, 0, 0, 0, math.pi / 4])).matrix()[:3, 2]
    assert raised[2] > 0.7


def test_matrix_is_a_rotation_and_rays_are_unit_vectors_around_its_axis():
    cameras = made_up(4, 3).context.cameras
    rotation = cameras.matrix()[..., :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(4, 3, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(4, 3))
    _, rays = cameras.rays(6, 6)
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(4, 3, 6, 6))
    middle = torch.nn.functional.normalize(rays.mean((2, 3)), dim=-1)
    torch.testing.assert_close(middle, rotation[..., 2], atol=1e-6, rtol=0)
    _, pair = Cameras(torch.zeros(5), fov=90).rays(1000, 1000)
    assert abs(math.degrees(torch.acos(pair[500, 0] @ pair[500, -1])) - 90) < 0.1


def test_slicing_and_conversion():
    task = made_up(batch=4, context=3, queries=2)
    assert task[1:3].query.frames.shape[0] == 2
    assert task.context[:, 0].cameras.vector().shape == (4, 7)
    moved = task.to("meta")
    assert moved.context.frames.is_meta and moved.query.cameras.pose.is_meta
    stored = replace(task, context=replace(task.context, frames=(task.context.frames * 255).byte()))
    assert stored.float().context.frames.max() <= 1

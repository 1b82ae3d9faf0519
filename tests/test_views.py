"""Camera conventions."""

import math
from dataclasses import replace

import pytest
import torch

from gqn.errors import BadInput
from gqn.views import BEYOND, Cameras, Convention, Views, check_range
from support import made_up


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


@pytest.mark.parametrize("clockwise", [True, False])
def test_a_convention_says_how_yaw_turns_and_where_the_eye_is(clockwise):
    convention = Convention(clockwise, eye=0.25)
    pose = torch.tensor([[1.0, 2, 0, 0.3, 0.2], [0, 0, 0.5, -2.0, -0.4]])
    matrix = Cameras(pose, convention=convention).matrix()
    angle = torch.atan2(matrix[:, 1, 2], matrix[:, 0, 2])  # anticlockwise
    torch.testing.assert_close(angle, -pose[:, 3] if clockwise else pose[:, 3])
    torch.testing.assert_close(matrix[:, 2, 2], pose[:, 4].sin())
    torch.testing.assert_close(matrix[:, :3, 3], torch.tensor([[1.0, 2, 0.25], [0, 0, 0.75]]))
    torch.testing.assert_close(torch.linalg.det(matrix[:, :3, :3]), torch.ones(2))
    assert torch.equal(Cameras(pose, convention=convention).rays(2, 2)[0], matrix[:, :3, 3])
    for yaw in (0.3, -2.0, 3.0):
        assert convention.yaw(*convention.along(yaw)) == pytest.approx(yaw)
    mirrored = Cameras(pose * torch.tensor([1, -1, 1, 1, 1]), convention=Convention(not clockwise, 0.25)).matrix()
    torch.testing.assert_close(mirrored[:, :3, 2] * torch.tensor([1, -1, 1]), matrix[:, :3, 2])


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


FRAMES, POSE = torch.rand(2, 3, 3, 16, 16), torch.zeros(2, 3, 5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Cameras(POSE.tolist()), "poses must be a tensor, not list: torch.as_tensor"),
        (lambda: Cameras(POSE.long()), "5 floats, x, y, z, yaw, pitch, .* cannot be int64"),
        (lambda: Cameras(Cameras(POSE).vector()), r"5 floats, .* of shape \(2, 3, 7\)"),
        (lambda: Cameras(torch.tensor(0.0)), r"of shape \(\)"),
        (lambda: Cameras(POSE, 0.0), "between 0 and 180 degrees, not 0"),
        (lambda: Cameras(POSE, 180.0), "not 180"),
        (lambda: Cameras(POSE, math.nan), "not nan"),
        (lambda: Views(FRAMES.numpy(), Cameras(POSE)), "frames must be a tensor of images, not ndarray"),
        (lambda: Views(FRAMES.long(), Cameras(POSE)), "uint8, 0 to 255, or float, 0 to 1, not int64"),
        (lambda: Views(FRAMES.movedim(-3, -1), Cameras(POSE)), r"not \(2, 3, 16, 16, 3\): .movedim\(-1, -3\)"),
        (lambda: Views(FRAMES[0, 0, 0], Cameras(POSE)), r"must be of shape \(..., 3, height, width\), not \(16, 16\)"),
        (lambda: Views(FRAMES, POSE), r"must be Cameras\(pose, fov\), not Tensor"),
        (lambda: Views(FRAMES, Cameras(POSE[:, :1])), r"these frames are \(2, 3\) and their poses \(2, 1\)"),
        (lambda: Views(FRAMES, Cameras(POSE.mT.reshape(3, 2, 5))), r"\(2, 3\) and their poses \(3, 2\)"),
        (lambda: Views(FRAMES[..., :8], Cameras(POSE)).resized(8), "8 x 16 pixels are not square"),
    ],
)
def test_what_are_no_views(make, says):
    with pytest.raises(BadInput, match=says) as error:
        make()
    assert "\n" not in str(error.value)


def test_frames_that_are_not_in_range():
    for good in (FRAMES, FRAMES.clone().fill_(1 + BEYOND), FRAMES.clone().fill_(-BEYOND), FRAMES[:0], FRAMES.byte()):
        check_range(good, "frames")
    one = torch.ones_like(FRAMES)
    one[1, 2, 0, 3, 4] = math.nan
    for bad, says in (
        (255 * FRAMES, "frames: values are from 0.* to 25.*floats must be in"),
        (2 * FRAMES - 1, "from -"),
        (one, "not numbers"),
    ):
        with pytest.raises(BadInput, match=says):
            check_range(bad, "frames")


def test_views_are_converted_moved_and_resized():
    views = Views(FRAMES.double(), Cameras(POSE.double(), 20.0))
    assert views.float().frames.dtype == views.float().cameras.pose.dtype == torch.float32
    assert views.float().float() is not views and views.float().cameras.fov == 20
    same = views.float()
    assert same.float() is same
    stored = Views((FRAMES * 255).byte(), Cameras(POSE))
    assert torch.equal(stored.float().frames, stored.frames / 255)
    moved = views.to("meta")
    assert moved.frames.is_meta and moved.cameras.pose.is_meta
    for before in (views.float(), stored):
        small = before.resized(8)
        assert small.frames.shape == (2, 3, 3, 8, 8) and small.frames.dtype == before.frames.dtype
        assert small.cameras is before.cameras
        torch.testing.assert_close(small.float().frames[0, 1], before[0, 1:2].resized(8).float().frames[0])
    stripes = (torch.arange(32) % 4 == 1).float().expand(3, 32, 32)  # of the two pixels in a new one's middle, one is 1
    fine = Views(stripes, Cameras(POSE[0, 0])).resized(8).frames[..., 1:-1]
    torch.testing.assert_close(fine, torch.full_like(fine, 0.25), atol=0.05, rtol=0)
    whole = Views(torch.full((3, 16, 16), 0.25), Cameras(POSE[0, 0])).resized(4)
    torch.testing.assert_close(whole.frames, torch.full((3, 4, 4), 0.25))

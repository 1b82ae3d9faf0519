"""Every representation network takes any size, order and number of views; the lattice sees what its cameras see."""

import math

import pytest
import torch

from gqn.artifacts import checkpoint
from gqn.config import preset
from gqn.data.sources import source
from gqn.models.gqn import GQN
from gqn.models.representations import REPRESENTATIONS
from gqn.views import Cameras
from support import SMALL, made_up, scored, small


def lattice():
    """The representation network of a small region."""
    torch.manual_seed(0)
    return GQN(**SMALL, representation="lattice", region=(0.4, 0.4, 0.4)).represent_view


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("size", [32, 64, 84, 128])
def test_every_image_size(representation, size):
    task = made_up(1, 2, 2, size)
    maps = dict(representation_maps=16, num_recurrent_maps=4, num_canvas_maps=4)
    model = GQN(size, representation=representation, num_steps=2, shared_cores=True, **maps)
    assert scored(model, task).image.mean.shape == (1, 1, 2, 3, size, size)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_several_queries_are_answered_as_one_by_one(name):
    """Each of two scenes' four queries from its own scene and camera, with the noise of its place."""
    model, task = small(dict(representation=name)), made_up(batch=2, context=3, queries=4)
    for core in model.cores:  # no noise: all latents are their means
        core.generate = lambda constant, z, generation, core=core: core.generation(
            constant.generation, [torch.zeros_like(z)], generation
        )
    representation = model.represent(task.context)
    together = model.sample(representation, task.query.cameras)
    alone = [model.sample(representation, task.query.cameras[:, q : q + 1]) for q in range(4)]
    torch.testing.assert_close(together, torch.cat(alone, 2), rtol=1e-4, atol=1e-5)
    first = model.sample(model.represent(task.context[:1]), task.query.cameras[:1])
    torch.testing.assert_close(together[:, :1], first, rtol=1e-4, atol=1e-5)


def test_order_of_context_views_does_not_matter():
    for name in REPRESENTATIONS:
        model, task = small(dict(representation=name)), made_up()
        a = model.represent(task.context)
        torch.testing.assert_close(a, model.represent(task.context[:, [2, 0, 1]]), rtol=1e-4, atol=1e-5)


def test_lattice_projects_as_the_cameras_do():
    """A point falls into the pixel whose ray points at it; queries read inside the region."""
    model = lattice()
    task = made_up()
    cameras = task.context.cameras[:, 0]
    where, in_view = model._project(cameras)
    homogeneous = torch.nn.functional.pad(model.lattice.flatten(0, 1), (0, 1), value=1.0)
    in_camera = torch.einsum("nij,pqj->npqi", cameras.matrix().inverse(), homogeneous)
    plane = in_camera[..., :2] / in_camera[..., 2:3] / math.tan(math.radians(cameras.fov) / 2)
    torch.testing.assert_close(where, plane, atol=1e-5, rtol=1e-5)
    origin, rays = cameras.rays(16, 16)
    towards = model.lattice.flatten(0, 1) - origin[:, None, None]
    towards = towards / towards.norm(dim=-1, keepdim=True)  # (2, P P, P, 3)
    column, row = ((where + 1) * 8).long().clamp(0, 15).unbind(-1)
    ray = rays[torch.arange(2)[:, None, None], row, column]
    visible = in_view[:, 0] > 0
    assert visible.float().mean() > 0.5
    half_diagonal = 0.75 * math.radians(20.5) / 16
    assert (ray * towards).sum(-1)[visible].min() > math.cos(half_diagonal)
    along = model._along(task.query.cameras, 4, 8)[0].unflatten(0, (2, -1))
    middle = along[:, :, :, 1:3, 1:3]
    assert (middle.abs() <= 1.0001).all()
    origin, rays = task.query.cameras.rays(4, 4)
    reached = along * 0.4 - origin[:, :, None, None, None]
    depth = reached.norm(dim=-1)
    torch.testing.assert_close(reached, depth[..., None] * rays[:, :, None], atol=1e-4, rtol=0)
    assert (depth[:, :, 1:, 1:3, 1:3] > depth[:, :, :-1, 1:3, 1:3]).all()  # front to back


def test_lattice_points_behind_a_camera_are_not_seen():
    """From the middle of the region those in front, and from outside, looking away along a row of points, none."""
    model = lattice()
    pose = torch.tensor([[0.0, 0, 0, 0, 0], [2.0, 0.04, 0.04, 0, 0]])  # both look along x
    _, in_view = model._project(Cameras(pose, 90.0))
    inside, away = in_view.bool()[:, 0]
    x = model.lattice.flatten(0, 1)[..., 0]
    assert inside.any() and (x[inside] > 0).all() and not away.any()


@pytest.mark.parametrize("density", [-50.0, 500.0])
def test_lattice_paints_what_is_in_front(density):
    """Red on the camera's side and blue behind: red is seen if the lattice is dense, and nothing if it is empty."""
    network, task = lattice(), made_up()
    codes, cameras = network.encode(task.context.frames[:, 0], task.context.cameras[:, 0])[:, None], task.query.cameras
    near = torch.einsum("zyxi,bi->bzyx", network.lattice, cameras.pose[:, 0, :3]) > 0
    dense = torch.full_like(near, density, dtype=torch.float32)
    del network.paint
    network.paint = lambda x: torch.stack([20.0 * near - 10, 0 * dense - 10, 10 - 20.0 * near, dense], 1)
    _, picture = network.answer(network.join(codes), cameras)
    along, _ = network._along(cameras, 16, network.picture_depths)
    enters = (along[:, :3].abs() < 0.9).all(-1).any(1)  # well inside: the lattice fades beyond its outermost points
    assert enters.sum() > 10
    red = torch.tensor([float(density > 0), 0.0, 0.0])
    torch.testing.assert_close(picture.movedim(1, -1)[enters], red.expand(int(enters.sum()), 3), atol=0.02, rtol=0)


MAZES = preset("demo").on("mazes").having(image_size=32, query="overhead", max_context_size=3, num_views=6)


def test_the_lattice_reads_each_camera_with_its_own_lens():
    """A point of the maze's map is read where it lies: the query's field of view counts, not the context's."""
    model = checkpoint.build(MAZES).represent_view
    scenes = source(**MAZES.scenes("test"))
    size = MAZES.data.image_size // 4
    where = model._along(scenes.overhead(0).cameras[None], size, 8)[0][0, -1]  # the rays' lowest points, in -1..1
    corner = (where[0, 0, :2] * model.region[:2]).tolist()
    middle, half = -0.05, 0.45 * (1 - 1 / size)  # of the map's outermost pixel centres
    assert corner == pytest.approx([middle - half, middle + half], abs=0.01)


@pytest.mark.parametrize(("points", "depths", "picture_depths"), [(10, 10, 16), (14, 14, 22), (5, 5, 8)])
@pytest.mark.parametrize("name", ["lattice", "separable_lattice"])
def test_the_depths_of_a_lattice_follow_its_points(name, points, depths, picture_depths, task):
    """Features are read at as many places along a ray as a side has points, the picture at 1.6 times as many."""
    network = GQN(**SMALL, representation=name, lattice_points=points).represent_view
    assert (network.depths, network.picture_depths) == (depths, picture_depths)
    cameras = Cameras(task.context.cameras.pose.flatten(0, 1), task.context.cameras.fov)
    codes = network.encode(task.context.frames.flatten(0, 1), cameras).unflatten(0, (2, 3))
    assert codes.shape[3:] == (points,) * 3
    volume = network.join(codes)
    assert volume.shape == (2, 16 // 8 + 4, *(points,) * 3)
    told, picture = network.answer(volume, task.query.cameras)
    assert told.shape == (2, 16, 4, 4) and picture.shape == (2, 3, 16, 16)


@pytest.mark.parametrize("name", ["lattice", "separable_lattice"])
def test_the_volume_is_worked_out_once_for_a_context(name, task, monkeypatch):
    """3-D convolutions belong to `represent`: to draw pictures takes none."""
    model = small(dict(representation=name))
    convolutions = []
    forward = torch.nn.Conv3d.forward
    monkeypatch.setattr(torch.nn.Conv3d, "forward", lambda self, x: (convolutions.append(self), forward(self, x))[1])
    r = model.represent(task.context)
    assert convolutions
    convolutions.clear()
    model.sample(r, task.query.cameras, samples=2)
    assert convolutions == []
    scored(model, task)
    assert convolutions  # to predict, the context is represented once more

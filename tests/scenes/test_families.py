"""What every scene family promises, and each one's own promises."""

import json
import math
import struct
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import simplejpeg
import torch

from gqn.data.sources import family_of
from gqn.data.specification import spec
from gqn.scenes import jaco, mazes, raycast, rooms, shepard_metzler
from gqn.views import Convention, Views

DATASETS = {
    "sm5": "shepard_metzler_5_parts",
    "sm7": "shepard_metzler_7_parts",
    "ring": "rooms_ring_camera",
    "free": "rooms_free_camera_no_object_rotations",
    "jaco": "jaco",
    "mazes": "mazes",
}
FAMILIES = {name: family_of(spec(dataset)) for name, dataset in DATASETS.items()}
FAMILIES["mazes"] = replace(FAMILIES["mazes"], overlay=False)
RING, FREE = FAMILIES["ring"], FAMILIES["free"]


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


def scene_of(name, seed, k=4):
    rng = np.random.default_rng(seed)
    scene = FAMILIES[name].sample(rng)
    return scene, FAMILIES[name].cameras(rng, scene, k)


def frames_of(name, seed, size=24):
    scene, cameras = scene_of(name, seed)
    return FAMILIES[name].render(scene, cameras, size).frames.numpy().tobytes()


def points_of(name, scene, cameras, size):
    """What is in each pixel: its place in the scene's own unit (K, h, w, 3), and its id."""
    depth, ids = FAMILIES[name].inspect(scene, cameras, size)
    origin, rays = replace(cameras, pose=cameras.pose.double()).rays(size, size)
    matrix = replace(cameras, pose=cameras.pose.double()).matrix()
    cosine = torch.einsum("khwi,ki->khw", rays, matrix[:, :3, 2]).numpy()
    reach = np.where(np.isfinite(depth), depth, 0) / cosine
    points = origin.numpy()[:, None, None] + reach[..., None] * rays.numpy()
    assert (np.isinf(depth) == (ids == raycast.NOTHING)).all() and (depth > 0).all()
    return points * FAMILIES[name].unit, ids


def test_a_family_is_filmed_as_its_dataset(name):
    """The world of the renderer and that of `Cameras` are one: what is drawn for a pose is where the spec says."""
    filmed, family = spec(DATASETS[name]).filmed, FAMILIES[name]
    scene, cameras = scene_of(name, 3)
    assert (cameras.fov, cameras.convention) == (filmed.fov, filmed.convention) and family.unit == filmed.unit
    assert replace(filmed.cameras(cameras.pose), fov=cameras.fov) == cameras or torch.equal(
        filmed.cameras(cameras.pose).matrix(), cameras.matrix()
    )
    for made in (family.allowed(scene, cameras), family.orbit(scene, 4)):
        assert (made.fov, made.convention) == (filmed.fov, filmed.convention)


def test_turning_to_the_left_moves_the_picture_to_the_right(name):
    """In every dataset, however its yaw turns."""
    family, (scene, _) = FAMILIES[name], scene_of(name, 5)
    cameras, size, shift = family.orbit(scene, 8), 64, 4
    x, y = cameras.matrix()[:, :2, 2].numpy().T
    angle = np.arctan2(y, x) + shift / raycast.focal_length(cameras.fov, size)  # anticlockwise
    left = cameras.pose.clone()
    left[:, 3] = torch.from_numpy(family.convention.yaw(np.cos(angle), np.sin(angle)))
    before, after = (
        family.render(scene, replace(cameras, pose=pose), size).frames[..., 24:40, :].float()
        for pose in (cameras.pose, left)
    )
    found = [(before[..., 8:-8] - after[..., 8 + k : size - 8 + k]).abs().mean() for k in range(-8, 9)]
    assert abs(np.argmin(found) - 8 - shift) <= 1


def test_views(name):
    family = FAMILIES[name]
    scene, cameras = scene_of(name, 0)
    assert cameras.pose.shape == (4, 5) and cameras.pose.dtype == torch.float32 and cameras.fov == family.fov
    for size in (32, 64):
        views = family.render(scene, cameras, size)
        assert isinstance(views, Views) and views.cameras is cameras
        assert views.frames.shape == (4, 3, size, size) and views.frames.dtype == torch.uint8
        assert views.frames.float().std() > 1
    some = family.render(scene, cameras[torch.tensor([3, 1])], 64)  # a view does not depend on the others
    assert torch.equal(some.frames, views.frames[[3, 1]])
    assert family.factors(scene)


def test_allowed_cameras(name):
    """Where views are taken from is allowed as it is; anywhere else leads to the nearest such place."""
    family, rng = FAMILIES[name], np.random.default_rng(0)
    for seed in range(10):
        scene, cameras = scene_of(name, seed, 400)
        torch.testing.assert_close(family.allowed(scene, cameras).vector(), cameras.vector(), atol=1e-5, rtol=0)
        pose = torch.from_numpy(rng.uniform(-1.5, 1.5, (50, 5)) * (1, 1, 1, 5, 5)).float()
        anywhere = replace(cameras, pose=pose)
        allowed = family.allowed(scene, anywhere)
        assert allowed.fov == family.fov and allowed.pose.dtype == torch.float32 and allowed.pose.isfinite().all()
        torch.testing.assert_close(family.allowed(scene, allowed).vector(), allowed.vector(), atol=1e-5, rtol=0)
        if family.motion == "walk":
            reach = (allowed.pose - pose)[:, :2].norm(dim=1)
            others = torch.cdist(pose[:, :2], cameras.pose[:, :2]).amin(1)
            assert (reach <= others + 1e-5).all()
        outside = family.allowed(None, anywhere)  # of a scene that is not known
        assert outside.pose.shape == pose.shape and (outside.pose[:, 2:3] == allowed.pose[:, 2:3]).all()


def test_free_cameras_look_at_the_room_and_stay_out_of_objects():
    family, rng = FAMILIES["free"], np.random.default_rng(1)
    for seed in range(20):
        scene, cameras = scene_of("free", seed)
        around = np.concatenate([o.place + rng.normal(0, 0.3, (20, 2)) for o in scene.objects])
        pose = np.concatenate(
            [around / family.unit, np.zeros((len(around), 1)), rng.uniform(-9, 9, (len(around), 2))], 1
        )
        pose[::3, :2] *= 3  # some at the walls
        x, y, z, yaw, pitch = (
            family.allowed(scene, replace(cameras, pose=torch.from_numpy(pose).float())).pose.numpy().T
        )
        x, y = x * family.unit, y * family.unit
        assert max(abs(x).max(), abs(y).max()) <= rooms.FREE + 1e-6
        assert (pitch == 0).all() and (z == 0).all()
        assert all((np.hypot(x - o.place[0], y - o.place[1]) > o.radius + rooms.NEAR).all() for o in scene.objects)
        along = np.linspace(0, 8, 4000)
        ray = np.maximum(abs(x[:, None] + np.cos(yaw)[:, None] * along), abs(y[:, None] + np.sin(yaw)[:, None] * along))
        assert (ray.min(1) <= rooms.AIM + 2e-3).all()


def test_the_same_seed_gives_the_same_bytes_anywhere(name):
    seeds = list(range(6))
    once = [frames_of(name, seed) for seed in seeds]
    assert len(set(once)) == len(once)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda seed: frames_of(name, seed), seeds[::-1])) == once[::-1]
    with ProcessPoolExecutor(1, get_context("fork")) as workers:
        assert list(workers.map(frames_of, [name] * 6, seeds)) == once


def test_ids_agree_with_the_picture(name):
    family = FAMILIES[name]
    scene, cameras = scene_of(name, 1)
    _, ids = family.inspect(scene, cameras, 64)
    frames = family.render(scene, cameras, 64, antialias=False).frames.numpy()
    sky = getattr(scene, "sky", rooms.textures.SKY if name == "jaco" else (0.0, 0.0, 0.0))
    blank = (frames == np.rint(np.array(sky) * 255).astype(np.uint8)[:, None, None]).all(1)
    assert (blank == (ids == raycast.NOTHING)).mean() > 0.999 and blank[ids == raycast.NOTHING].all()
    recoloured = {
        "sm": lambda s: replace(s, colours=1 - s.colours),
        "ro": lambda s: replace(s, objects=tuple(replace(o, colour=(0.0, 0.0, 0.0)) for o in s.objects)),
        "ri": lambda s: replace(s, objects=tuple(replace(o, colour=(0.0, 0.0, 0.0)) for o in s.objects)),
        "fr": lambda s: replace(s, objects=tuple(replace(o, colour=(0.0, 0.0, 0.0)) for o in s.objects)),
        "ja": lambda s: replace(s, colour=(0.0, 0.0, 0.0)),
    }
    if name != "mazes":
        again = family.render(recoloured[name[:2]](scene), cameras, 64, antialias=False).frames.numpy()
        changed = (frames != again).any(1)
        assert (changed == (ids == 0 if name == "jaco" else ids >= 0)).all()


def test_depths_lead_to_surfaces(name):
    for seed in range(3):
        scene, cameras = scene_of(name, seed)
        points, ids = points_of(name, scene, cameras, 48)
        x, y, z = np.moveaxis(points, -1, 0)
        np.testing.assert_allclose(z[ids == raycast.FLOOR], 0, atol=1e-5)
        if name.startswith("sm"):
            # The shift of the principal point puts rays a little off those of `Cameras.rays`.
            for i, centre in enumerate(scene.centres):
                off = np.abs(points[ids == i] - centre).max(-1) - scene.edge / 2
                assert np.abs(off).max(initial=0) < 4e-3
        elif name == "mazes":
            walls = (ids <= raycast.WALL) & (ids > raycast.TOP)
            across = np.where(ids >= raycast.WALL - 1, x, y)[walls]
            np.testing.assert_allclose(across, np.rint(across), atol=1e-4)
            assert (z[walls] < mazes.HEIGHT + 1e-5).all()
        else:
            for k, (across, side) in enumerate(((x, -1), (x, 1), (y, -1), (y, 1))):
                np.testing.assert_allclose(across[ids == raycast.WALL - k], side * rooms.HALF, atol=1e-4)
            if name != "jaco":
                for i, o in enumerate(scene.objects):
                    mine = ids == i
                    assert (np.hypot(x - o.place[0], y - o.place[1])[mine] < o.radius + 1e-4).all()
                    assert (z[mine] > -1e-5).all() and (z[mine] < o.size[2] + 1e-4).all()


# Shepard-Metzler


def test_real_shepard_metzler_frames_are_reproduced(real_data):
    description = json.loads((real_data / "scene_0.json").read_text())
    jpegs, pose = example(real_data / "shepard_metzler_5_parts_scene_0.tfrecord")
    real = np.stack([simplejpeg.decode_jpeg(j) for j in jpegs])
    ours = coded(shepard_metzler.render_description(description, pose).frames)
    assert np.mean([psnr(a, b) for a, b in zip(ours, real, strict=True)]) > 44
    masks = [frames @ np.array([0.299, 0.587, 0.114]) > 15 for frames in (ours, real)]
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.99


def test_shepard_metzler_objects_are_centred_walks():
    rng = np.random.default_rng(0)
    for parts in (5, 7):
        family = shepard_metzler.Family(parts=parts)
        for _ in range(50):
            scene = family.sample(rng)
            lattice = family.factors(scene)["lattice"]
            assert len(np.unique(lattice, axis=0)) == parts
            assert (np.abs(np.diff(lattice, axis=0)).sum(1) == 1).all()
            middle = (scene.centres.min(0) + scene.centres.max(0)) / 2
            np.testing.assert_allclose(middle, [0, 0, shepard_metzler.LIFT], atol=1e-12)
            assert (scene.colours.max(1) == 1).all() and (scene.colours.min(1) == 0).all()


def test_shepard_metzler_cameras_are_the_released_ones():
    rng = np.random.default_rng(0)
    family = shepard_metzler.Family()
    cameras = family.cameras(rng, family.sample(rng), 2000)
    position, yaw, pitch = cameras.pose[:, :3], cameras.pose[:, 3].numpy(), cameras.pose[:, 4].numpy()
    forward = cameras.matrix()[:, :3, 2]
    torch.testing.assert_close(position, forward * -10 / 3)
    for angle, step, values in ((yaw, 2 * math.pi / 100, range(100)), (pitch, math.pi / 100, range(-49, 50))):
        np.testing.assert_allclose(angle / step, np.rint(angle / step), atol=1e-4)
        assert set(np.rint(angle / step).astype(int)) == set(values)


# Rooms

RED = {
    "wall": "red",
    "floor": "blue",
    "wall_albedo": [0.781, 0.467, 0.39],
    "floor_albedo": [0.398, 0.542, 0.615],
    "lamp": [-1.598, -2.166],
    "objects": [
        {"shape": "triangle", "place": [1.211, -0.212], "size": [0.744, 0.241, 1.288], "yaw": 0.156,
         "colour": [0.252, 0.796, 0.916]},
        {"shape": "sphere", "place": [-0.412, -0.43], "size": 0.449, "colour": [0.739, 0.953, 0.302]},
        {"shape": "icosahedron", "place": [-0.417, -0.961], "size": [0.501, 0.501, 1.002], "yaw": 3.167,
         "colour": [0.37, 0.2, 0.69]},
    ],
}  # fmt: skip
CERISE = {
    "wall": "cerise",
    "floor": "white",
    "wall_albedo": [0.629, 0.246, 0.384],
    "floor_albedo": [0.972, 0.968, 0.966],
    "lamp": {"place": [-1.549, -1.673]},
    "objects": [
        {"shape": "triangle", "place": [0.915, 1.186], "size": [0.739, 0.223, 1.28], "yaw": -0.702,
         "colour": [0.923, 0.053, 0.177]},
        {"shape": "cylinder", "place": [-1.25, -1.17], "size": [0.3, 0.3, 0.78], "colour": [0.852, 0.075, 0.891]},
    ],
}  # fmt: skip
GREEN = {
    "wall": "green",
    "floor": "blue",
    "wall_albedo": [0.623, 0.752, 0.595],
    "floor_albedo": [0.408, 0.565, 0.633],
    "lamp": [-3.352, -3.624],
    "objects": [
        {"shape": "triangle", "place": [0.667, -0.557], "size": [0.718, 0.236, 1.244], "yaw": 4.073,
         "colour": [0.918, 0.425, 0.237]},
        {"shape": "triangle", "place": [-0.568, 0.573], "size": [0.74, 0.234, 1.282], "yaw": 6.047,
         "colour": [0.051, 0.91, 0.928]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("i", "description", "yaw"),
    [
        (0, CERISE, [0.527, 3.293, 2.278, 2.931, 3.9]),
        (1, RED, [0.952, 1.588, 0.677, 1.647, 1.656]),
        (2, GREEN, [0.716, 1.74, 3.089, 1.588, 1.012]),
    ],
)
def test_real_rooms_are_reproduced(real_data, i, description, yaw):
    """The descriptions and the cameras' yaws were fitted to these frames."""
    with np.load(real_data / "rooms_ring_camera_3_scenes.npz") as data:
        real = np.concatenate([data["context"][i], data["target"][i][None]])
    # They were fitted with yaw turning the other way, and so in a mirrored world.
    clockwise = rooms.Family(convention=Convention(clockwise=True, eye=rooms.RING.eye))
    scene = rooms.from_description(description)
    ours = coded(clockwise.render(scene, clockwise.ring(np.array(yaw))).frames)
    assert np.mean([psnr(a, b) for a, b in zip(ours, real, strict=True)]) > 28


SEEN = {  # columns at which objects at these places are seen, in the six genuine views of a scene
    0: ((0.061, -0.359), (9.0, 46.4, 24.2, 6.3, 5.1, 44.5)),
    4: ((-0.223, -0.043), (37.1, 32.4, 45.7, 22.2, 29.9, 42.6)),
    5: ((-0.124, -0.314), (17.9, 18.8, 22.9, 12.4, 7.3, 46.5)),
}


@pytest.mark.parametrize(("number", "least"), [(0, 30.5), (4, 28), (5, 29)])
def test_released_cameras_of_real_rooms_see_what_they_should(real_data, number, least):
    """Poses as released, unchanged: they face the centre, objects are where they are seen, and pictures agree."""
    with np.load(real_data / "rooms_ring_camera_6_scenes_with_cameras.npz") as data:
        real, pose = data["frames"][number], data["cameras"][number]
    cameras = spec("rooms_ring_camera").filmed.cameras(torch.from_numpy(pose))
    matrix = cameras.matrix().numpy()
    np.testing.assert_allclose((matrix[:, :2, 2] * matrix[:, :2, 3]).sum(1), -1, atol=0.01)
    (x, y), columns = SEEN[number]
    right, _, ahead = np.einsum("kij,ki->jk", matrix[:, :3, :3], [x, y, 0.5 / 3.5] - matrix[:, :3, 3])
    np.testing.assert_allclose(32 + raycast.focal_length(50.0, 64) * right / ahead, columns, atol=1)

    fits = json.loads((real_data / "rooms_ring_fits.json").read_text())["fits"]
    (description,) = (fit["description"] for fit in fits if fit["scene"] == number)
    ours = coded(rooms.render_description(description, pose).frames)
    error = (np.asarray(ours, float) - real) ** 2
    assert 10 * math.log10(255**2 / error.mean()) > least


def test_objects_stand_apart_inside_the_room():
    rng = np.random.default_rng(0)
    counts, shapes = set(), set()
    for family in (RING, FREE):
        for _ in range(200):
            scene = family.sample(rng)
            pose = family.cameras(rng, scene, 5).pose.numpy() * family.unit
            counts.add(len(scene.objects))
            for i, o in enumerate(scene.objects):
                shapes.add(o.shape)
                assert max(map(abs, o.place)) + o.radius < rooms.HALF
                assert all(math.dist(o.place, p.place) > o.radius + p.radius for p in scene.objects[:i])
                assert (np.hypot(*(pose[:, :2] - o.place).T) > o.radius + 0.1).all()
            assert (np.abs(pose[:, :2]) < rooms.HALF + 1e-6).all()
    assert counts == {1, 2, 3} and shapes == set(rooms.SHAPES)


def test_ring_views_show_an_object_and_no_wall_behind_the_camera():
    rng = np.random.default_rng(0)
    family = rooms.Family()
    seen = []
    for _ in range(300):
        scene = family.sample(rng)
        depth, ids = family.inspect(scene, family.cameras(rng, scene, 5), 32)
        seen += list((ids >= 0).any((1, 2)))
        assert depth.min() * family.unit > 0.2
    assert np.mean(seen) >= 0.99
    on_the_wall = RING.ring(np.arange(4) * math.pi / 2)  # the ring touches the walls
    depth, _ = family.inspect(replace(scene, objects=()), on_the_wall, 32)
    np.testing.assert_allclose(depth[:, 14:18, 16] * family.unit, 2 * rooms.HALF, rtol=1e-5)


def test_ring_cameras_face_the_centre():
    cameras = RING.ring(np.linspace(0, 6, 9))
    x, y, z, yaw, _ = cameras.pose.numpy().T
    np.testing.assert_allclose(x * np.cos(yaw) + y * np.sin(yaw), -1, rtol=1e-6)  # as released
    assert (z == 0).all()
    matrix = cameras.matrix().numpy()
    middle = np.array([0, 0, rooms.EYE / RING.unit])
    in_camera = np.einsum("kij,ki->kj", matrix[:, :3, :3], middle - matrix[:, :3, 3])
    np.testing.assert_allclose(in_camera, np.array([[0, 0, 1]] * 9), atol=1e-6)


def test_hold_out():
    rng = np.random.default_rng(0)
    hues = {True: [], False: []}
    for only in hues:
        family = rooms.Family(hold_out=not only, only_held_out=only)
        for _ in range(150):
            for o in family.sample(rng).objects:
                red, green, blue = o.colour
                hue = math.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)  # near enough to HSV's
                start = 2 * math.pi * rooms.HELD_OUT[o.shape]
                inside = (hue - start) % (2 * math.pi) / (2 * math.pi / 7)
                assert (-0.1 < inside < 1.1 or inside > 6.9) if only else (inside > 0.9 or inside < 0.1)
                hues[only].append(hue)
    assert np.histogram(hues[False], 12)[0].min() > 0  # every hue is seen


def test_rooms_can_be_edited():
    scene, cameras = scene_of("ring", 5)
    family = FAMILIES["ring"]
    frames = family.render(scene, cameras, 32).frames
    first = scene.objects[0]
    shape = "cone" if first.shape != "cone" else "sphere"
    for other in (
        replace(scene, wall="orange" if scene.wall != "orange" else "green"),
        replace(scene, floor="white" if scene.floor != "white" else "blue"),
        replace(scene, light=replace(scene.light, lamp=(-scene.light.lamp[0], 2.0))),
        replace(scene, objects=(replace(first, shape=shape), *scene.objects[1:])),
        replace(scene, objects=()),
    ):
        assert (family.render(other, cameras, 32).frames != frames).float().mean() > 0.001


# Jaco


def test_the_arm_is_the_sum_of_its_links_and_clear_of_floor_and_ball():
    straight = jaco._arm(np.zeros(9))[1]
    assert math.isclose(straight[3, 2], jaco.SCALE * (0.2755 + 0.41 + 0.21))  # to the wrist, which is bent
    rng = np.random.default_rng(0)
    family = jaco.Family()
    for _ in range(40):
        scene = family.sample(rng)
        joints = np.array(scene.joints)
        assert ((joints >= jaco.LIMITS[:, 0]) & (joints <= jaco.LIMITS[:, 1])).all()
        solids, ends = jaco._arm(joints)
        assert ends[:, 2].min() >= 0
        lengths = np.linalg.norm(np.diff(ends[:7], axis=0), axis=1) / jaco.SCALE
        np.testing.assert_allclose(lengths, [0.2755, 0.41, 0.21, 0.08, 0.08, 0.12])
        for _, centre, axes, size, _ in solids:
            np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
            tips = centre + axes[:, 2] * (size[2] - size[0]) * np.array([[-1], [0], [1]])
            assert np.linalg.norm(tips - scene.target, axis=1).min() > scene.radius
        assert np.hypot(*scene.target[:2]) + scene.radius < jaco.HALF and scene.target[2] >= scene.radius


def example(path):
    """JPEG frames and camera poses (K, 5) of the first tf.train.Example in a TFRecord file."""

    def varint(data, i):
        value = shift = 0
        while True:
            value |= (data[i] & 127) << shift
            i, shift = i + 1, shift + 7
            if data[i - 1] < 128:
                return value, i

    def fields(data):
        i = 0
        while i < len(data):
            key, i = varint(data, i)
            length, i = varint(data, i)
            yield key >> 3, data[i : i + length]
            i += length

    raw = path.read_bytes()
    found = {}
    for _, features in fields(raw[12 : 12 + struct.unpack("<Q", raw[:8])[0]]):
        for _, entry in fields(features):
            parts = dict(fields(entry))
            ((_, values),) = fields(parts[2])
            found[parts[1].decode()] = [value for _, value in fields(values)]
    return found["frames"], np.frombuffer(b"".join(found["cameras"]), "<f4").reshape(-1, 5)


def coded(frames):
    """Frames (K, 3, h, w) after the released coding, as (K, h, w, 3)."""
    pictures = frames.permute(0, 2, 3, 1).contiguous().numpy()
    jpegs = [simplejpeg.encode_jpeg(p, quality=95, colorsubsampling="420") for p in pictures]
    return np.stack([simplejpeg.decode_jpeg(j) for j in jpegs])


def psnr(a, b):
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))

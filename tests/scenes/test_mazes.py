"""Mazes: against genuine scenes, their plans, their looks, and how the camera walks."""

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gqn.data.files import jpeg, tfrecord
from gqn.data.sources import family_of
from gqn.data.specification import spec
from gqn.scenes import maze_looks, mazes, overlay, plans, raycast, walks

FAMILY = family_of(spec("mazes"))
BARE = replace(FAMILY, overlay=False)
SKY = (149, 224, 255)
FOUR = ((0, 1), (1, 0), (0, -1), (-1, 0))
ROOM = {
    "rows_from_top_y": ["#######", "#######", "#.....#", "#.....#", "#.....#", "#######", "#######"],
    "rooms": [{"row_from_bottom": 2, "column": 1, "rows": 3, "columns": 5}],
    "room_wall": 12,
    "room_floor": 2,
}

# Against genuine scenes


@pytest.fixture(scope="module")
def genuine(real_data, tmp_path_factory):
    """Eight scenes: frames (8, 300, 84, 84, 3), poses (8, 300, 5) and layouts."""
    file = tfrecord.opened(shutil.copy(real_data / "mazes_8_scenes.tfrecord", tmp_path_factory.mktemp("mazes") / "m"))
    coded, poses = zip(*map(file.scene, range(len(file))), strict=True)
    frames = np.stack([[jpeg.decode(frame) for frame in scene] for scene in coded])
    layouts = json.loads((real_data / "mazes_layouts.json").read_text())["scenes"]
    assert [layout["scene"] for layout in layouts[:8]] == list(range(8))
    return frames, np.stack(poses), layouts[:8]


@pytest.fixture(scope="module")
def display(real_data):
    """The measured display: mask, opacity, colour."""
    with np.load(real_data / "mazes_overlay.npz") as data:
        return {name: data[name] for name in ("mask", "opacity", "colour")}


def released(pose):
    return spec("mazes").filmed.cameras(torch.from_numpy(pose.copy()))


def test_genuine_cameras_move_where_they_look(genuine):
    for scene, pose in enumerate(genuine[1]):
        step = np.diff(pose[:, :2], axis=0)
        length = np.hypot(*step.T)
        look = released(pose).matrix()[1:, :2, 2].numpy()
        ahead = ((step * look).sum(1) / np.maximum(length, 1e-9))[length > 0.01].mean()
        assert 0.9 < ahead < 0.96 if scene == 0 else ahead > 0.1 if scene == 3 else 0.7 < ahead < 0.95
        assert scene == 3 or ((step * look * (1, -1)).sum(1)[length > 0.01] / length[length > 0.01]).mean() < 0.3


def test_genuine_pictures_move_right_when_yaw_grows(genuine):
    for frames, pose in zip(*genuine[:2], strict=True):
        np.testing.assert_allclose((np.diff(pose[:40, 3]) + math.pi) % (2 * math.pi) - math.pi, 0.1536, atol=1e-3)
        wide = frames[:40, 20:62].astype(float)
        moved = [
            np.argmin([abs(a[:, 12:-12] - b[:, 12 + k : 72 + k]).mean() for k in range(-12, 13)]) - 12
            for a, b in pairwise(wide)
        ]
        assert 6 <= np.median(moved) <= 7


def test_the_sky_is_where_it_is_in_genuine_frames(genuine, display):
    """Poses and plans as they are, in all eight scenes, while the camera turns on the spot."""
    for frames, pose, layout in zip(*genuine, strict=True):
        real = abs(frames[:40, :42].astype(int) - SKY).sum(-1) < 60
        _, ids = BARE.inspect(mazes.from_layout(layout), released(pose[:40]), 84)
        assert (real == (ids[:, :42] == raycast.NOTHING))[:, ~display["mask"][:42]].mean() > 0.97


@pytest.mark.parametrize(("scene", "flat", "textured"), [(0, 26.5, 26), (5, 25.5, 25), (7, 25.5, 25)])
def test_genuine_frames_are_reproduced(genuine, scene, flat, textured):
    """Over the 300 views; patterns of our own do not lie where the genuine ones do, and so are worse than none."""
    frames, pose, layout = (part[scene] for part in genuine)
    cameras = released(pose)

    def decibels(shown):
        error = (shown.permute(0, 2, 3, 1).numpy().astype(float) - frames) ** 2
        return np.mean([10 * math.log10(255**2 / e) for e in error.mean((1, 2, 3))])

    def as_released(scene):
        return jpeg.decoded(jpeg.encoded(FAMILY.render(scene, cameras).frames))

    plain, own = mazes.from_layout(layout, flat=True), mazes.from_layout(layout)
    assert decibels(BARE.render(plain, cameras).frames) > 23
    assert decibels(as_released(plain)) > flat
    assert decibels(as_released(own)) > textured


def test_textures_have_the_measured_colours(real_data):
    with np.load(real_data / "mazes_textures_from_frames.npz") as data:
        means = np.concatenate([data["wall_mean"], data["floor_mean"]])
    ours = maze_looks.textures()[:, -1] * 255
    assert len(maze_looks.WALLS) == 19 and len(maze_looks.FLOORS) == 18
    assert np.abs(ours - means).max() < 8 and np.abs(ours - means).mean() < 2
    np.testing.assert_allclose(maze_looks.textures(flat=True)[:, 0] * 255, means, atol=1)


def test_the_display_is_that_of_genuine_frames(display):
    where, *_ = overlay._display(84)
    assert (where & display["mask"]).sum() / (where | display["mask"]).sum() > 0.75
    mine, real = np.zeros((2, 84, 84, 3))
    for background in (0, 128, 255):
        frames = overlay.drawn(np.full((1, 3, 84, 84), background, np.uint8))
        mine += frames[0].transpose(1, 2, 0)
        real += background + display["opacity"][..., None] * (display["colour"].astype(float) - background)
    off = (mine - real)[display["mask"]] / 3
    assert np.sqrt((off**2).mean()) < 45 and abs(off.mean()) < 12  # nothing drawn: 55 and more


# Plans


def ways(free):
    """How many of the four neighbours of each cell are free."""
    return sum(np.roll(free, step, (0, 1)) for step in FOUR)


def drawn(seed):
    cells, rooms = plans.plan(np.random.default_rng(seed))
    free = np.pad(cells, 1)
    part = np.full(free.shape, -1)
    for i, (row, column, rows, columns) in enumerate(rooms):
        part[row + 1 : row + rows + 1, column + 1 : column + columns + 1] = i
    return free, part, rooms


@given(st.integers(0, 2**32))
def test_plans_are_as_in_genuine_mazes(seed):
    free, part, rooms = drawn(seed)
    assert len(rooms) in (1, 2) and (part >= 0).sum() == sum(rows * columns for _, _, rows, columns in rooms)
    assert free[part >= 0].all()
    for i, (row, column, rows, columns) in enumerate(rooms):
        assert row % 2 == column % 2 == 0 and (rows, columns) in ((3, 3), (3, 5), (5, 3))
        around = part[row : row + rows + 2, column : column + columns + 2]
        assert set(np.unique(around)) <= {-1, i}  # rooms do not touch
    corridor = free & (part < 0)
    assert (ways(free)[corridor] >= 2).all()  # no dead ends
    squares = corridor[1:, 1:] + 0 + corridor[1:, :-1] + corridor[:-1, 1:] + corridor[:-1, :-1]
    assert squares.max() < 4  # one cell wide
    reached = np.zeros_like(free)
    reached[tuple(np.argwhere(free)[0])] = True
    for _ in range(free.size):
        reached |= free & (ways(reached) > 0)
    assert (reached == free).all()


def test_shares_of_plans_are_as_measured():
    count, alone, closed = 600, 0, 0
    doors, loops, sizes, runs = Counter(), Counter(), Counter(), Counter()
    walkable, corridors = [], []
    for seed in range(count):
        free, part, rooms = drawn(seed)
        corridor = free & (part < 0)
        alone += len(rooms) == 1
        closed += not corridor.any()
        sizes.update(room[2:] for room in rooms)
        doors.update((corridor & (ways(part == i) > 0)).sum() for i in range(len(rooms)))
        edges = (free[1:] & free[:-1]).sum() + (free[:, 1:] & free[:, :-1]).sum()
        squares = (free[1:, 1:] & free[1:, :-1] & free[:-1, 1:] & free[:-1, :-1]).sum()
        loops[int(edges - free.sum() - squares + 1)] += 1
        walkable.append(free.sum())
        corridors.append(corridor.sum())
        for line in [*corridor, *corridor.T]:
            runs.update(len(run) for run in "".join(".#"[not cell] for cell in line).split("#") if len(run) > 1)

    def shares(found, *keys):
        return [found[key] / sum(found.values()) for key in keys]

    assert alone / count == pytest.approx(6 / 41, abs=0.05)
    assert closed / count == pytest.approx(3 / 41, abs=0.04)
    assert shares(sizes, (3, 3), (3, 5), (5, 3)) == pytest.approx([39 / 76, 18 / 76, 19 / 76], abs=0.1)
    assert shares(doors, 0, 2, 3, 4) == pytest.approx([3 / 76, 16 / 76, 52 / 76, 5 / 76], abs=0.13)
    assert shares(loops, 0, 1, 2, 3) == pytest.approx([3 / 41, 9 / 41, 26 / 41, 3 / 41], abs=0.12)
    assert shares(runs, 2, 3, 4) == pytest.approx([97 / 162, 22 / 162, 29 / 162], abs=0.08)
    assert np.mean(walkable) == pytest.approx(32, abs=1.5) and np.mean(corridors) == pytest.approx(10, abs=1.5)


def test_looks_are_of_the_rooms_and_of_the_corridors():
    rng = np.random.default_rng(0)
    walls, floors = set(), set()
    for _ in range(300):
        scene = BARE.sample(rng)
        inside = np.zeros((9, 9), bool)
        for row, column, rows, columns in scene.rooms:
            inside[row : row + rows, column : column + columns] = True
        assert scene.open[inside].all() and not (scene.wall[~inside].any() or scene.floor[~inside].any())
        (wall,), (floor,) = set(scene.wall[inside]), set(scene.floor[inside])
        walls.add(int(wall))
        floors.add(int(floor))
    assert walls == set(range(19)) and floors == set(range(18))


# What is drawn


def test_walls_look_as_the_open_cell_in_front_of_them_and_light_is_flat():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scene = replace(BARE.sample(rng), flat=True)
        cameras = BARE.cameras(rng, scene, 30)
        cameras = replace(cameras, pose=cameras.pose.double())
        depth, ids = BARE.inspect(scene, cameras, 48)
        frames = BARE.render(scene, cameras, 48).frames.permute(0, 2, 3, 1).numpy()
        origin, rays = (t.numpy() for t in cameras.rays(48, 48))
        rays /= np.einsum("khwi,ki->khw", rays, cameras.matrix()[:, :3, 2].numpy())[..., None]
        points = 10 * (origin[:, None, None] + np.where(np.isfinite(depth), depth, 0)[..., None] * rays)
        normals = np.array([(0, 0), (0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])[-1 - ids]  # NOTHING, FLOOR, WALL...
        column, row = np.moveaxis(np.floor(points[..., :2] + 0.01 * normals), -1, 0).astype(int) + 5
        looks = np.array([colour for _, colour in maze_looks.WALLS + maze_looks.FLOORS])
        floor = ids == raycast.FLOOR
        expected = looks[np.where(floor, 19 + scene.floor[row, column], scene.wall[row, column])]
        expected[ids == raycast.NOTHING] = SKY
        assert (frames == expected).all(-1).mean() > 0.999  # some pixels lie on an edge of two cells


def test_opposite_walls_are_mirrored_and_a_tile_is_a_cell():
    scene = mazes.from_layout(ROOM)
    wall = np.s_[0, :, 24:40, 18:46]  # one face

    def seen(x, y, angle):
        return BARE.render(scene, BARE._cameras(np.array([[x, y, angle]])), 64).frames.numpy()[wall].astype(int)

    def same(a, b):
        return (abs(a - b).max(0) < 3).mean() > 0.99

    for x in (4.5, 4.3):
        ahead, behind = seen(x, 4.5, math.pi / 2), seen(x, 4.5, -math.pi / 2)
        assert same(ahead, behind[..., ::-1]) and not same(ahead, behind)
    right, left = seen(4.5, 4.4, 0.0), seen(4.5, 4.4, math.pi)
    assert same(right, left[..., ::-1]) and not same(right, left)
    assert same(seen(4.2, 4.5, 1.5), seen(5.2, 4.5, 1.5)) and not same(seen(4.2, 4.5, 1.5), seen(4.7, 4.5, 1.5))


def test_edges_are_sharp_unless_antialiasing_is_asked_for():
    scene = mazes.from_layout(ROOM, flat=True)
    cameras = BARE.orbit(scene, 5)
    colours = [len(np.unique(BARE.render(scene, cameras, 64, a).frames.permute(0, 2, 3, 1).reshape(-1, 3), axis=0))
               for a in (None, False, True)]  # fmt: skip
    assert colours[:2] == [3, 3] and colours[2] > 10


@pytest.mark.parametrize("size", [32, 64, 84, 128])
def test_the_display_is_drawn_over_frames_of_any_size(size):
    scene = mazes.from_layout(ROOM)
    cameras = FAMILY.orbit(scene, 3)
    plain, shown = (family.render(scene, cameras, size).frames for family in (BARE, FAMILY))
    changed = (plain != shown).any(1).float()
    assert 0.03 < changed.mean() < 0.12
    assert changed[:, : size * 3 // 4, : size * 7 // 8].sum() == 0  # the middle of the picture stays


def test_the_map_shows_which_cells_are_open():
    for seed in range(5):
        scene = BARE.sample(np.random.default_rng(seed))
        middle = 7 * np.arange(9) + 3
        _, ids = BARE.inspect(scene, BARE.overhead(scene), 63)
        seen = ids[0][::-1][np.ix_(middle, middle)]  # rows of a picture go down, y goes up
        assert (seen == np.where(scene.open, raycast.FLOOR, raycast.TOP)).all()
        above = FAMILY.overhead(scene)
        assert torch.equal(FAMILY.render(scene, above, 64).frames, BARE.render(scene, above, 64).frames)


# Cameras


@given(st.integers(0, 2**32), st.sampled_from([1, 7, 300, 450]))
def test_cameras_are_level_and_clear_of_walls(seed, k):
    rng = np.random.default_rng(seed)
    scene = BARE.sample(rng)
    x, y, z, yaw, pitch = BARE.cameras(rng, scene, k).pose.double().numpy().T
    assert len(x) == k and not z.any() and not pitch.any() and (abs(yaw) <= math.pi + 1e-6).all()
    assert min(x.min(), y.min()) > -0.3839 and max(x.max(), y.max()) < 0.2839
    for down in (-0.1612, 0.1612):
        for right in (-0.1612, 0.1612):
            assert scene.open[np.floor(10 * y + 5 + down).astype(int), np.floor(10 * x + 5 + right).astype(int)].all()


def test_the_camera_turns_on_the_spot_and_then_walks():
    """Speeds, turns and places, against those of genuine scenes."""
    turns, speeds, aside, visited, length = [], [], [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scene = BARE.sample(rng)
        pose = BARE.cameras(rng, scene, 300).pose.double().numpy()
        x, y, yaw = 10 * pose[:, 0] + 5, 10 * pose[:, 1] + 5, pose[:, 3]
        turn = (np.diff(yaw) + math.pi) % (2 * math.pi) - math.pi
        assert len(set(x[:42])) == len(set(y[:42])) == 1 and np.allclose((x[0] % 1, y[0] % 1), 0.5, atol=1e-5)
        np.testing.assert_allclose(turn[:41], 0.1536, atol=1e-5)
        steps = turn[42:] / 0.0768
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
        turns.append(np.rint(steps))
        step = np.stack([np.diff(x), np.diff(y)], 1)[41:]
        speed = np.hypot(*step.T)
        speeds.append(speed)
        length.append(speed.sum())
        look = np.stack([np.cos(yaw), np.sin(yaw)], 1)[42:]
        moving = speed > 0.02
        aside.append((step * look).sum(1)[moving] / speed[moving])
        visited.append(len(set(zip(x.astype(int), y.astype(int), strict=True))) / scene.open.sum())
    speeds, aside = np.concatenate(speeds), np.concatenate(aside)
    assert 0.2 < speeds.max() < 0.24 and 0.12 < np.median(speeds) < 0.2 and np.mean(speeds < 1e-4) < 0.12
    assert 0.76 < np.mean(aside > math.cos(math.pi / 4)) < 0.88 and 0.02 < np.mean(aside < -0.7) < 0.09
    assert 30 < np.mean(length) < 38 and np.mean(visited) > 0.6
    share = np.mean(np.concatenate(turns)[:, None] == np.arange(-2, 3), axis=0)
    np.testing.assert_allclose(share, [0.18, 0.21, 0.22, 0.21, 0.18], atol=0.06)
    assert np.mean([np.corrcoef(t[1:], t[:-1])[0, 1] for t in turns]) == pytest.approx(0.76, abs=0.06)


def test_few_views_are_spread_over_the_walk():
    scene = BARE.sample(np.random.default_rng(3))
    every = walks.walk(np.random.default_rng(8), scene.open, 300)
    few = BARE.cameras(np.random.default_rng(8), scene, 20).pose
    near, number = torch.cdist(few[:, :2].double(), torch.from_numpy((every[:, :2] - 5) / 10)).min(1)
    assert near.max() < 1e-5 and number.max() > 200 and len(number.unique()) > 12 and (number.diff() >= 0).all()


def test_a_walk_goes_on_where_walls_are_near():
    """In a single cell, a short corridor and a narrow loop, the camera stays inside and moves."""
    loop = np.ones((3, 3), bool)
    loop[1, 1] = False
    for shape in (np.ones((1, 1), bool), np.ones((1, 3), bool), loop):
        free = np.pad(shape, 1)
        x, y, _ = walks.walk(np.random.default_rng(0), free, 600).T
        for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            assert free[(y + walks.NEAR * down).astype(int), (x + walks.NEAR * right).astype(int)].all()
        assert np.hypot(np.diff(x), np.diff(y)).sum() > 5

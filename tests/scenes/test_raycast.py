"""The renderer against what it should show, worked out in other ways: by points inside solids, and by projection."""

import math

import numpy as np
import pytest
import torch

from gqn.scenes import raycast
from gqn.views import Cameras

DARK = raycast.Light(ambient=0.0, headlight=0.0, lamp=0.0, white=0.0, spot=0, at=(0.0, 0.0, 1e4))
HALF_SIZES = {
    raycast.BOX: (0.5, 0.3, 0.7),
    raycast.SPHERE: (0.5, 0.5, 0.5),
    raycast.CYLINDER: (0.4, 0.4, 0.6),
    raycast.CAPSULE: (0.3, 0.3, 0.7),
    raycast.CONE: (0.5, 0.5, 0.6),
    raycast.ICOSAHEDRON: (0.6, 0.6, 0.6),
    raycast.TRIANGLE: (0.7 * 2 / math.sqrt(3), 0.25, 0.7),
}


def excess(shape, p, s):
    """How far points p (..., 3) of the local frame lie outside a solid: negative inside, zero on its surface."""
    x, y, z = np.moveaxis(p, -1, 0)
    across = np.hypot(x, y)
    if shape == raycast.BOX:
        return np.max(np.abs(p) - s, -1)
    if shape == raycast.SPHERE:
        return np.linalg.norm(p, axis=-1) - s[0]
    if shape == raycast.CYLINDER:
        return np.maximum(across - s[0], np.abs(z) - s[2])
    if shape == raycast.CAPSULE:
        return np.hypot(across, np.maximum(np.abs(z) - (s[2] - s[0]), 0)) - s[0]
    if shape == raycast.CONE:
        lean = math.hypot(2 * s[2], s[0])
        return np.maximum((across * 2 * s[2] - (s[2] - z) * s[0]) / lean, -s[2] - z)
    if shape == raycast.ICOSAHEDRON:
        corners = icosahedron() * s[0]
        gram = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
        near = np.isclose(gram, gram[gram > 0].min())
        faces = [
            (i, j, k) for i in range(12) for j in range(i) for k in range(j) if near[i, j] & near[j, k] & near[i, k]
        ]
        centres = corners[np.array(faces)].mean(1)
        radius = np.linalg.norm(centres[0])
        return (p @ (centres / radius).T).max(-1) - radius
    # The triangle: the nearest of three straight rods, whose cross-section is an ellipse.
    thick = raycast.THICKNESS * s[2]
    z = z + s[2] / 3
    rods = np.stack([-z, math.sqrt(0.75) * x + z / 2, -math.sqrt(0.75) * x + z / 2]).max(0)
    return np.hypot((rods - (2 * s[2] / 3 - thick)) / thick, y / s[1]) - 1


def icosahedron():
    """Unit corners (12, 3), one of them on top."""
    angle = np.arange(5) * 2 * math.pi / 5
    z = 1 / math.sqrt(5)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1) * math.sqrt(1 - z * z)
    upper = np.concatenate([ring, np.full((5, 1), z)], -1)
    return np.concatenate([upper, -upper, [[0, 0, 1], [0, 0, -1]]])


def one(shape, size, centre=(0.0, 0.0, 0.0), axes=None, colour=(1.0, 1.0, 1.0)):
    return raycast.Objects(
        np.array([shape]),
        np.array([centre], float),
        np.eye(3)[None] if axes is None else axes[None],
        np.array([size], float),
        np.array([colour], float),
    )


def world(objects, light=DARK):
    return raycast.World(objects, raycast.no_grid(), light, (0.0, 0.0, 0.0))


def looking(rng, radius, k=3):
    """Poses (k, 5) that face the origin, in the convention of `Cameras`."""
    yaw, pitch = rng.uniform(0, 6.28, k), rng.uniform(-1.2, 1.2, k)
    forward = np.stack([np.cos(yaw) * np.cos(pitch), -np.sin(yaw) * np.cos(pitch), np.sin(pitch)], -1)
    return np.concatenate([-radius * forward, yaw[:, None], pitch[:, None]], -1).astype(np.float32)


def filmed(pose, fov):
    return Cameras(torch.from_numpy(pose), fov)


@pytest.mark.parametrize("shape", HALF_SIZES)
def test_rays_stop_where_they_enter_a_solid(shape):
    rng = np.random.default_rng(shape)
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    centre, size = np.array([0.1, -0.2, 0.15]), np.array(HALF_SIZES[shape])
    pose, pixels = looking(rng, 4.0), 32
    solid = world(one(shape, size, centre, axes), DARK._replace(headlight=1.0))
    depth, ids = raycast.inspect(solid, filmed(pose, 30.0), pixels)
    frames = raycast.render(solid, filmed(pose, 30.0), pixels)
    origin, rays = Cameras(torch.from_numpy(pose).double(), 30.0).rays(pixels, pixels)
    forward = Cameras(torch.from_numpy(pose).double()).matrix()[:, :3, 2].numpy()
    rays = rays.numpy() / np.einsum("khwi,ki->khw", rays.numpy(), forward)[..., None]  # depth 1

    def excess_at(t):
        return excess(shape, (origin.numpy()[:, None, None] + t[..., None] * rays - centre) @ axes.T, size)

    hit = ids == 0
    assert 0.05 < hit.mean() < 0.9 and (ids[~hit] == raycast.NOTHING).all() and np.isinf(depth[~hit]).all()
    assert np.abs(excess_at(np.where(hit, depth, 0))[hit]).max() < 1e-5
    for t in np.linspace(2, 6, 400):  # no ray passes through solid before it stops
        inside = excess_at(np.full(depth.shape, t)) < -1e-3
        assert not (inside & (t < depth)).any()
    # The headlight shows the cosine between normal and camera axis; the normal is the gradient of the excess.
    points = origin.numpy()[:, None, None] + np.where(hit, depth, 0)[..., None] * rays
    h = 1e-4
    gradient = np.stack(
        [
            excess(shape, (points + h * e - centre) @ axes.T, size)
            - excess(shape, (points - h * e - centre) @ axes.T, size)
            for e in np.eye(3)
        ],
        -1,
    )
    cosine = -np.einsum("khwi,ki->khw", gradient, forward) / np.linalg.norm(gradient, axis=-1)
    wrong = np.abs(frames[:, 0] / 255 - np.clip(cosine, 0, 1))[hit] > 0.01
    assert wrong.mean() < 0.01  # creases


def test_points_project_where_cameras_say():
    rng = np.random.default_rng(0)
    pose, pixels = looking(rng, 3.0, 8), 64
    points = rng.uniform(-0.4, 0.4, (8, 3))
    matrix = Cameras(torch.from_numpy(pose).double()).matrix().numpy()
    for k in range(8):
        _, ids = raycast.inspect(
            world(one(raycast.SPHERE, (0.06,) * 3, points[k])), filmed(pose[k : k + 1], 40.0), pixels
        )
        row, column = (np.argwhere(ids[0] == 0) + 0.5).mean(0)
        x, y, z = (points[k] - matrix[k, :3, 3]) @ matrix[k, :3, :3]
        focal = raycast.focal_length(40.0, pixels)
        assert abs(column - (32 + focal * x / z)) < 0.5 and abs(row - (32 + focal * y / z)) < 0.5


def test_antialiasing_is_what_finer_pictures_average_to():
    rng = np.random.default_rng(1)
    light = raycast.Light(0.3, 0.3, 0.5, 0.1, 0, (6e3, 0.0, 8e3))
    pose = looking(rng, 4.0, 4)
    for shape, size in HALF_SIZES.items():
        solid = world(one(shape, size, colour=(0.9, 0.5, 0.2)), light)
        fine = raycast.render(solid, filmed(pose, 30.0), 32 * 8).reshape(4, 3, 32, 8, 32, 8).mean((3, 5))
        plain = np.abs(raycast.render(solid, filmed(pose, 30.0), 32) - fine)
        smooth = np.abs(raycast.render(solid, filmed(pose, 30.0), 32, antialias=True) - fine)
        assert smooth.mean() < 0.5 * plain.mean() and smooth.max() < 80


def test_hard_shadows_fall_where_the_lamp_is_hidden():
    rng = np.random.default_rng(2)
    floor = one(raycast.BOX, (3.0, 3.0, 0.1), (0.0, 0.0, -0.1))
    ball = one(raycast.SPHERE, (0.5,) * 3, (0.2, 0.1, 1.0))
    objects = raycast.Objects(*(np.concatenate(pair) for pair in zip(floor, ball, strict=True)))
    lamp = np.array([1.0, -1.0, 5.0])
    light = raycast.Light(0.2, 0.0, 0.7, 0.0, 0, tuple(lamp))
    pose = looking(rng, 5.0, 4)
    pose[:, 2], pose[:, 4] = 4.0, -0.9
    solid = world(objects, light)
    depth, ids = raycast.inspect(solid, filmed(pose, 50.0), 48)
    frames = raycast.render(solid, filmed(pose, 50.0), 48)
    cameras = Cameras(torch.from_numpy(pose).double(), 50.0)
    origin, rays = (t.numpy() for t in cameras.rays(48, 48))
    rays /= np.einsum("khwi,ki->khw", rays, cameras.matrix()[:, :3, 2].numpy())[..., None]
    ground = ids == 0
    points = (origin[:, None, None] + np.where(ground, depth, 0)[..., None] * rays)[ground]
    towards = lamp - points
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    offset = np.array([0.2, 0.1, 1.0]) - points
    closest = np.linalg.norm(np.cross(offset, towards), axis=-1)  # of the way to the lamp to the ball's centre
    level = points[:, 2] > -1e-3
    dark = np.abs(frames[:, 0][ground] / 255 - 0.2) < 0.01
    assert (dark == (closest < 0.5))[level & (np.abs(closest - 0.5) > 1e-3)].all()
    lit = level & ~dark
    np.testing.assert_allclose(frames[:, 0][ground][lit] / 255, np.minimum(0.2 + 0.7 * towards[lit, 2], 1), atol=0.005)


def test_textures_keep_their_mean_at_every_level():
    rng = np.random.default_rng(3)
    pattern = rng.random((64, 64, 3))
    texels = raycast.pyramid([pattern, pattern * 0.5])
    np.testing.assert_allclose(texels[0, -1], pattern.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(texels[1], texels[0] * 0.5, rtol=1e-5)


def test_colours():
    hue = np.array([0, 1 / 6, 1 / 3, 2 / 3])
    np.testing.assert_allclose(raycast.hsv(hue), [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(raycast.hsv(np.array(0.5), 0.5, 0.8), [0.4, 0.8, 0.8])

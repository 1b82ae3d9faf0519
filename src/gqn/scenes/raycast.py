"""The renderer that all scene families share: one ray per pixel, analytic shapes, plain scalar code.

A family describes its scene as a few named tuples of arrays (`Objects`, `Light`) and calls `render`. World and cameras
follow `gqn.views`: z up, camera forward = (cos yaw cos pitch, -sin yaw cos pitch, sin pitch).

All compiled code lives in this file, because numba's cache looks only at the file of the function that is called.
Kernels are serial and release the GIL: parallelism is the caller's (threads or forked workers).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

NOTHING = -1  # the id of a pixel that shows no surface; objects have their index as id

BOX = 0  # half-sizes


class Objects(NamedTuple):
    """N solids. Each stands in a local frame of its own and fills the box of half-sizes `size` about its centre."""

    shape: NDArray[np.int64]  # (N,): BOX, ...
    centre: NDArray[np.float64]  # (N, 3)
    axes: NDArray[
        np.float64
    ]  # (N, 3, 3): rows are the local axes in the world, local = axes @ (point - centre)
    size: NDArray[np.float64]  # (N, 3)
    colour: NDArray[np.float64]  # (N, 3): albedo, in [0, 1]


class Light(NamedTuple):
    """Light on a surface of colour b, normal n, seen along the camera axis f:

    b (ambient + headlight max(0, -n.f)) + [the lamp reaches it] (b lamp max(0, n.l) + white), clipped to [0, 1].
    """

    ambient: float
    headlight: float
    lamp: float
    white: float
    towards: tuple[float, float, float]  # unit vector from everywhere to the lamp


class Camera(NamedTuple):
    """A pinhole and its axes; `right` and `down` are those of the image."""

    origin: tuple[float, float, float]
    forward: tuple[float, float, float]
    right: tuple[float, float, float]
    down: tuple[float, float, float]


def render(
    objects: Objects,
    light: Light,
    sky: tuple[float, float, float],
    pose: NDArray[np.float32],
    fov: float,
    size: int,
    samples: int = 1,
    shift: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.uint8]:
    """Pictures (K, 3, size, size) of a scene from K poses (x, y, z, yaw, pitch).

    With samples s > 1, pixels at an edge (of an object, a face or a shadow) are the mean of s x s rays.
    `shift` moves the principal point right and down, in pixels.
    """
    frames = np.empty((len(pose), 3, size, size), np.uint8)
    _render(objects, light, sky, pose, focal_length(fov, size), shift, samples, frames)
    return frames


def inspect(
    objects: Objects,
    pose: NDArray[np.float32],
    fov: float,
    size: int,
    shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """What the ray through each pixel centre meets: depth along the camera axis (inf: nothing), and id; (K, h, w)."""
    depth = np.empty((len(pose), size, size), np.float32)
    ids = np.empty((len(pose), size, size), np.int32)
    _inspect(objects, pose, focal_length(fov, size), shift, depth, ids)
    return depth, ids


def focal_length(fov: float, size: int) -> float:
    """In pixels, for a full angle `fov` (degrees) across `size` pixels."""
    return size / 2 / math.tan(math.radians(fov) / 2)


# Everything below is compiled. Vectors are tuples of three floats.


def _compiled(function: Any) -> Any:
    return njit(cache=True, nogil=True, error_model="numpy")(function)


@_compiled
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_compiled
def _along(origin, direction, t):
    return (origin[0] + t * direction[0], origin[1] + t * direction[1], origin[2] + t * direction[2])


@_compiled
def _camera(x, y, z, yaw, pitch):
    sy, cy, sp, cp = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
    return Camera((x, y, z), (cy * cp, -sy * cp, sp), (-sy, -cy, 0.0), (cy * sp, -sy * sp, -cp))


@_compiled
def _ray(camera, x, y):
    """Direction through the image point (x, y), in focal lengths; its length along the camera axis is 1."""
    return _along(_along(camera.forward, camera.right, x), camera.down, y)


@_compiled
def _to_local(objects, i, v):
    axes = objects.axes
    return (
        axes[i, 0, 0] * v[0] + axes[i, 0, 1] * v[1] + axes[i, 0, 2] * v[2],
        axes[i, 1, 0] * v[0] + axes[i, 1, 1] * v[1] + axes[i, 1, 2] * v[2],
        axes[i, 2, 0] * v[0] + axes[i, 2, 1] * v[1] + axes[i, 2, 2] * v[2],
    )


@_compiled
def _to_world(objects, i, v):
    axes = objects.axes
    return (
        axes[i, 0, 0] * v[0] + axes[i, 1, 0] * v[1] + axes[i, 2, 0] * v[2],
        axes[i, 0, 1] * v[0] + axes[i, 1, 1] * v[1] + axes[i, 2, 1] * v[2],
        axes[i, 0, 2] * v[0] + axes[i, 1, 2] * v[1] + axes[i, 2, 2] * v[2],
    )


@_compiled
def _from_centre(objects, i, point):
    centre = objects.centre
    return (point[0] - centre[i, 0], point[1] - centre[i, 1], point[2] - centre[i, 2])


@_compiled
def _hit_box(o, d, s):
    near, far = -math.inf, math.inf
    for axis in range(3):
        inverse = 1 / d[axis]
        a, b = (-s[axis] - o[axis]) * inverse, (s[axis] - o[axis]) * inverse
        near, far = max(near, min(a, b)), min(far, max(a, b))
    return near if near <= far else math.inf


@_compiled
def _normal_box(p, s):
    x, y, z = abs(p[0]) / s[0], abs(p[1]) / s[1], abs(p[2]) / s[2]
    if x >= y and x >= z:
        return (math.copysign(1.0, p[0]), 0.0, 0.0)
    if y >= z:
        return (0.0, math.copysign(1.0, p[1]), 0.0)
    return (0.0, 0.0, math.copysign(1.0, p[2]))


@_compiled
def _hit(objects, i, origin, direction):
    """How far along a ray from outside it enters object i: a multiple of `direction`, or inf."""
    o = _to_local(objects, i, _from_centre(objects, i, origin))
    d = _to_local(objects, i, direction)
    size = (objects.size[i, 0], objects.size[i, 1], objects.size[i, 2])
    return _hit_box(o, d, size)


@_compiled
def _normal(objects, i, point):
    """Outward unit normal of object i at a point of its surface."""
    p = _to_local(objects, i, _from_centre(objects, i, point))
    size = (objects.size[i, 0], objects.size[i, 1], objects.size[i, 2])
    return _to_world(objects, i, _normal_box(p, size))


EPSILON = 1e-6  # nearer hits are the surface that the ray starts from


@_compiled
def _trace(objects, bounds, row, column, origin, direction):
    """The first surface on the camera ray of a pixel: distance as a multiple of `direction`, and id."""
    nearest, found = math.inf, NOTHING
    for i in range(len(objects.shape)):
        if bounds[i, 0] <= row <= bounds[i, 1] and bounds[i, 2] <= column <= bounds[i, 3]:
            t = _hit(objects, i, origin, direction)
            if EPSILON < t < nearest:
                nearest, found = t, i
    return nearest, found


@_compiled
def _in_shadow(objects, point, towards):
    for i in range(len(objects.shape)):  # noqa: SIM110 (numba compiles no generators in any())
        if EPSILON < _hit(objects, i, point, towards) < math.inf:
            return True
    return False


@_compiled
def _radiance(objects, light, sky, camera, direction, t, i):
    """Colour of what a camera ray meets, and its light: what the colour was multiplied with."""
    if i == NOTHING:
        return sky, 0.0
    point = _along(camera.origin, direction, t)
    normal = _normal(objects, i, point)
    shade = light.ambient + light.headlight * max(0.0, -_dot(normal, camera.forward))
    white = 0.0
    facing = _dot(normal, light.towards)
    if facing > EPSILON and not _in_shadow(objects, point, light.towards):
        shade += light.lamp * facing
        white = light.white
    colour = objects.colour
    return (
        colour[i, 0] * shade + white,
        colour[i, 1] * shade + white,
        colour[i, 2] * shade + white,
    ), shade + white


@_compiled
def _bounds(objects, camera, focal, shift, size, bounds):
    """First and last row and column (inclusive) of each object's box on the image; returns those of them all."""
    first_row, last_row, first_column, last_column = size, -1, size, -1
    for i in range(len(objects.shape)):
        left, right, top, bottom = math.inf, -math.inf, math.inf, -math.inf
        for corner in range(8):
            local = (
                objects.size[i, 0] * (1 - 2 * (corner & 1)),
                objects.size[i, 1] * (1 - (corner & 2)),
                objects.size[i, 2] * (1 - (corner & 4) / 2),
            )
            offset = _from_centre(objects, i, camera.origin)
            p = _along(_to_world(objects, i, local), offset, -1.0)
            depth = _dot(p, camera.forward)
            if depth < EPSILON:  # beside or behind the camera: no bound
                left, right, top, bottom = -math.inf, math.inf, -math.inf, math.inf
                break
            x = focal * _dot(p, camera.right) / depth + size / 2 + shift[0]
            y = focal * _dot(p, camera.down) / depth + size / 2 + shift[1]
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
        bounds[i, 0] = int(math.floor(max(0.0, min(size, top))))
        bounds[i, 1] = int(math.floor(min(size - 1.0, max(-1.0, bottom))))
        bounds[i, 2] = int(math.floor(max(0.0, min(size, left))))
        bounds[i, 3] = int(math.floor(min(size - 1.0, max(-1.0, right))))
        first_row, last_row = min(first_row, bounds[i, 0]), max(last_row, bounds[i, 1])
        first_column, last_column = min(first_column, bounds[i, 2]), max(last_column, bounds[i, 3])
    return first_row, last_row, first_column, last_column


@_compiled
def _render(objects, light, sky, pose, focal, shift, samples, frames):
    size = frames.shape[2]
    bounds = np.empty((len(objects.shape), 4), np.int64)
    image = np.empty((size, size, 3))
    shades = np.empty((size, size))
    ids = np.empty((size, size), np.int64)
    for view in range(len(pose)):
        camera = _camera(pose[view, 0], pose[view, 1], pose[view, 2], pose[view, 3], pose[view, 4])
        top, bottom, left, right = _bounds(objects, camera, focal, shift, size, bounds)
        for row in range(size):
            for column in range(size):
                shade, i, colour = 0.0, NOTHING, sky
                if top <= row <= bottom and left <= column <= right:
                    x = (column + 0.5 - size / 2 - shift[0]) / focal
                    y = (row + 0.5 - size / 2 - shift[1]) / focal
                    direction = _ray(camera, x, y)
                    t, i = _trace(objects, bounds, row, column, camera.origin, direction)
                    colour, shade = _radiance(objects, light, sky, camera, direction, t, i)
                image[row, column, 0], image[row, column, 1], image[row, column, 2] = colour
                ids[row, column], shades[row, column] = i, shade
        if samples > 1:
            for row in range(size):
                for column in range(size):
                    if not _at_edge(ids, shades, row, column):
                        continue
                    red, green, blue = 0.0, 0.0, 0.0
                    for sample in range(samples * samples):
                        x = column + (sample % samples + 0.5) / samples
                        y = row + (sample // samples + 0.5) / samples
                        direction = _ray(
                            camera, (x - size / 2 - shift[0]) / focal, (y - size / 2 - shift[1]) / focal
                        )
                        t, i = _trace(objects, bounds, row, column, camera.origin, direction)
                        colour, _ = _radiance(objects, light, sky, camera, direction, t, i)
                        red, green, blue = (
                            red + min(colour[0], 1.0),
                            green + min(colour[1], 1.0),
                            blue + min(colour[2], 1.0),
                        )
                    image[row, column, 0] = red / samples**2
                    image[row, column, 1] = green / samples**2
                    image[row, column, 2] = blue / samples**2
        for channel in range(3):
            for row in range(size):
                for column in range(size):
                    frames[view, channel, row, column] = int(
                        min(image[row, column, channel], 1.0) * 255 + 0.5
                    )


EDGE = 0.04  # neighbours whose light differs by more lie on two sides of an edge


@_compiled
def _at_edge(ids, shades, row, column):
    size = len(ids)
    i, shade = ids[row, column], shades[row, column]
    for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
        if 0 <= y < size and 0 <= x < size and (ids[y, x] != i or abs(shades[y, x] - shade) > EDGE):
            return True
    return False


@_compiled
def _inspect(objects, pose, focal, shift, depth, ids):
    size = depth.shape[1]
    bounds = np.empty((len(objects.shape), 4), np.int64)
    for view in range(len(pose)):
        camera = _camera(pose[view, 0], pose[view, 1], pose[view, 2], pose[view, 3], pose[view, 4])
        _bounds(objects, camera, focal, shift, size, bounds)
        for row in range(size):
            for column in range(size):
                x = (column + 0.5 - size / 2 - shift[0]) / focal
                y = (row + 0.5 - size / 2 - shift[1]) / focal
                t, i = _trace(objects, bounds, row, column, camera.origin, _ray(camera, x, y))
                depth[view, row, column], ids[view, row, column] = t, i

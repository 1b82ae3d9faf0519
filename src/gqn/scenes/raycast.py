"""The renderer that all scene families share: analytic shapes, one ray per pixel, plain scalar code.

A family describes a scene as a `World` (named tuples of arrays and numbers), z up, and calls `render` or `inspect`.

All compiled code is in this file, because numba's cache only notices changes in the file of the called function.
Kernels use one thread and release the GIL; callers may run them in parallel, in threads or forked workers.
"""

import math
import multiprocessing
import os
import sys
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from gqn.views import Cameras

# Shapes. Each lies in a box of half-sizes (a, b, c) around its centre, with its axis along local z.
BOX = 0
SPHERE = 1  # radius a
CYLINDER = 2  # radius a, half-height c
CAPSULE = 3  # radius a, half-height c including both domes
CONE = 4  # base of radius a at z = -c, tip at z = c
ICOSAHEDRON = 5  # circumradius a, with a corner at the bottom
TRIANGLE = 6  # equilateral frame of three rods in the xz plane, tip up; height 2c, depth 2b

# Ids of everything that is not an object; the id of an object is its index.
NOTHING = -1
FLOOR = -2
WALL = -3  # -3, -4, -5, -6: walls that face +x, -x, +y, -y
TOP = -7  # the top of a wall, seen from above


class Objects(NamedTuple):
    """N solids, each with its own local frame: local = axes @ (point - centre)."""

    shape: NDArray[np.int64]  # (N,)
    centre: NDArray[np.float64]  # (N, 3)
    axes: NDArray[np.float64]  # (N, 3, 3): rows are the local axes, in world coordinates
    size: NDArray[np.float64]  # (N, 3): half-sizes
    colour: NDArray[np.float64]  # (N, 3): albedo, in [0, 1]


class Grid(NamedTuple):
    """A floor at z = 0 and solid cells of a square grid, centred on the origin; all border cells are solid.

    A texture is a pattern that is multiplied by an albedo; see `pyramid`.
    """

    solid: NDArray[np.bool_]  # (rows along y, columns along x)
    wall: NDArray[np.int64]  # (rows, columns): texture of the walls around an open cell, and of a solid cell's top
    floor: NDArray[np.int64]  # (rows, columns): texture of the cell's floor
    textures: NDArray[np.float32]  # (T, texels, 3)
    texels: int  # side of the textures' finest level, a power of 2
    wall_colour: tuple[float, float, float]
    floor_colour: tuple[float, float, float]
    cell: float  # side of a cell
    height: float  # of the walls; a texture covers it once
    along_wall: float  # textures per metre along a wall
    on_floor: float  # textures per metre on the floor, in both directions
    mirrored: bool  # whether walls that face each other show mirrored pictures, else the same


class Light(NamedTuple):
    """The light. A surface of albedo b and unit normal n, seen along the camera axis f, has the colour

    b (ambient + headlight max(0, -n.f)) + [lit by the lamp] (b lamp n.l l_z^spot + white), at most 1,

    where l is the unit vector to the lamp. Objects cast hard shadows; walls cast none.
    """

    ambient: float
    headlight: float
    lamp: float
    white: float
    spot: int
    at: tuple[float, float, float]  # place of the lamp; a distant one acts as a sun


class World(NamedTuple):
    """Everything that a ray can hit."""

    objects: Objects
    grid: Grid
    light: Light
    sky: tuple[float, float, float]  # colour where there is nothing


class Camera(NamedTuple):
    """A pinhole camera: unit axes `forward`, `right`, `down`; focal length and image centre (`x`, `y`) in pixels."""

    origin: tuple[float, float, float]
    forward: tuple[float, float, float]
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    focal: float
    x: float
    y: float


def pyramid(patterns: list[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Textures (T, texels, 3) from patterns (side, side, 3), whose row 0 is the foot of a wall.

    A texture is a mipmap: the pattern, then its means over 2x2, 4x4, ... texels, down to a single texel.
    """
    level = np.stack(patterns).astype(np.float32)
    levels = []
    while True:
        levels.append(level.reshape(len(level), -1, 3))
        side = level.shape[1] // 2
        if side == 0:
            return np.concatenate(levels, 1)
        level = level.reshape(len(level), side, 2, side, 2, 3).mean((2, 4))


def no_grid() -> Grid:
    """A grid with neither floor nor walls."""
    none = np.zeros((0, 0), np.int64)
    textures = np.zeros((0, 0, 3), np.float32)
    return Grid(none > 0, none, none, textures, 1, (0.0,) * 3, (0.0,) * 3, 1.0, 0.0, 0.0, 0.0, False)


def render(
    world: World,
    cameras: Cameras,
    size: int,
    unit: float = 1.0,
    antialias: bool = False,
    blur: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.uint8]:
    """Pictures (K, 3, size, size) of cameras (K,); a unit of their positions is so many units of the world.

    With `antialias`, a pixel at an edge (of an object, a face or a shadow) is the mean of five rays; textures are
    always filtered. `blur` is the sigma of a final three-tap Gaussian blur, and `shift` moves the image right and down;
    both are in pixels.
    """
    frames = np.empty((len(cameras.pose), 3, size, size), np.uint8)
    buffers = (
        np.empty((len(world.objects.shape) + 1, 4)),  # bounds of the objects, seen from the camera
        np.empty((len(world.objects.shape) + 1, 4)),  # the same, seen from the lamp
        np.empty((size, size, 3)),  # image
        np.empty((size, size, 3)),  # half-blurred image
        np.empty((size, size)),  # marks
        np.empty((size, size), np.int64),  # ids
    )
    places = _placed(cameras, unit)
    _render(world, places, focal_length(cameras.fov, size), shift, antialias, blur, buffers, frames)
    return frames


def inspect(
    world: World,
    cameras: Cameras,
    size: int,
    unit: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """What is seen at the pixel centres: depth along the camera axis (inf: nothing) and id, each (K, size, size).

    Depths are in units of the cameras' positions, one of which is `unit` units of the world.
    """
    depth = np.empty((len(cameras.pose), size, size), np.float32)
    ids = np.empty((len(cameras.pose), size, size), np.int32)
    bounds = np.empty((len(world.objects.shape) + 1, 4))
    _inspect(world, _placed(cameras, unit), focal_length(cameras.fov, size), shift, bounds, depth, ids)
    return depth / np.float32(unit), ids


def _placed(cameras: Cameras, unit: float) -> NDArray[np.float64]:
    """Camera to world, (K, 4, 4), in units of the world."""
    places = replace(cameras, pose=cameras.pose.double()).matrix().numpy()
    places[:, :3, 3] *= unit
    return places


def focal_length(fov: float, size: int) -> float:
    """Focal length in pixels, for a full angle of `fov` degrees across `size` pixels."""
    return size / 2 / math.tan(math.radians(fov) / 2)


def hsv(hue: Any, saturation: Any = 1.0, value: Any = 1.0) -> NDArray[np.float64]:
    """Convert hue, saturation and value (*B,) to RGB (*B, 3), all in [0, 1]."""
    pure = np.clip(np.abs((np.asarray(hue)[..., None] * 6 + (0, 4, 2)) % 6 - 3) - 1, 0, 1)
    return (1 - np.asarray(saturation)[..., None] * (1 - pure)) * np.asarray(value)[..., None]


# Everything below is compiled. Vectors are tuples of three floats. A ray is an origin and a direction of any length;
# distances along a ray are multiples of the direction.


# Without reference counting (`_nrt`), which is not needed as no kernel allocates memory, and with all calls inlined,
# kernels run five to ten times as fast.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "forceinline": True, "_nrt": False}


def _compiled(function: Any) -> Any:
    try:
        compiled = njit(**OPTIONS)(function)
    except RuntimeError:  # numba can write neither to this folder nor to the user's cache
        _say_not_kept()
        return njit(**OPTIONS | {"cache": False})(function)
    if not isinstance(compiled, Dispatcher):  # with NUMBA_DISABLE_JIT it is a plain function
        return compiled
    kept = cast(Any, compiled)._cache
    save = kept.save_overload

    def save_if_possible(*compilation: Any) -> None:
        try:
            save(*compilation)
        except OSError:  # a full disk
            _say_not_kept()

    kept.save_overload = save_if_possible
    return compiled


@cache
def _say_not_kept() -> None:
    """Print once, only in the process that the user started, that compiled code cannot be stored."""
    if multiprocessing.parent_process() is None and os.environ.get("LOCAL_RANK", "0") == "0":
        print(
            "gqn: the compiled renderer cannot be stored, and each start compiles it again, which may take a minute: "
            "point NUMBA_CACHE_DIR to a folder with room",
            file=sys.stderr,
        )


EPSILON = 1e-6  # nearer hits are on the surface at which the ray starts, and are ignored
EDGE = 0.12  # an edge lies between neighbouring pixels whose marks (see `_radiance`) differ by more
# Positions, in a pixel at an edge, of its five rays; no two are in the same row or column.
LATTICE = ((0.1, 0.1), (0.3, 0.5), (0.5, 0.9), (0.7, 0.3), (0.9, 0.7))


@_compiled
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_compiled
def _along(origin, direction, t):
    return (origin[0] + t * direction[0], origin[1] + t * direction[1], origin[2] + t * direction[2])


@_compiled
def _to_local(objects, i, v):
    a = objects.axes
    return (
        a[i, 0, 0] * v[0] + a[i, 0, 1] * v[1] + a[i, 0, 2] * v[2],
        a[i, 1, 0] * v[0] + a[i, 1, 1] * v[1] + a[i, 1, 2] * v[2],
        a[i, 2, 0] * v[0] + a[i, 2, 1] * v[1] + a[i, 2, 2] * v[2],
    )


@_compiled
def _to_world(objects, i, v):
    a = objects.axes
    return (
        a[i, 0, 0] * v[0] + a[i, 1, 0] * v[1] + a[i, 2, 0] * v[2],
        a[i, 0, 1] * v[0] + a[i, 1, 1] * v[1] + a[i, 2, 1] * v[2],
        a[i, 0, 2] * v[0] + a[i, 1, 2] * v[1] + a[i, 2, 2] * v[2],
    )


@_compiled
def _from_centre(objects, i, point):
    c = objects.centre
    return (point[0] - c[i, 0], point[1] - c[i, 1], point[2] - c[i, 2])


# Shapes, in their local frame. _hit_*: the distance at which the ray enters the solid (negative: behind the origin,
# inf: it misses). _normal_*: the outward normal at a point p of the surface.


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
def _first_root(a, half_b, c):
    """The smaller root of a t^2 + 2 half_b t + c for a > 0; inf if there is none."""
    discriminant = half_b * half_b - a * c
    return (-half_b - math.sqrt(discriminant)) / a if discriminant >= 0 and a > 0 else math.inf


@_compiled
def _hit_sphere(o, d, height, radius):
    """A sphere centred at (0, 0, height)."""
    z = o[2] - height
    return _first_root(_dot(d, d), o[0] * d[0] + o[1] * d[1] + z * d[2], o[0] ** 2 + o[1] ** 2 + z**2 - radius**2)


@_compiled
def _hit_tube(o, d, radius):
    """An infinite cylinder around the z axis."""
    return _first_root(d[0] ** 2 + d[1] ** 2, o[0] * d[0] + o[1] * d[1], o[0] ** 2 + o[1] ** 2 - radius**2)


@_compiled
def _hit_disc(o, d, height, radius):
    """A horizontal disc centred at (0, 0, height)."""
    t = (height - o[2]) / d[2]
    return t if (o[0] + t * d[0]) ** 2 + (o[1] + t * d[1]) ** 2 <= radius**2 else math.inf


@_compiled
def _hit_cylinder(o, d, s):
    t = _hit_tube(o, d, s[0])
    if abs(o[2] + t * d[2]) <= s[2]:
        return t
    return _hit_disc(o, d, math.copysign(s[2], -d[2]), s[0])


@_compiled
def _normal_cylinder(p, s):
    if abs(p[2]) / s[2] > math.sqrt(p[0] ** 2 + p[1] ** 2) / s[0]:
        return (0.0, 0.0, math.copysign(1.0, p[2]))
    return (p[0] / s[0], p[1] / s[0], 0.0)


@_compiled
def _hit_capsule(o, d, s):
    straight = s[2] - s[0]  # half-length of the part between the domes
    t = _hit_tube(o, d, s[0])
    z = o[2] + t * d[2]
    if abs(z) <= straight:
        return t
    return min(_hit_sphere(o, d, straight, s[0]), _hit_sphere(o, d, -straight, s[0]))


@_compiled
def _normal_capsule(p, s):
    straight = s[2] - s[0]
    z = p[2] - max(-straight, min(straight, p[2]))
    return (p[0] / s[0], p[1] / s[0], z / s[0])


@_compiled
def _hit_cone(o, d, s):
    slope = s[0] / (2 * s[2])  # at depth h below the tip, the radius is slope * h
    h = s[2] - o[2]
    a = d[0] ** 2 + d[1] ** 2 - (slope * d[2]) ** 2
    half_b = o[0] * d[0] + o[1] * d[1] + slope**2 * h * d[2]
    c = o[0] ** 2 + o[1] ** 2 - (slope * h) ** 2
    discriminant = half_b * half_b - a * c
    nearest = math.inf
    if discriminant >= 0:  # take the first root that is on the lower nappe and where the ray enters
        root = math.sqrt(discriminant)
        for t in ((-half_b - root) / a, (-half_b + root) / a):
            if abs(o[2] + t * d[2]) <= s[2] and a * t + half_b < 0:
                nearest = min(nearest, t)
    if d[2] > 0:
        nearest = min(nearest, _hit_disc(o, d, -s[2], s[0]))
    return nearest


@_compiled
def _normal_cone(p, s):
    radius = math.sqrt(p[0] ** 2 + p[1] ** 2)
    if (p[2] + s[2]) * s[0] < 1e-9 * s[2] + 1e-9 or radius == 0:
        return (0.0, 0.0, -1.0 if p[2] < 0 else 1.0)
    length = math.sqrt(4 * s[2] ** 2 + s[0] ** 2)
    out = 2 * s[2] / (length * radius)
    return (p[0] * out, p[1] * out, s[0] / length)


def _icosahedron() -> NDArray[np.float64]:
    """Unit normals (10, 3) of the faces, one of each opposite pair; a corner lies on the z axis."""
    ring = (np.arange(5) + 0.5) * 2 * math.pi / 5  # azimuths of the faces; one corner is at azimuth 0
    low, high = math.sqrt((5 - 2 * math.sqrt(5)) / 15), math.sqrt((5 + 2 * math.sqrt(5)) / 15)  # z
    return np.concatenate(
        [
            np.stack([math.sqrt(1 - z * z) * np.cos(ring), math.sqrt(1 - z * z) * np.sin(ring), np.full(5, z)], -1)
            for z in (high, low)
        ]
    )


FACES = _icosahedron()
INRADIUS = math.sqrt((5 + 2 * math.sqrt(5)) / 15)  # inradius of an icosahedron of circumradius 1


@_compiled
def _hit_icosahedron(o, d, s):
    near, far = -math.inf, math.inf
    reach = s[0] * INRADIUS
    for face in range(10):
        n = (FACES[face, 0], FACES[face, 1], FACES[face, 2])
        height, inverse = _dot(n, o), 1 / _dot(n, d)
        a, b = (-reach - height) * inverse, (reach - height) * inverse
        near, far = max(near, min(a, b)), min(far, max(a, b))
    return near if near <= far else math.inf


@_compiled
def _normal_icosahedron(p, s):
    best, normal = 0.0, (0.0, 0.0, 1.0)
    for face in range(10):
        n = (FACES[face, 0], FACES[face, 1], FACES[face, 2])
        height = _dot(n, p)
        if abs(height) > best:
            sign = math.copysign(1.0, height)
            best, normal = abs(height), (sign * n[0], sign * n[1], sign * n[2])
    return normal


# RODS: directions in the xz plane from the centroid of a triangle to its rods. A rod ends where it meets its
# neighbours: in the planes halfway between the directions.
THICKNESS = 0.192  # half the thickness of a rod in the plane of the frame, as a fraction of c
RODS = ((0.0, -1.0), (math.sqrt(0.75), 0.5), (-math.sqrt(0.75), 0.5))


@_compiled
def _hit_triangle(o, d, s):
    thick = THICKNESS * s[2]
    middle = 2 * s[2] / 3 - thick  # distance from the centroid to a rod's axis
    squeeze = thick / s[1]
    oz = o[2] + s[2] / 3
    nearest = math.inf
    for ex, ez in RODS:
        # Coordinates: across the rod, away from the centroid; across it, along y (scaled by `squeeze`); along it.
        across = (ex * o[0] + ez * oz - middle, squeeze * o[1], ex * oz - ez * o[0])
        towards = (ex * d[0] + ez * d[2], squeeze * d[1], ex * d[2] - ez * d[0])
        t = _hit_tube(across, towards, thick)
        outward = across[0] + t * towards[0] + middle
        if EPSILON < t < nearest and abs(across[2] + t * towards[2]) <= math.sqrt(3.0) * outward:
            nearest = t
    return nearest


@_compiled
def _normal_triangle(p, s):
    thick = THICKNESS * s[2]
    middle = 2 * s[2] / 3 - thick
    z = p[2] + s[2] / 3
    best, ex, ez = -math.inf, 0.0, 0.0
    for rod_x, rod_z in RODS:
        outward = rod_x * p[0] + rod_z * z
        if outward > best:
            best, ex, ez = outward, rod_x, rod_z
    away, aside = (best - middle) / thick**2, p[1] / s[1] ** 2
    scale = 1 / math.sqrt(away**2 + aside**2)
    return (scale * away * ex, scale * aside, scale * away * ez)


@_compiled
def _hit(objects, i, origin, direction):
    o = _to_local(objects, i, _from_centre(objects, i, origin))
    d = _to_local(objects, i, direction)
    s = (objects.size[i, 0], objects.size[i, 1], objects.size[i, 2])
    shape = objects.shape[i]
    if shape == BOX:
        return _hit_box(o, d, s)
    if shape == SPHERE:
        return _hit_sphere(o, d, 0.0, s[0])
    if shape == CYLINDER:
        return _hit_cylinder(o, d, s)
    if shape == CAPSULE:
        return _hit_capsule(o, d, s)
    if shape == CONE:
        return _hit_cone(o, d, s)
    if shape == ICOSAHEDRON:
        return _hit_icosahedron(o, d, s)
    return _hit_triangle(o, d, s)


@_compiled
def _normal(objects, i, point):
    p = _to_local(objects, i, _from_centre(objects, i, point))
    s = (objects.size[i, 0], objects.size[i, 1], objects.size[i, 2])
    shape = objects.shape[i]
    if shape == BOX:
        n = _normal_box(p, s)
    elif shape == SPHERE:
        n = (p[0] / s[0], p[1] / s[0], p[2] / s[0])
    elif shape == CYLINDER:
        n = _normal_cylinder(p, s)
    elif shape == CAPSULE:
        n = _normal_capsule(p, s)
    elif shape == CONE:
        n = _normal_cone(p, s)
    elif shape == ICOSAHEDRON:
        n = _normal_icosahedron(p, s)
    else:
        n = _normal_triangle(p, s)
    return _to_world(objects, i, n)


@_compiled
def _hit_grid(grid, o, d):
    """Follow the ray from cell to cell until it hits a floor or wall; returns distance and id."""
    rows, columns = grid.solid.shape
    x, y = o[0] / grid.cell + columns / 2, o[1] / grid.cell + rows / 2
    column, row = min(max(int(x), 1), columns - 2), min(max(int(y), 1), rows - 2)  # clamped to inside the border
    step_x, step_y = (1 if d[0] > 0 else -1), (1 if d[1] > 0 else -1)
    pace_x, pace_y = abs(grid.cell / d[0]), abs(grid.cell / d[1])
    leave_x = pace_x * abs(column + (d[0] > 0) - x)
    leave_y = pace_y * abs(row + (d[1] > 0) - y)
    floor = -o[2] / d[2] if d[2] < 0 else math.inf
    top = (grid.height - o[2]) / d[2] if d[2] < 0 else math.inf
    t, face = 0.0, 0
    while 0 <= row < rows and 0 <= column < columns:
        leave = min(leave_x, leave_y)
        if not grid.solid[row, column]:
            if floor <= leave:
                return floor, FLOOR
        elif t > 0 and o[2] + t * d[2] <= grid.height:
            return t, face
        elif top <= leave and top > 0:
            return top, TOP
        t = leave
        if leave_x < leave_y:
            column, leave_x, face = column + step_x, leave_x + pace_x, (WALL - 1 if d[0] > 0 else WALL)
        else:
            row, leave_y, face = row + step_y, leave_y + pace_y, (WALL - 3 if d[1] > 0 else WALL - 2)
    return math.inf, NOTHING


@_compiled
def _texture(grid, k, u, v, area):
    """Texture k at (u, v), averaged over about `area`, as a fraction of the texture.

    Bilinear in the level with texels of about this size. The texture repeats in u and v, but is interpolated across the
    border only in u.
    """
    side, first, texels = grid.texels, 0, area * grid.texels * grid.texels
    while texels > 2 and side > 1:
        first, side, texels = first + side * side, side // 2, texels / 4
    x, y = (u - math.floor(u)) * side - 0.5, min(max((v - math.floor(v)) * side - 0.5, 0.0), side - 1.0)
    left, low = math.floor(x), math.floor(y)
    a, b = x - left, y - low
    c0, c1 = left & (side - 1), (left + 1) & (side - 1)
    r0, r1 = first + low * side, first + min(low + 1, side - 1) * side
    w00, w10, w01, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    i00, i10, i01, i11 = r0 + c0, r0 + c1, r1 + c0, r1 + c1
    t = grid.textures
    return (
        w00 * t[k, i00, 0] + w10 * t[k, i10, 0] + w01 * t[k, i01, 0] + w11 * t[k, i11, 0],
        w00 * t[k, i00, 1] + w10 * t[k, i10, 1] + w01 * t[k, i01, 1] + w11 * t[k, i11, 1],
        w00 * t[k, i00, 2] + w10 * t[k, i10, 2] + w01 * t[k, i01, 2] + w11 * t[k, i11, 2],
    )


@_compiled
def _surface(world, camera, direction, t, i, point):
    """Unit normal and albedo of the surface that a camera ray hits."""
    if i >= 0:
        c = world.objects.colour
        return _normal(world.objects, i, point), (c[i, 0], c[i, 1], c[i, 2])
    grid = world.grid
    if i in (FLOOR, TOP):
        normal = (0.0, 0.0, 1.0)
    elif i > WALL - 2:
        normal = (1.0 if i == WALL else -1.0, 0.0, 0.0)
    else:
        normal = (0.0, 1.0 if i == WALL - 2 else -1.0, 0.0)
    # The area of the surface that a pixel covers: the pixel's square, stretched by the slant. The factor 0.4 makes it
    # smaller, because the final blur also smooths and the released walls look grainy.
    slant = abs(_dot(normal, direction)) / math.sqrt(_dot(direction, direction))
    area = 0.4 * (t / camera.focal) ** 2 / max(slant, 0.01)
    rows, columns = grid.wall.shape
    # The cell that counts is half a cell in front of the point for a wall, and at the point for a floor or top.
    column = int(point[0] / grid.cell + columns / 2 + 0.5 * normal[0])
    row = int(point[1] / grid.cell + rows / 2 + 0.5 * normal[1])
    if i == TOP:  # the mean of the wall's texture
        k, last, b = grid.wall[row, column], grid.textures.shape[1] - 1, grid.wall_colour
        pattern = (grid.textures[k, last, 0], grid.textures[k, last, 1], grid.textures[k, last, 2])
    elif i == FLOOR:
        scale, b = grid.on_floor, grid.floor_colour
        u, v = point[0] * scale, point[1] * scale
        pattern = _texture(grid, grid.floor[row, column], u, v, area * scale * scale)
    else:
        scale, b = grid.along_wall, grid.wall_colour
        u, v = (normal[0] * point[1] - normal[1] * point[0]) * scale, point[2] / grid.height
        if grid.mirrored and normal[0] > normal[1]:
            u = -u
        pattern = _texture(grid, grid.wall[row, column], u, v, area * scale / grid.height)
    return normal, (b[0] * pattern[0], b[1] * pattern[1], b[2] * pattern[2])


@_compiled
def _in_shadow(objects, lamp, shadows, point, towards, distance):
    """Whether an object hides the lamp from a point; `shadows` are the objects' bounds, seen from the lamp."""
    x, y, _ = _project(lamp, point)
    if not _within(shadows, len(shadows) - 1, x, y):
        return False
    for i in range(len(shadows) - 1):
        if _within(shadows, i, x, y) and EPSILON < _hit(objects, i, point, towards) < distance:
            return True
    return False


@_compiled
def _radiance(world, lamp, shadows, camera, direction, t, i):
    """Colour seen along a camera ray, and a mark: a number that jumps at edges of faces and shadows."""
    if i == NOTHING:
        return world.sky, 0.0
    light = world.light
    point = _along(camera.origin, direction, t)
    normal, albedo = _surface(world, camera, direction, t, i, point)
    shade = light.ambient + light.headlight * max(0.0, -_dot(normal, camera.forward))
    mark, white = shade, 0.0
    towards = _along(light.at, point, -1.0)
    distance = math.sqrt(_dot(towards, towards))
    towards = (towards[0] / distance, towards[1] / distance, towards[2] / distance)
    facing = _dot(normal, towards)
    if facing > EPSILON and not _in_shadow(world.objects, lamp, shadows, point, towards, distance):
        shade += light.lamp * facing * towards[2] ** light.spot
        mark, white = mark + 1, light.white
    red, green, blue = albedo[0] * shade + white, albedo[1] * shade + white, albedo[2] * shade + white
    return (min(red, 1.0), min(green, 1.0), min(blue, 1.0)), mark


@_compiled
def _camera(place, focal, shift, size):
    """A camera, of its matrix to the world (4, 4)."""
    return Camera(
        (place[0, 3], place[1, 3], place[2, 3]),
        (place[0, 2], place[1, 2], place[2, 2]),
        (place[0, 0], place[1, 0], place[2, 0]),
        (place[0, 1], place[1, 1], place[2, 1]),
        focal,
        size / 2 + shift[0],
        size / 2 + shift[1],
    )


@_compiled
def _lamp_as_camera(light):
    """A camera at the lamp, looking at the origin, with a focal length of 1: what it sees is lit."""
    x, y, z = light.at
    aside, distance = math.hypot(x, y), math.sqrt(x * x + y * y + z * z)
    ahead = (-x / aside, -y / aside) if aside > 0 else (1.0, 0.0)
    level, fall = aside / distance, -z / distance
    forward = (ahead[0] * level, ahead[1] * level, fall)
    down = (ahead[0] * fall, ahead[1] * fall, -level)
    return Camera((float(x), float(y), float(z)), forward, (ahead[1], -ahead[0], 0.0), down, 1.0, 0.0, 0.0)


@_compiled
def _ray(camera, x, y):
    """Direction of the ray through the image point (x, y), in pixels; scaled so that distances along it are depths."""
    right, down = (x - camera.x) / camera.focal, (y - camera.y) / camera.focal
    return _along(_along(camera.forward, camera.right, right), camera.down, down)


@_compiled
def _project(camera, point):
    """Project a point: image point (x, y) in pixels, and depth."""
    p = _along(point, camera.origin, -1.0)
    depth = _dot(p, camera.forward)
    scale = camera.focal / depth
    return camera.x + scale * _dot(p, camera.right), camera.y + scale * _dot(p, camera.down), depth


@_compiled
def _find_bounds(objects, camera, bounds):
    """Fill `bounds` with each object's rectangle in the image (left, right, top, bottom) and, last, that of all."""
    every = len(objects.shape)
    bounds[every, 0], bounds[every, 1], bounds[every, 2], bounds[every, 3] = math.inf, -math.inf, math.inf, -math.inf
    for i in range(every):
        left, right, top, bottom = math.inf, -math.inf, math.inf, -math.inf
        centre = (objects.centre[i, 0], objects.centre[i, 1], objects.centre[i, 2])
        for corner in range(8):
            local = (
                objects.size[i, 0] * (1 - 2 * (corner & 1)),
                objects.size[i, 1] * (1 - (corner & 2)),
                objects.size[i, 2] * (1 - (corner & 4) / 2),
            )
            x, y, depth = _project(camera, _along(centre, _to_world(objects, i, local), 1.0))
            if depth < EPSILON:  # beside or behind the camera: no bound
                left, right, top, bottom = -math.inf, math.inf, -math.inf, math.inf
                break
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
        bounds[i, 0], bounds[i, 1], bounds[i, 2], bounds[i, 3] = left, right, top, bottom
        bounds[every, 0], bounds[every, 1] = min(bounds[every, 0], left), max(bounds[every, 1], right)
        bounds[every, 2], bounds[every, 3] = min(bounds[every, 2], top), max(bounds[every, 3], bottom)


@_compiled
def _within(bounds, i, x, y):
    return bounds[i, 0] <= x <= bounds[i, 1] and bounds[i, 2] <= y <= bounds[i, 3]


@_compiled
def _trace(world, bounds, camera, x, y, direction):
    """Distance and id of the first thing that the ray through an image point hits."""
    nearest, found = _hit_grid(world.grid, camera.origin, direction)
    if not _within(bounds, len(bounds) - 1, x, y):
        return nearest, found
    for i in range(len(bounds) - 1):
        if _within(bounds, i, x, y):
            t = _hit(world.objects, i, camera.origin, direction)
            if EPSILON < t < nearest:
                nearest, found = t, i
    return nearest, found


@_compiled
def _look(world, lamp, shadows, camera, bounds, x, y):
    """Colour, mark and id at an image point."""
    direction = _ray(camera, x, y)
    t, i = _trace(world, bounds, camera, x, y, direction)
    colour, mark = _radiance(world, lamp, shadows, camera, direction, t, i)
    return colour, mark, i


@_compiled
def _at_edge(ids, marks, row, column):
    size = len(ids)
    i, mark = ids[row, column], marks[row, column]
    for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
        if 0 <= y < size and 0 <= x < size and (ids[y, x] != i or abs(marks[y, x] - mark) > EDGE):
            return True
    return False


@_compiled
def _blur(image, sigma, scratch):
    """Blur in place with three taps along rows, then along columns; border pixels are repeated."""
    side = math.exp(-0.5 / sigma**2)
    middle = 1 / (1 + 2 * side)
    side *= middle
    size = len(image)
    for row in range(size):
        for column in range(size):
            left, right = max(column - 1, 0), min(column + 1, size - 1)
            for c in range(3):
                outer = image[row, left, c] + image[row, right, c]
                scratch[row, column, c] = middle * image[row, column, c] + side * outer
    for row in range(size):
        above, below = max(row - 1, 0), min(row + 1, size - 1)
        for column in range(size):
            for c in range(3):
                outer = scratch[above, column, c] + scratch[below, column, c]
                image[row, column, c] = middle * scratch[row, column, c] + side * outer


@_compiled
def _render(world, places, focal, shift, antialias, blur, buffers, frames):
    size = frames.shape[2]
    bounds, shadows, image, scratch, marks, ids = buffers
    lamp = _lamp_as_camera(world.light)
    _find_bounds(world.objects, lamp, shadows)
    for view in range(len(places)):
        camera = _camera(places[view], focal, shift, size)
        _find_bounds(world.objects, camera, bounds)
        for row in range(size):
            for column in range(size):
                colour, mark, i = _look(world, lamp, shadows, camera, bounds, column + 0.5, row + 0.5)
                image[row, column, 0], image[row, column, 1], image[row, column, 2] = colour
                marks[row, column], ids[row, column] = mark, i
        if antialias:
            for row in range(size):
                for column in range(size):
                    if not _at_edge(ids, marks, row, column):
                        continue
                    mean = (0.0, 0.0, 0.0)
                    for x, y in LATTICE:
                        colour, _, _ = _look(world, lamp, shadows, camera, bounds, column + x, row + y)
                        mean = _along(mean, colour, 1 / len(LATTICE))
                    image[row, column, 0], image[row, column, 1], image[row, column, 2] = mean
        if blur > 0:
            _blur(image, blur, scratch)
        for c in range(3):
            for row in range(size):
                for column in range(size):
                    frames[view, c, row, column] = int(image[row, column, c] * 255 + 0.5)


@_compiled
def _inspect(world, places, focal, shift, bounds, depth, ids):
    size = depth.shape[1]
    for view in range(len(places)):
        camera = _camera(places[view], focal, shift, size)
        _find_bounds(world.objects, camera, bounds)
        for row in range(size):
            for column in range(size):
                x, y = column + 0.5, row + 0.5
                t, i = _trace(world, bounds, camera, x, y, _ray(camera, x, y))
                depth[view, row, column], ids[view, row, column] = t, i

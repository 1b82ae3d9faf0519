"""Walls and floors of mazes: measured colours, patterns of our own in the measured styles.

A pattern (TEXELS, TEXELS), or with colours (TEXELS, TEXELS, 3), covers one cell; row 0 is the foot of a wall. It is
computed once per process; a texture is its product with a colour.
"""

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.raycast import pyramid

TEXELS = 128  # side of a pattern

# Pattern and mean colour (of 255); the first is that of all corridors. The order is that of the measured layouts.
WALLS = (
    ("circuit", (83, 119, 78)),
    ("circuit", (165, 197, 157)),
    ("panel", (86, 116, 53)),
    ("panel", (148, 72, 49)),
    ("circuit", (199, 120, 103)),
    ("panel", (152, 180, 112)),
    ("discs", (78, 77, 81)),
    ("discs", (138, 138, 144)),
    ("mosaic", (165, 71, 56)),
    ("discs", (147, 83, 9)),
    ("weave", (74, 91, 109)),
    ("weave", (110, 125, 140)),
    ("mosaic", (215, 166, 29)),
    ("weave", (184, 162, 52)),
    ("mosaic", (226, 197, 81)),
    ("weave", (165, 125, 15)),
    ("panel", (204, 137, 108)),
    ("circuit", (132, 37, 34)),
    ("mosaic", (205, 122, 108)),
)
FLOORS = (
    ("hexagons", (197, 152, 52)),
    ("slats", (93, 130, 58)),
    ("strip", (115, 193, 227)),
    ("dots", (90, 138, 149)),
    ("dots", (155, 203, 213)),
    ("woven", (197, 115, 46)),
    ("slats", (148, 184, 218)),
    ("slats", (55, 115, 166)),
    ("strip", (63, 141, 195)),
    ("hexagons", (6, 63, 121)),
    ("strip", (236, 218, 115)),
    ("hexagons", (7, 95, 178)),
    ("woven", (228, 180, 127)),
    ("dots", (86, 150, 108)),
    ("strip", (198, 162, 62)),
    ("woven", (129, 190, 227)),
    ("woven", (52, 127, 192)),
    ("hexagons", (237, 222, 124)),
)


Pattern = NDArray[np.float64]
Y, X = (np.mgrid[:TEXELS, :TEXELS] + 0.5) / TEXELS


@cache
def textures(flat: bool = False) -> NDArray[np.float32]:
    """Textures of WALLS, then of FLOORS, as `raycast.pyramid` returns them; of one texel each, with `flat`."""
    looks = [(name, np.array(colour) / 255) for name, colour in WALLS + FLOORS]
    return pyramid([colour[None, None] if flat else _coloured(PATTERNS[name](), colour) for name, colour in looks])


def _coloured(pattern: Pattern, colour: NDArray[np.float64]) -> NDArray[np.float64]:
    """A pattern in a colour, which is its mean. Lights are whiter; the lighter the colour, the weaker the contrast."""
    shade = (1.3 - colour.mean()) * (pattern.reshape(TEXELS, TEXELS, -1) - 1)
    texture = colour * (1 + np.minimum(shade, 0)) + (0.8 - 0.3 * colour) * np.maximum(shade, 0)
    return np.minimum(texture * colour / texture.mean((0, 1)), 1)


@cache
def circuit() -> Pattern:
    """A wall of thin dark lines with elbows on faint panels, the halves alike, with a bluish skirting; in colour."""
    rng = np.random.default_rng(1)
    x, shade = X * 2 % 1, np.ones_like(X)
    for _ in range(14):
        left, low, width, height = rng.random(), rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.25)
        shade += rng.uniform(-0.05, 0.04) * (((x - left) % 1 < width) & ((Y - low) % 1 < height))
    for _ in range(26):
        left, low, along, up = rng.random(), rng.random(), rng.uniform(0.15, 0.7), rng.uniform(-0.2, 0.2)
        dx, dy = (x - left) % 1, (Y - low + 0.5) % 1 - 0.5
        across = (dx < along) & (abs(dy) < 0.006)
        turned = (abs(dx - along) < 0.012) & (abs(dy - up / 2) < abs(up) / 2)
        shade[across | turned] -= 0.15
    shade[Y > 0.96] *= 0.85
    shade = shade[..., None].repeat(3, -1)
    shade[Y < 0.05] = 0.7, 1.0, 1.3
    shade[Y < 0.015] = 0.5, 0.6, 0.7
    return shade


@cache
def panel() -> Pattern:
    """A wall of diagonal plaid with a few grooves and a dark foot."""
    shade = np.ones_like(X)
    for turn, phase in ((X + Y, 0.0), (X - Y, 0.4)):
        for waves, strength in ((2, 0.025), (5, 0.02), (11, 0.01)):
            shade += strength * np.sin(2 * np.pi * waves * turn + 9 * phase * waves)
    corners = (
        ((0, 0.38), (0.34, 0.38), (0.34, 0.8), (0.58, 0.8), (0.58, 0.97)),
        ((0.18, 0.38), (0.18, 0.14), (0.54, 0.14), (0.54, 0.46), (0.84, 0.46), (0.84, 0.68), (1, 0.68)),
        ((0, 0.68), (0.14, 0.68)),
        ((0.74, 0.46), (0.74, 0.24), (0.92, 0.24)),
    )
    for (x0, y0), (x1, y1) in (line for groove in corners for line in pairwise(groove)):
        away = np.hypot(X - X.clip(min(x0, x1), max(x0, x1)), Y - Y.clip(min(y0, y1), max(y0, y1)))
        shade -= 0.13 * np.clip(1.6 - away / 0.012, 0, 1)
    shade[Y > 0.97] *= 0.85
    shade[Y < 0.04] = 0.45
    return shade


@cache
def discs() -> Pattern:
    """A wall with 2 x 2 dark discs in thin rings, joined by lines, and a lighter strip at either side."""
    x, y = abs(X - 0.5), abs(Y - 0.5)
    radius = np.hypot(x - 0.22, y - 0.22)
    shade = 1.02 - 0.35 * np.clip((0.15 - radius) / 0.03 + 0.5, 0, 1)
    joins = (abs(x - 0.22) < 0.008) & (y < 0.04) | (abs(y - 0.22) < 0.008) & (x < 0.04)
    shade[(abs(radius - 0.175) < 0.01) | joins] = 1.06
    shade[x > 0.44] = 1.12
    shade[Y < 0.03] *= 0.8
    return shade


@cache
def mosaic() -> Pattern:
    """A wall of 10 x 10 tiles with light joints; one in six is darker."""
    rng, tiles = np.random.default_rng(4), 10
    shade = 1 + rng.normal(0, 0.03, (tiles, tiles))
    shade[rng.random((tiles, tiles)) < 1 / 6] -= 0.22
    shade = shade[(Y * tiles).astype(int), (X * tiles).astype(int)]
    shade[np.minimum(X * tiles % 1, Y * tiles % 1) < 0.12] = 1.12
    return shade


@cache
def weave() -> Pattern:
    """A wall of bricks, 2 : 1, in a herringbone; some are darker."""
    rng, units = np.random.default_rng(5), 12
    column, row = (X * units).astype(int), (Y * units).astype(int)
    part = (column - row) % 4  # left and right half of a lying brick, upper and lower half of a standing one
    first_column, first_row = (column - (part == 1)) % units, (row - (part == 2)) % units
    shade = 1 + rng.choice((-0.16, -0.08, 0.0, 0.06, 0.12), (2, units, units))[(part > 1) * 1, first_row, first_column]
    x, y = X * units % 1, Y * units % 1
    left, right = np.where(part == 1, 1, x), np.where(part == 0, 1, 1 - x)
    low, high = np.where(part == 2, 1, y), np.where(part == 3, 1, 1 - y)
    joint = np.minimum(np.minimum(left, right), np.minimum(low, high))
    return shade - 0.16 * (joint < 0.1)


@cache
def hexagons() -> Pattern:
    """A floor of hexagons, 10 in a row, with lighter joints; some, in clusters, are darker."""
    rng, columns, rows = np.random.default_rng(6), 10, 12
    dark = _smooth(rng, rows, columns, 1.0)
    away, shades = [], []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row = np.floor(Y * rows) + down
            column = np.floor(X * columns) + right
            offset = 0.25 + 0.5 * (row % 2)
            away.append(np.hypot((X * columns - column - offset) / 1.0, (Y * rows - row - 0.5) * columns / rows))
            shades.append(dark[row.astype(int) % rows, column.astype(int) % columns])
    order = np.argsort(away, 0)
    near, next_ = np.take_along_axis(np.array(away), order[:2], 0)
    at = np.take_along_axis(np.array(shades), order[:1], 0)[0]
    shade = 1 - 0.2 * np.clip((at - 0.8) / 0.5, 0, 1)
    return shade + 0.07 * np.clip(1 - (next_ - near) / 0.3, 0, 1)


@cache
def slats() -> Pattern:
    """A floor of five rows of slanted slats, of uneven shades."""
    rng, rows, columns = np.random.default_rng(7), 5, 5
    row = (Y * rows).astype(int)
    along = X * columns + 0.6 * (Y * rows) + 0.3 * row
    shade = 1 + 0.08 * _smooth(rng, rows, columns, 0.4)[row, np.floor(along).astype(int) % columns]
    edge = np.minimum(np.minimum(along % 1, 1 - along % 1), np.minimum(Y * rows % 1, 1 - Y * rows % 1))
    return 1.02 + (shade - 1) * np.clip(edge / 0.15, 0, 1)


@cache
def strip() -> Pattern:
    """A floor with a lighter band in the middle third, and faint joints."""
    middle = np.clip((0.165 - abs(X - 0.5)) / 0.02 + 0.5, 0, 1)
    joints = np.minimum((Y + np.where(middle > 0.5, 0.16, 0.0)) * 3 % 1, 1.0) < 0.05
    return 0.96 + 0.2 * middle - 0.05 * joints


@cache
def dots() -> Pattern:
    """A floor of dots in slanting rows, some of them bright."""
    rng, side = np.random.default_rng(9), 12
    row = (Y * side).astype(int)
    x = X * side + 0.5 * (row % 2)
    bright = rng.choice((0.0, 0.0, 0.04, 0.1, 0.3), (side, side))[row, np.floor(x).astype(int) % side]
    away = np.hypot(x % 1 - 0.5, Y * side % 1 - 0.5)
    return 0.95 + (0.03 + bright) * np.clip((0.5 - away) / 0.2, 0, 1)


@cache
def woven() -> Pattern:
    """A floor of strands that pass over and under each other, 10 in both directions."""
    x, y = X * 10, Y * 10
    over = (np.floor(x) + np.floor(y)) % 2 == 0
    across, along = np.where(over, x % 1, y % 1), np.where(over, y % 1, x % 1)
    return 0.9 + 0.1 * np.sqrt(np.sin(np.pi * across)) + 0.08 * np.sin(np.pi * along)


def _smooth(rng: np.random.Generator, rows: int, columns: int, spread: float) -> Pattern:
    """Random numbers (rows, columns), neighbours alike, of mean 0 and standard deviation 1."""
    noise = rng.standard_normal((rows, columns))
    for axis in (0, 1):
        noise = noise + spread * np.roll(noise, 1, axis)
    return (noise - noise.mean()) / noise.std()


PATTERNS = {p.__name__: p for p in (circuit, panel, discs, mosaic, weave, hexagons, slats, strip, dots, woven)}

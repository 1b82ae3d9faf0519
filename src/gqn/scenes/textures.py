"""Walls and floors: procedural patterns, computed once per process, and the colours of the released rooms.

A pattern (TEXELS, TEXELS, 3) is multiplied by an albedo and has a mean of about 1. Row 0 is the foot of a wall. Wall
patterns repeat horizontally, floor patterns in both directions. Lengths are fractions of a pattern's side.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.raycast import Grid, pyramid

Pattern = NDArray[np.float64]

TEXELS = 256  # side of a pattern

# The released rooms: albedo of five walls and three floors, measured on genuine frames.
WALLS = {
    "red": (201 / 255, 120 / 255, 98 / 255),
    "green": (157 / 255, 190 / 255, 150 / 255),
    "cerise": (163 / 255, 64 / 255, 100 / 255),
    "orange": (227 / 255, 121 / 255, 18 / 255),
    "yellow": (218 / 255, 167 / 255, 26 / 255),
}
FLOORS = {
    "yellow": (190 / 255, 170 / 255, 80 / 255),
    "white": (243 / 255, 243 / 255, 243 / 255),
    "blue": (100 / 255, 137 / 255, 155 / 255),
}
SKY = (154 / 255, 226 / 255, 250 / 255)


def room(rng: np.random.Generator) -> tuple[str, str]:
    """The names of a random wall and a random floor."""
    return list(WALLS)[rng.integers(len(WALLS))], list(FLOORS)[rng.integers(len(FLOORS))]


def walled_square(wall: str, floor: str, half: float, height: float) -> Grid:
    """A released room: a square floor within |x|, |y| < half, and walls around it."""
    solid = np.ones((3, 3), bool)
    solid[1, 1] = False
    return Grid(
        solid=solid,
        wall=np.full((3, 3), list(WALLS).index(wall)),
        floor=np.full((3, 3), len(WALLS) + list(FLOORS).index(floor)),
        textures=_rooms(),
        texels=TEXELS,
        wall_colour=WALLS[wall],
        floor_colour=FLOORS[floor],
        cell=2 * half,
        height=height,
        along_wall=3 / (2 * half),
        on_floor=1 / half,
        mirrored=False,
    )


@cache
def _rooms() -> NDArray[np.float32]:
    """Textures of WALLS, then of FLOORS."""
    walls = [circuit(1), circuit(2, 0.7), circuit(3, 1.4), discs(), blotches(4)]
    return pyramid([*walls, paving(5), paving(6), paving(7)])


Y, X = (np.mgrid[:TEXELS, :TEXELS] + 0.5) / TEXELS


def circuit(seed: int, contrast: float = 1.0) -> Pattern:
    """A wall like a circuit board: panels, and dark lines with elbows and dots; repeated twice in both directions."""
    rng = np.random.default_rng(seed)
    x, y = X * 2 % 1, Y * 2 % 1
    relief = 0.25 * clouds(rng, 0.006)
    for _ in range(18):  # panels
        width, height = rng.uniform(0.1, 0.35), rng.uniform(0.06, 0.25)
        relief += rng.uniform(-0.5, 0.5) * (((x - rng.random()) % 1 < width) & ((y - rng.random()) % 1 < height))
    for _ in range(13):  # lines: horizontal, then vertical, with a dot where they begin
        left, low, along, up = rng.random(), rng.random(), rng.uniform(0.2, 0.45), rng.uniform(-0.45, 0.45)
        dx, dy = (x - left) % 1, (y - low + 0.5) % 1 - 0.5
        across = (dx < along) & (abs(dy) < 0.016)
        turned = (abs(dx - along) < 0.016) & (abs(dy - up / 2) < abs(up) / 2)
        dot = ((dx + 0.5) % 1 - 0.5) ** 2 + dy**2 < 0.03**2
        relief[across | turned | dot] -= 1.6
    shade = 1 + 0.12 * contrast * (relief - relief.mean())
    return _skirted(shade, 0.66, 0.85, 0.9)


def blotches(seed: int) -> Pattern:
    """A wall with soft, irregular dark spots."""
    shade = 1.04 - 0.13 / (1 + np.exp(-4 * clouds(np.random.default_rng(seed), 0.025)))
    return _skirted(shade / shade.mean(), 0.8, 0.9, 1.0)


def discs() -> Pattern:
    """A wall with 2 x 2 dark discs, each in a thin ring, and a pale strip at the sides."""
    field, strip, disc = np.array([(254, 127, 9), (248, 168, 57), (174, 81, 1)]) / (227, 121, 18)
    pattern = np.empty((TEXELS, TEXELS, 3))
    pattern[:] = field
    x, y = (
        abs((X * 2) % 1 - 0.5) * 7 / 6,
        abs((Y * 2) % 1 - 0.5),
    )  # in units of the wall's half-height, from the centre
    radius = np.hypot(x, y)
    pattern[(radius < 0.27) | (abs(radius - 0.34) < 0.02)] = disc
    pattern[abs(X - 0.5) > 0.45] = strip
    return pattern


def paving(seed: int) -> Pattern:
    """A floor of hexagonal paving stones, 14 in a row, with darker joints and soft dark patches."""
    rng = np.random.default_rng(seed)
    x, y = X * 14, Y * 16
    # Nearest and second nearest centre of a hexagonal lattice: rows are shifted by half a stone.
    distances = []
    for row in (-1, 0, 1, 2):
        for column in (-1, 0, 1, 2):
            cy = np.floor(y) + row
            cx = np.floor(x) + column + 0.5 * (cy % 2)
            distances.append((x - cx) ** 2 + ((y - cy) * math.sqrt(0.75)) ** 2)
    first, second = np.sqrt(np.sort(distances, 0)[:2])
    joint = np.clip(1 - (second - first) / 0.16, 0, 1)
    shade = 1 - 0.16 * joint - 0.08 * np.clip(clouds(rng, 0.06), 0, 1.5) + 0.02 * clouds(rng, 0.008)
    return (shade / shade.mean())[..., None].repeat(3, -1)


def _skirted(shade: NDArray[np.float64], band: float, foot: float, top: float) -> Pattern:
    """A grey pattern with two strips at the bottom, of shades `foot` and `band`, and one at the top scaled by `top`."""
    shade[Y < 0.09] = band
    shade[Y < 0.04] = foot
    shade[Y > 0.95] *= top
    return shade[..., None].repeat(3, -1)


def clouds(rng: np.random.Generator, scale: float) -> Pattern:
    """Smooth noise (TEXELS, TEXELS) of mean 0 and standard deviation 1; repeats in both directions."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(TEXELS, 1 / TEXELS)] * 2))
    noise = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal((TEXELS, TEXELS))) * np.exp(-0.5 * (6.3 * scale * frequency) ** 2)
    )
    smooth = noise.real - noise.real.mean()
    return smooth / smooth.std()

"""Procedural patterns for walls and floors, drawn once per process.

A pattern (TEXELS, TEXELS, 3) multiplies an albedo and has a mean of about 1. Row 0 is the foot of a wall, and
columns repeat; floors repeat both ways. Lengths in here are fractions of a pattern's side.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.raycast import TEXELS

Pattern = NDArray[np.float64]

Y, X = (np.mgrid[:TEXELS, :TEXELS] + 0.5) / TEXELS


def circuit(seed: int, contrast: float = 1.0) -> Pattern:
    """Panels and dark lines with elbows and dots, like a circuit board; the board is laid twice both ways."""
    rng = np.random.default_rng(seed)
    x, y = X * 2 % 1, Y * 2 % 1
    relief = 0.25 * clouds(rng, 0.006)
    for _ in range(18):  # panels
        width, height = rng.uniform(0.1, 0.35), rng.uniform(0.06, 0.25)
        relief += rng.uniform(-0.5, 0.5) * (
            ((x - rng.random()) % 1 < width) & ((y - rng.random()) % 1 < height)
        )
    for _ in range(13):  # lines: across, then up or down, with a dot at the end
        left, low, along, up = rng.random(), rng.random(), rng.uniform(0.2, 0.45), rng.uniform(-0.45, 0.45)
        dx, dy = (x - left) % 1, (y - low + 0.5) % 1 - 0.5
        across = (dx < along) & (abs(dy) < 0.016)
        turned = (abs(dx - along) < 0.016) & (abs(dy - up / 2) < abs(up) / 2)
        dot = ((dx + 0.5) % 1 - 0.5) ** 2 + dy**2 < 0.03**2
        relief[across | turned | dot] -= 1.6
    shade = 1 + 0.12 * contrast * (relief - relief.mean())
    return _skirted(shade, 0.66, 0.85, 0.9)


def blotches(seed: int) -> Pattern:
    """Soft irregular dark spots."""
    shade = 1.04 - 0.13 / (1 + np.exp(-4 * clouds(np.random.default_rng(seed), 0.025)))
    return _skirted(shade / shade.mean(), 0.8, 0.9, 1.0)


def discs() -> Pattern:
    """Two by two dark discs with thin rings, and a pale strip at the border."""
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
    """Hexagonal paving stones, 14 to a side, with darker joints and soft dark patches."""
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
    shade = 1 - 0.2 * joint - 0.08 * np.clip(clouds(rng, 0.06), 0, 1.5) + 0.02 * clouds(rng, 0.008)
    return (shade / shade.mean())[..., None].repeat(3, -1)


def _skirted(shade: NDArray[np.float64], band: float, foot: float, top: float) -> Pattern:
    """A grey pattern with a dark band above a foot, and a top, of the given shades."""
    shade[Y < 0.09] = band
    shade[Y < 0.04] = foot
    shade[Y > 0.95] *= top
    return shade[..., None].repeat(3, -1)


def clouds(rng: np.random.Generator, scale: float) -> Pattern:
    """Smooth noise (TEXELS, TEXELS) with mean 0 and standard deviation 1 that repeats both ways."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(TEXELS, 1 / TEXELS)] * 2))
    noise = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal((TEXELS, TEXELS))) * np.exp(-0.5 * (6.3 * scale * frequency) ** 2)
    )
    smooth = noise.real - noise.real.mean()
    return smooth / smooth.std()

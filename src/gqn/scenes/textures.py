"""Procedural patterns for walls and floors, drawn once per process.

A pattern (TEXELS, TEXELS, 3) multiplies an albedo and has a mean of about 1. Row 0 is the foot of a wall, and columns
repeat; floors repeat both ways. Lengths in here are fractions of a pattern's side.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gqn.scenes.raycast import TEXELS

Pattern = NDArray[np.float64]

Y, X = (np.mgrid[:TEXELS, :TEXELS] + 0.5) / TEXELS


def circuit(seed: int) -> Pattern:
    """Thin dark lines with elbows and dots, like a circuit board, on a wall with a skirting and a dark top."""
    rng = np.random.default_rng(seed)
    shade = 1 + 0.02 * clouds(rng, 0.012)
    for _ in range(14):  # panels
        x, y, width, height = rng.random(), rng.random(), rng.uniform(0.04, 0.14), rng.uniform(0.04, 0.16)
        shade[((X - x) % 1 < width) & (abs(Y - y) < height / 2)] *= 1.06
    for _ in range(44):  # lines: across, then up or down, with a dot at the end
        x, y, along, up = rng.random(), rng.random(), rng.uniform(0.08, 0.3), rng.uniform(-0.2, 0.2)
        across = ((X - x) % 1 < along) & (abs(Y - y) < 0.007)
        turned = (abs((X - x - along + 0.5) % 1 - 0.5) < 0.007) & (abs(Y - y - up / 2) < abs(up) / 2)
        dot = ((X - x + 0.5) % 1 - 0.5) ** 2 + (Y - y) ** 2 < 0.012**2
        shade[across | turned | dot] *= 0.82
    shade /= shade.mean()
    shade[Y < 0.09] = 0.66
    shade[Y < 0.04] = 0.85
    shade[Y > 0.95] = 0.9
    return shade[..., None].repeat(3, -1)


def blotches(seed: int) -> Pattern:
    """Soft irregular dark spots."""
    shade = 1.04 - 0.13 / (1 + np.exp(-4 * clouds(np.random.default_rng(seed), 0.025)))
    shade /= shade.mean()
    shade[Y < 0.09] = 0.8
    shade[Y < 0.04] = 0.9
    return shade[..., None].repeat(3, -1)


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


def clouds(rng: np.random.Generator, scale: float) -> Pattern:
    """Smooth noise (TEXELS, TEXELS) with mean 0 and standard deviation 1 that repeats both ways."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(TEXELS, 1 / TEXELS)] * 2))
    noise = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal((TEXELS, TEXELS))) * np.exp(-0.5 * (6.3 * scale * frequency) ** 2)
    )
    smooth = noise.real - noise.real.mean()
    return smooth / smooth.std()

"""The game's display, which released frames of mazes show over the picture: two numbers and a few small icons.

It is drawn from simple shapes, of the measured sizes, places and colours. In the released frames the second number
counts down from about 125 to 100 over the views of a scene; here it stays, so that a view depends on its camera alone.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 84  # pixels of a released frame
FINE = 4  # the shapes are drawn in so many times as many pixels
NUMBERS = ("100", "110")
DIGITS = {"0": "111101101101111", "1": "010110010010111"}  # 3 x 5, from the top

Colour = tuple[int, int, int]


def drawn(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames (K, 3, size, size) with the display over them."""
    where, opacity, colour = _display(frames.shape[-1])
    frames = frames.copy()
    frames[:, :, where] = np.rint(frames[:, :, where] * (1 - opacity) + colour).astype(np.uint8)
    return frames


@cache
def _display(size: int) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Where the display is, (size, size), and, for these N pixels, its opacity (N,) and opacity times colour (3, N)."""
    layer = np.zeros((4, SIDE * FINE, SIDE * FINE), np.float32)  # opacity times colour, opacity
    y, x = (np.mgrid[: SIDE * FINE, : SIDE * FINE] + 0.5) / FINE

    def paint(shape: NDArray[np.bool_], colour: Colour, opacity: float) -> None:
        new = np.array([*colour, 1.0], np.float32)[:, None] * opacity
        layer[:, shape] = layer[:, shape] * (1 - opacity) + new

    def box(left: float, top: float, right: float, bottom: float) -> NDArray[np.bool_]:
        return (left <= x) & (x < right) & (top <= y) & (y < bottom)

    def oval(column: float, row: float, width: float, height: float) -> NDArray[np.bool_]:
        return ((x - column) / width) ** 2 + ((y - row) / height) ** 2 < 1

    def number(text: str, left: float, shadow: Colour, colour: Colour) -> None:
        paint(box(left, 76, left + 12.5, 84), shadow, 0.3)
        for place, digit in enumerate(text):
            for cell, on in enumerate(DIGITS[digit]):
                row, column = divmod(cell, 3)
                if on == "1":
                    at, down = left + 1 + 4 * place + column, 76.5 + 1.4 * row
                    paint(box(at, down, at + 1, down + 1.4), colour, 0.4)

    number(NUMBERS[0], 0.5, (90, 55, 0), (180, 130, 20))
    number(NUMBERS[1], 24.5, (90, 90, 90), (190, 190, 190))
    paint(box(13.6, 75.6, 18, 80), (160, 255, 250), 0.5)  # icon
    paint(box(15, 78, 16, 79), (60, 190, 190), 0.9)
    paint(oval(40.5, 78, 2.4, 4.0), (60, 155, 160), 0.95)  # figure
    paint(box(42, 78, 43, 79), (20, 90, 90), 0.9)
    paint(oval(38.9, 69.7, 1.4, 2.4), (240, 240, 240), 0.7)  # spot
    paint(box(41, 66, 47, 73), (190, 200, 130), 0.16)
    paint(box(79, 71, 84, 75), (50, 60, 180), 0.42)  # flag
    paint(box(82, 73, 83, 74), (255, 255, 255), 0.95)
    paint(box(82, 72, 83, 73), (40, 40, 120), 0.6)
    paint(box(82, 1, 83, 3), (190, 230, 220), 0.8)  # specks
    paint(box(76, 1, 77, 3) | box(80, 1, 81, 3), (40, 30, 30), 0.25)
    *colour, opacity = adaptive_avg_pool2d(torch.from_numpy(layer), size).numpy()
    where = opacity > 0.01
    return where, opacity[where], np.stack(colour)[:, where]

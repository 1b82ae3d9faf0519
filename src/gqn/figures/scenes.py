"""Contact sheet of a dataset: one row per scene, some of its views, as training sees them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gqn.data.sources import source

SUBJECT = "dataset"  # the figure is of a dataset: `compute` gets its name


def compute(dataset: str, rows: int = 6, columns: int = 9, data: str = "") -> dict[str, NDArray[np.uint8]]:
    """`frames` (rows, columns, H, W, 3) uint8: views of the first training scenes, as many as there are.

    The views of a scene are its first, its last and some between, as those of a maze are a walk. They are rendered at
    the released size or, with `data`, read from the files in that folder or at that address.
    """
    scenes = source(dataset, "train", data=data or None)
    which = np.linspace(0, scenes.num_views - 1, min(columns, scenes.num_views)).astype(int)
    rows = min(rows, scenes.order) if isinstance(scenes.order, int) else rows
    frames = np.stack([scenes.views(i, which).frames.permute(0, 2, 3, 1).numpy() for i in range(rows)])
    return {"frames": frames}


def draw(arrays: dict[str, NDArray[np.uint8]], gap: int = 2) -> Image.Image:
    """The frames at their own size, with `gap` white pixels between them."""
    frames = arrays["frames"]
    rows, columns, height, width, _ = frames.shape
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for r in range(rows):
        for c in range(columns):
            y, x = gap + r * (height + gap), gap + c * (width + gap)
            sheet[y : y + height, x : x + width] = frames[r, c]
    return Image.fromarray(sheet)

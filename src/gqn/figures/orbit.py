"""The query camera circles the scene, the truth above and a sample below: an animation, and a strip of its frames.

The circle is the family's (`Family.orbit`); in mazes the camera turns on the spot. All views share the latents' noise,
so that one imagined scene is seen from all sides; with `fresh`, each view has its own noise. What to expect: the
sample turns as the truth does where the context saw it, and changes shape or colour along the way where it did not.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.figures import drawing, heldout
from gqn.figures.drawing import Group
from gqn.metrics import statistics
from gqn.models import Model

Arrays = dict[str, NDArray[np.uint8]]
SUBJECT = "run"


@torch.no_grad()
def compute(
    config: Config, model: Model, scene: int = 0, context: int = 3, views: int = 36, fresh: bool = False
) -> Arrays:
    """`context` (M, H, W, 3); `truth` and `sample` (views, H, W, 3), once around the circle; all uint8."""
    scenes = heldout.rendered(config)
    task = heldout.tasks(scenes, scene, 1, min(context, config.data.max_context_size))
    description = heldout.described(scenes, scene)
    truth = scenes.render(description, scenes.family.orbit(description, views)).float()
    generator = torch.Generator().manual_seed(heldout.SEED)
    sample = model.sample(model.represent(task.context), truth.cameras[None], generator, share_noise=not fresh)[0]
    parts = {"context": task.context.frames[0], "truth": truth.frames, "sample": sample[0]}
    return {name: drawing.images(part) for name, part in parts.items()}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """RMSE (0-255) over all views, and between neighbouring views, in the truth and in the sample."""
    truth, sample = arrays["truth"].astype(float), arrays["sample"].astype(float)
    pairs = {"rmse": (sample, truth)}
    pairs |= {f"rmse_of_neighbours_{name}": (x, np.roll(x, 1, 0)) for name, x in (("truth", truth), ("sample", sample))}
    return {name: float(statistics.rmse(a, b, 0)) for name, (a, b) in pairs.items()}


def draw(arrays: Arrays, columns: int = 12) -> Image.Image:
    """The strip: `columns` views at equal angles, below the context."""
    views = len(arrays["truth"])
    which = np.linspace(0, views, min(columns, views), endpoint=False).astype(int)
    degrees = [f"{360 * i / views:.0f}°" for i in which]
    way = np.stack([arrays["truth"][which], arrays["sample"][which]])
    circle = drawing.sheet([Group("the camera goes once around", way, degrees)], ["truth", "sample"])
    return drawing.below(_context(arrays), circle)


def frames(arrays: Arrays) -> list[Image.Image]:
    """The animation's pictures, one per view; `truth` may be missing."""
    context, rows = _context(arrays, 48), [name for name in ("truth", "sample") if name in arrays]
    pairs = np.stack([arrays[name] for name in rows], 1)[:, :, None]
    return [drawing.below(context, drawing.sheet([Group("", p)], rows, side=192)) for p in pairs]


def _context(arrays: Arrays, side: int = 96) -> Image.Image:
    return drawing.sheet([Group("context views", arrays["context"][None])], side=side)

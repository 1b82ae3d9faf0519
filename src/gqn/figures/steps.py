"""How a sample is drawn: the canvas after each generation step, shown as an image (paper, supplement).

What to expect: the error falls with the steps; place and colour come first, contrast and edges last. Only the last
canvas was trained to be an image: the demo's first ones are faint.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.figures import drawing, heldout
from gqn.figures.drawing import Group
from gqn.metrics import statistics
from gqn.models import DrawsInSteps, Model

Arrays = dict[str, NDArray[np.uint8]]
SUBJECT = "run"


@torch.no_grad()
def compute(config: Config, model: Model, scene: int = 0, rows: int = 6, context: int = 3) -> Arrays:
    """`context` (B, M, H, W, 3), `truth` (B, H, W, 3), `canvas` (B, L, H, W, 3), all uint8.

    BadInput if the model does not draw in steps.
    """
    if not isinstance(model, DrawsInSteps):
        raise BadInput("steps is of models that draw in steps, and this one does not")
    context = min(context, config.data.max_context_size)
    task = heldout.tasks(source(**config.scenes("test")), scene, rows, context)
    generator = torch.Generator().manual_seed(heldout.SEED)
    canvas = model.steps(model.represent(task.context), task.query.cameras, generator)
    parts = {"context": task.context.frames, "truth": task.query.frames[:, 0], "canvas": canvas[:, 0]}
    return {name: drawing.images(part) for name, part in parts.items()}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """RMSE (0-255) of the canvas after each step, over the scenes shown."""
    rmse = statistics.rmse(arrays["canvas"].astype(float), arrays["truth"][:, None], 2)
    return {f"rmse_step_{step}": statistics.estimate(x) for step, x in enumerate(rmse.T, 1)}


def draw(arrays: Arrays) -> Image.Image:
    """One row per scene; above each step, the mean error of its canvas."""
    columns = [f"{step}: RMSE {x['mean']:.1f}" for step, x in enumerate(numbers(arrays).values(), 1)]
    groups = [
        Group("context views", arrays["context"]),
        Group("after each step", arrays["canvas"], columns),
        Group("truth", arrays["truth"][:, None]),
    ]
    return drawing.sheet(groups)

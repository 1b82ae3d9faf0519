"""Rows of [context views | truth | samples from the prior | spread]: the paper's figure 2, and how sure the model is.

The spread of a pixel is the standard deviation of its value over the samples, averaged over the colours, on 0-255.
What to expect: samples agree with the truth and each other where the context decides, and differ where it does not.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.data.sources import source
from gqn.figures import drawing, heldout
from gqn.figures.drawing import Group
from gqn.metrics import statistics
from gqn.models import Model
from gqn.views import Task

Arrays = dict[str, NDArray[np.uint8]]
SUBJECT = "run"  # the figure is of a run: `compute` gets its config and model


def compute(config: Config, model: Model, scene: int = 0, rows: int = 8, context: int = 3, samples: int = 4) -> Arrays:
    """The arrays of `answer`, for `rows` held-out scenes from number `scene` on."""
    context = min(context, config.data.max_context_size)
    return answer(model, heldout.tasks(source(**config.scenes("test")), scene, rows, context), samples)


@torch.no_grad()
def answer(model: Model, task: Task, samples: int) -> Arrays:
    """Draw samples for the first query of each scene.

    `context` (B, M, H, W, 3), `truth` (B, H, W, 3), `samples` (B, samples, H, W, 3), all uint8.
    """
    generator = torch.Generator(task.query.frames.device).manual_seed(heldout.SEED)
    representation = model.represent(task.context)
    drawn = [model.sample(representation, task.query.cameras[:, :1], generator)[0, :, 0] for _ in range(samples)]
    parts = {
        "context": task.context.frames,
        "truth": task.query.frames[:, 0],
        "samples": torch.stack(drawn, 1),
    }
    return {name: drawing.images(part) for name, part in parts.items()}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """RMSE of a sample and of the samples' mean, and the spread, on 0-255 and over the rows shown."""
    truth, samples = arrays["truth"][:, None].astype(float), arrays["samples"].astype(float)
    answers = {"sample": samples, "mean_of_samples": samples.mean(1, keepdims=True)}
    values = {f"rmse_{name}": statistics.rmse(x, truth) for name, x in answers.items()}
    values["spread"] = spread(arrays).mean((1, 2))
    return {name: statistics.estimate(value) for name, value in values.items()}


def spread(arrays: Arrays) -> NDArray[np.floating]:
    """The samples' spread, averaged over the colours: (B, H, W), 0-255."""
    return statistics.spread(arrays["samples"].astype(float), 1).mean(-1)


def draw(arrays: Arrays, side: int = 96) -> Image.Image:
    """One row per scene, images enlarged to at least `side` pixels, a heading over each group of columns."""
    deviation = spread(arrays)
    top = max(deviation.max(), 1)
    groups = [
        Group("context views", arrays["context"]),
        Group("truth", arrays["truth"][:, None]),
        Group("samples from the prior", arrays["samples"]),
        Group(f"spread, 0-{top:.0f} of 255", drawing.heat(deviation, top)[:, None]),
    ]
    return drawing.sheet(groups, side=side)

"""Rows of [context views | truth | samples from the prior]: the paper's figure 2, the founding document's figures.

What to expect: samples agree with the truth and each other where the context decides, and differ where it does not.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gqn.config import Config, Place
from gqn.data.sources import source
from gqn.data.tasks import Sampler, batches
from gqn.objective import Model
from gqn.views import Task

Arrays = dict[str, NDArray[np.uint8]]
SUBJECT = "run"  # drawn of a run: its config and model
SEED = 3  # of the scenes, views and noise shown


def compute(
    config: Config, model: Model, rows: int = 8, context: int = 3, samples: int = 4, place: Place | None = None
) -> Arrays:
    """The figure of `rows` held-out scenes: arrays as `answer` gives them."""
    held_out = source(**config.scenes("test", place))
    context = min(context, config.max_context_size)
    sampler = Sampler(held_out.order, held_out.num_views, rows, context, context, seed=SEED)
    return answer(model, next(batches(held_out, sampler, range(1))).float(), samples)


@torch.no_grad()
def answer(model: Model, task: Task, samples: int) -> Arrays:
    """Draw samples for the first query of each scene.

    `context` (B, M, H, W, 3), `truth` (B, H, W, 3), `samples` (B, samples, H, W, 3), all uint8.
    """
    generator = torch.Generator(task.query.frames.device).manual_seed(SEED)
    representation = model.represent(task.context)
    drawn = [model.sample(representation, task.query.cameras[:, :1], generator)[:, 0] for _ in range(samples)]
    parts = {
        "context": task.context.frames,
        "truth": task.query.frames[:, 0],
        "samples": torch.stack(drawn, 1),
    }
    return {name: (part.clamp(0, 1) * 255).round().byte().movedim(-3, -1).cpu().numpy() for name, part in parts.items()}


def draw(arrays: Arrays, side: int = 96) -> Image.Image:
    """One row per scene, images enlarged to at least `side` pixels, a heading over each group of columns."""
    context, truth, samples = arrays["context"], arrays["truth"], arrays["samples"]
    scale = -(-side // truth.shape[1])
    cell, gap, head = truth.shape[1] * scale, 4, 28
    groups = [("context views", context), ("truth", truth[:, None]), ("samples from the prior", samples)]
    columns = sum(images.shape[1] for _, images in groups)
    width = columns * (cell + gap) + (len(groups) + 1) * 3 * gap
    canvas = Image.new("RGB", (width, head + len(truth) * (cell + gap) + gap), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    x = 2 * gap
    for title, images in groups:
        pen.text((x, 4), title, "black", font)
        for column in range(images.shape[1]):
            for row, image in enumerate(images[:, column]):
                tile = Image.fromarray(image).resize((cell, cell), Image.Resampling.NEAREST)
                canvas.paste(tile, (x, head + row * (cell + gap)))
            x += cell + gap
        x += 3 * gap
    return canvas

"""Bayesian surprise: how much seeing a held-out view changes what the model expects of it (the paper's figure 4B).

    surprise(x | context of k views) = sum over steps l of KL(q_l(z | x, context) || p_l(z | context)), in nats

What to expect: it falls as context views arrive, fastest with the first ones that show something new; views of what no
context view has seen surprise most.
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
from gqn.metrics.information import surprise
from gqn.models import Model
from gqn.runtime.console import Reporter

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
BATCH = 20  # scenes at a time


@torch.no_grad()
def compute(
    config: Config, model: Model, scene: int = 0, context: int = 0, views: int = 5, scenes: int = 100
) -> Arrays:
    """Up to `views` held-out views of each of `scenes` scenes, from number `scene` on, given 1..K context views.

    K is `context` or, if that is 0, the most in training. `surprise` (scenes, K, views) in nats; for the first scene,
    `context` (K, H, W, 3) and `views` (views, H, W, 3).
    """
    held_out, most = source(**config.scenes("test")), context or config.data.max_context_size
    views = min(views, max(1, held_out.num_views - most))
    found: list[NDArray[Any]] = []
    shown: Arrays = {}
    with Reporter("surprise", scenes, 0, "scenes") as report:
        for first in range(0, scenes, BATCH):
            count = min(BATCH, scenes - first)
            task = heldout.tasks(held_out, scene + first, count, most, views)
            kl = []
            for m in range(1, most + 1):
                generator = torch.Generator().manual_seed(heldout.SEED)
                kl.append(surprise(model, task.context[:, :m], task.query, generator).sum(2))
            found.append(torch.stack(kl, 1).numpy())
            if first == 0:
                parts = {"context": task.context.frames[0], "views": task.query.frames[0]}
                shown = {name: drawing.images(part) for name, part in parts.items()}
            report.update(first + count)
    return shown | {"surprise": np.concatenate(found)}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """Surprise of a held-out view in nats, by number of context views, and its fall from the first to the last."""
    mean = arrays["surprise"].mean(2)
    values = {f"surprise_{m}_views": x for m, x in enumerate(mean.T, 1)}
    values["surprise_first_minus_last"] = mean[:, 0] - mean[:, -1]
    return {name: statistics.estimate(x) for name, x in values.items()}


def draw(arrays: Arrays) -> Image.Image:
    """The views of the first scene with their surprise, by number of context views, above the curve of all scenes."""
    from matplotlib.figure import Figure

    found = arrays["surprise"]
    scenes, most, views = found.shape
    rows = [f"{m} context\nview{'s' * (m > 1)}" for m in range(1, most + 1)]
    blank = np.full((most, most, *arrays["context"].shape[1:]), 255, np.uint8)
    for m in range(most):
        blank[m, : m + 1] = arrays["context"][: m + 1]
    notes = [[f"{x:.1f} nats" for x in row] for row in found[0]]
    repeated = np.broadcast_to(arrays["views"], (most, *arrays["views"].shape))
    groups = [Group("context", blank), Group("held-out views and their surprise", repeated, notes=notes)]
    sheet = drawing.sheet(groups, rows)
    figure = Figure((sheet.width / 100, 3.2), layout="constrained")
    axes = figure.subplots()
    drawing.curves(axes, {f"{views} held-out views of {scenes} scenes, ± standard error over scenes": found.mean(2)})
    axes.set_xlabel("context views")
    axes.set_ylabel("Bayesian surprise, nats")
    axes.set_ylim(0)
    return drawing.below(sheet, drawing.plot(figure))

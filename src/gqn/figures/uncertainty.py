"""What the context does not decide: many samples of one ambiguous view of each scene, their mean and spread.

A row is a scene and one context view. Of the scene's other views, the row shows the one on which the model's samples
differ most, chosen without regard to the truth. The spread of a pixel is the standard deviation over samples, averaged
over the colours. What to expect: each sample is a possible object, their mean is blurred, and the spread is bright at
what the context view hides (paper, figures 2 and 6).

If the truth is like one more sample, it is as far from the samples' mean as a sample is from the mean of the others
(root mean square). The ratio of these two distances is then 1; if it is above 1, the model is too sure.
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

Arrays = dict[str, NDArray[np.uint8]]
SUBJECT = "run"
TRIES = 4  # samples for choosing the ambiguous view; they are not shown


@torch.no_grad()
def compute(
    config: Config, model: Model, scene: int = 0, rows: int = 6, context: int = 1, samples: int = 10, views: int = 8
) -> Arrays:
    """`context` (B, M, H, W, 3), `truth` (B, H, W, 3), `samples` (B, S, H, W, 3), uint8; the view is one of `views`."""
    held_out = source(**config.scenes("test"))
    views = min(views, max(1, held_out.num_views - context))
    task = heldout.tasks(held_out, scene, rows, context, views)
    generator = torch.Generator().manual_seed(heldout.SEED)
    r = model.represent(task.context)
    tries = torch.stack([model.sample(r, task.query.cameras, generator)[0] for _ in range(TRIES)])
    chosen = torch.arange(rows)[:, None], tries.var(0).mean((2, 3, 4)).argmax(1, keepdim=True)  # of (B, Q)
    query = task.query[chosen]
    drawn = torch.cat([model.sample(r, query.cameras, generator)[0] for _ in range(samples)], 1)
    parts = {"context": task.context.frames, "truth": query.frames[:, 0], "samples": drawn}
    return {name: drawing.images(part) for name, part in parts.items()}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """RMS distances (0-255) of the truth from the samples' mean and of a sample from the others' mean; their ratio."""
    samples, truth = arrays["samples"].astype(float), arrays["truth"].astype(float)
    count = samples.shape[1]
    mean = samples.mean(1)
    others = (mean[:, None] - samples / count) * (count / max(1, count - 1))
    far = {
        "truth_from_mean": statistics.rmse(truth, mean),
        "sample_from_mean": statistics.rmse(samples, others),
    }
    far["ratio"] = far["truth_from_mean"] / np.maximum(far["sample_from_mean"], 1e-9)
    return {name: statistics.estimate(value) for name, value in far.items()}


def draw(arrays: Arrays) -> Image.Image:
    """A row per scene: context, truth, samples, mean, spread."""
    samples = arrays["samples"]
    spread = statistics.spread(samples.astype(float), 1).mean(-1)
    top = max(float(spread.max()), 1.0)
    mean = samples.mean(1, keepdims=True).round().astype(np.uint8)
    ratio = numbers(arrays)["ratio"]
    groups = [
        Group("context", arrays["context"]),
        Group("truth", arrays["truth"][:, None]),
        Group("samples of one ambiguous view", samples),
        Group("mean", mean),
        Group(f"spread, 0-{top:.0f}", drawing.heat(spread, top)[:, None]),
    ]
    title = (
        f"The truth is {ratio['mean']:.1f} ± {ratio['stderr']:.1f} times as far from the mean as samples are (ideal: 1)"
    )
    return drawing.sheet(groups, side=80, title=title)

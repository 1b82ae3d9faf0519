"""Predictions and their uncertainty as context views arrive one by one (the paper's figure 6 does so for mazes).

Each column is a number of context views. Its rows, for one scene, are the view that arrives, the mean of the samples,
one sample, and the spread (standard deviation of a pixel over samples, averaged over the colours). Curves over many
scenes show the error of a sample, that of the samples' mean, and the spread. What to expect: all three fall as views
arrive.
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
from gqn.runtime.console import Reporter

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
BATCH = 20  # scenes at a time
MEASURES = ("rmse_sample", "rmse_mean", "spread")  # of one sample; of the samples' mean; averaged over pixels


@torch.no_grad()
def compute(
    config: Config, model: Model, scene: int = 0, context: int = 0, samples: int = 8, scenes: int = 100
) -> Arrays:
    """One query for each of `scenes` held-out scenes, from number `scene` on, given 1..K context views.

    K is `context` or, if that is 0, the most in training. For the first scene: `context` (K, H, W, 3), `truth`
    (H, W, 3), `mean` and `sample` (K, H, W, 3), uint8, and `spread_map` (K, H, W). For all scenes: MEASURES,
    (scenes, K) each. All are on 0-255.
    """
    held_out, most = source(**config.scenes("test")), context or config.data.max_context_size
    parts: list[dict[str, NDArray[Any]]] = []
    shown: Arrays = {}
    with Reporter("context", scenes, 0, "scenes") as report:
        for first in range(0, scenes, BATCH):
            task = heldout.tasks(held_out, scene + first, min(BATCH, scenes - first), most)
            cameras, truth = task.query.cameras, 255 * task.query.frames[:, 0]
            drawn = []
            for m in range(1, most + 1):
                generator = torch.Generator().manual_seed(heldout.SEED)
                r = model.represent(task.context[:, :m])
                drawn.append(torch.cat([model.sample(r, cameras, generator)[0] for _ in range(samples)], 1))
            x = 255 * torch.stack(drawn, 1).clamp(0, 1)  # (B, K, S, 3, H, W)
            mean, spread = x.mean(2), statistics.spread(x, 2).mean(2)
            target = truth[:, None]
            values = {
                "rmse_sample": statistics.rmse(x[:, :, 0], target, 2),
                "rmse_mean": statistics.rmse(mean, target, 2),
                "spread": spread.mean((2, 3)),
            }
            parts.append({name: value.numpy() for name, value in values.items()})
            if first == 0:
                pictures = {"context": task.context.frames[0], "truth": truth[0] / 255, "mean": mean[0] / 255}
                pictures["sample"] = x[0, :, 0] / 255
                shown = {name: drawing.images(p) for name, p in pictures.items()}
                shown["spread_map"] = spread[0].numpy()
            report.update(first + len(truth))
    return shown | {name: np.concatenate([p[name] for p in parts]) for name in MEASURES}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """The measures by number of context views, 0-255, over the scenes."""
    return {
        f"{name}_{m}_views": statistics.estimate(x) for name in MEASURES for m, x in enumerate(arrays[name].T, start=1)
    }


def draw(arrays: Arrays) -> Image.Image:
    """The rows of the first scene, above the curves of all scenes."""
    from matplotlib.figure import Figure

    count, most = arrays["spread"].shape
    top = max(float(arrays["spread_map"].max()), 1.0)
    rows = [arrays["context"], arrays["mean"], arrays["sample"], drawing.heat(arrays["spread_map"], top)]
    labels = ["view that\narrives", "mean of\nsamples", "one sample", f"spread,\n0-{top:.0f} of 255"]
    truth = np.full((4, 1, *arrays["truth"].shape), 255, np.uint8)
    truth[1, 0] = arrays["truth"]
    columns = [f"{m} view{'s' * (m > 1)}" for m in range(1, most + 1)]
    sheet = drawing.sheet([Group("context views so far", np.stack(rows), columns), Group("truth", truth)], labels)
    figure = Figure((sheet.width / 100, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    drawing.curves(left, {"of a sample": arrays["rmse_sample"], "of the samples' mean": arrays["rmse_mean"]})
    drawing.curves(right, {"over samples": arrays["spread"]})
    for axes, title in ((left, "error (RMSE of 255)"), (right, "spread (of 255)")):
        axes.set(title=title, xlabel="context views", ylim=(0, None))
    figure.suptitle(f"{count} scenes, ± standard error", fontsize=10)
    return drawing.below(sheet, drawing.plot(figure))

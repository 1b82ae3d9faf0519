"""First-person views in, the maze's map out: the paper's figure 5.

Column k shows how the model draws the view from straight above, given the first k views, whose cameras are marked in
red: samples from the prior, the mean of the samples, and their spread (standard deviation of a pixel over samples,
averaged over the colours, on 0-255). The curves are means over many mazes: the RMSE of a sample, the RMSE of the
samples' mean, and the spread. For comparison, the RMSE of the mean map of these mazes: what is known before looking.

What to expect: where no view has looked, samples guess; the spread shrinks and the map grows with every view. The model
must have been trained to draw the map (`gqn train demo -d mazes --query overhead`).
"""

import math
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
from gqn.models import Model
from gqn.views import Cameras

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
ERRORS = {"rmse_sample": "RMSE of a sample", "rmse_mean": "RMSE of their mean", "spread": "spread of the samples"}


@torch.no_grad()
def compute(config: Config, model: Model, scene: int = 0, scenes: int = 100, samples: int = 8) -> Arrays:
    """The map of scene number `scene` after each of K views, and errors over `scenes` mazes from that number on.

    `views` (K, H, W, 3), `truth` (H, W, 3), `samples` (K, S, H, W, 3); `place` (K, 2): of the cameras, see `places`;
    `rmse_sample`, `rmse_mean` and `spread` (N, K); `rmse_floor` (N,): of the mean map. Errors are on 0-255.

    BadInput if the run was not trained to draw maps.
    """
    if config.data.query != "overhead":
        raise BadInput("mazemap needs a run that was trained with `query=overhead`")
    views = config.data.max_context_size
    task = heldout.tasks(source(**config.scenes("test")), scene, scenes, views)
    truth = task.query.frames[:, 0]
    noise = torch.Generator().manual_seed(heldout.SEED)
    first, errors = [], {name: [] for name in ERRORS}  # type: ignore[var-annotated]
    for k in range(1, views + 1):
        r = model.represent(task.context[:, :k])
        drawn = torch.stack(
            [model.sample(r, task.query.cameras, noise)[0, :, 0].clamp(0, 1) for _ in range(samples)], 1
        )
        first.append(drawing.images(drawn[0]))
        errors["rmse_sample"].append(255 * statistics.rmse(drawn[:, 0], truth).numpy())
        errors["rmse_mean"].append(255 * statistics.rmse(drawn.mean(1), truth).numpy())
        errors["spread"].append(255 * statistics.spread(drawn, 1).flatten(1).mean(1).numpy())
    return {
        "views": drawing.images(task.context.frames[0]),
        "place": places(task.context.cameras[0], task.query.cameras[0]),
        "truth": drawing.images(truth[0]),
        "samples": np.stack(first),
        "rmse_floor": 255 * statistics.rmse(truth.mean(0), truth).numpy(),
        **{name: np.stack(values, 1) for name, values in errors.items()},
    }


def places(cameras: Cameras, above: Cameras) -> NDArray[np.floating]:
    """Where cameras (K,) are in the picture of the camera (1,) above them: (K, 2) in -1..1, x right and y up."""
    world = above.matrix()[0]
    x, y, ahead = ((cameras.position() - world[:3, 3]) @ world[:3, :3]).numpy().T
    return np.stack([x, -y], 1) / (ahead * math.tan(math.radians(above.fov) / 2))[:, None]


def numbers(arrays: Arrays) -> dict[str, Any]:
    """Errors and spread after each number of views, and the error of the mean map, over mazes."""
    values = {
        f"{name}_{k + 1}_views": statistics.estimate(arrays[name][:, k])
        for name in ERRORS
        for k in range(arrays[name].shape[1])
    }
    return values | {"rmse_floor": statistics.estimate(arrays["rmse_floor"])}


def marked(image: drawing.Images, places: NDArray[np.floating]) -> drawing.Images:
    """A map (H, W, 3) in pale colours, with a red pixel at each of places (K, 2) in -1..1, x right and y up."""
    pale = image // 2 + 127
    size = len(image)
    column, row = ((places * (1, -1) + 1) / 2 * size).astype(int).clip(0, size - 1).T
    pale[row, column] = (220, 0, 0)
    return pale


def draw(arrays: Arrays) -> Image.Image:
    """A column per number of views; the curves below."""
    from matplotlib.figure import Figure

    views, samples = arrays["views"], arrays["samples"]
    count = len(views)
    spread = statistics.spread(samples.astype(float), 1).mean(-1)
    top = max(spread.max(), 1)
    seen_from = np.stack([marked(arrays["truth"], arrays["place"][: k + 1]) for k in range(count)])
    mean = samples.mean(1).round().astype(np.uint8)
    rows = {
        "this view\nis added": views,
        "views so far\n(red) on the\ntrue map": seen_from,
        "a sample": samples[:, 0],
        "another": samples[:, 1 % samples.shape[1]],
        f"mean of\n{samples.shape[1]} samples": mean,
        f"spread,\n0-{top:.0f}": drawing.heat(spread, top),
    }
    truth = np.full((len(rows), 1, *arrays["truth"].shape), 255, np.uint8)
    truth[list(rows).index("a sample")] = arrays["truth"]
    groups = [
        Group("views given", np.stack(list(rows.values())), [str(k + 1) for k in range(count)]),
        Group("true map", truth),
    ]
    sheet = drawing.sheet(groups, list(rows))
    figure = Figure((sheet.width / 100, 3.2), layout="constrained")
    ax = figure.subplots()
    for name, label in ERRORS.items():
        values = [statistics.estimate(v) for v in arrays[name].T]
        ax.errorbar(
            np.arange(count) + 1,
            [v["mean"] for v in values],
            [v["stderr"] for v in values],
            capsize=3,
            marker="o",
            linestyle="--" if name == "rmse_mean" else "-",  # so that both lines show where samples agree
            label=label,
        )
    ax.axhline(arrays["rmse_floor"].mean(), color="black", linestyle=":", label="RMSE of the mean map")
    ax.set(
        xlabel="views given",
        ylabel="on 0-255",
        ylim=(0, None),
        title=f"maps drawn against true ones, {len(arrays['spread'])} mazes",
    )
    ax.legend(fontsize=9)
    return drawing.below(sheet, drawing.plot(figure))

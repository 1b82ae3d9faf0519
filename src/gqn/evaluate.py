"""How good a model is: its prior samples and its ELBO on fixed held-out tasks, beside the floors."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from gqn import checkpoint
from gqn.config import Config, Place
from gqn.data.sources import source
from gqn.data.stored import ADVICE
from gqn.data.tasks import Sampler, batches, rng
from gqn.logs import Reporter, console
from gqn.metrics import METRICS
from gqn.models.floors import MeanImage, Nearest
from gqn.objective import Model, elbo
from gqn.views import Task

SEED = 2  # of the evaluation's tasks and of the samples drawn for them
BATCH = 50  # scenes at a time


def evaluate(folder: Path, context: int = 3, scenes: int = 1000, place: Place | None = None) -> dict[str, Any]:
    """Evaluate a run on `scenes` held-out scenes, one query each, given `context` views; also writes `eval.json`.

    Returns {"rows": {name: {metric: {"mean", "stderr"}}}, ...}: errors are over scenes, metrics are those of
    `gqn.metrics` on one prior sample per query, and the ELBO's terms at the final pixel_std.
    """
    config, model = checkpoint.load(folder)
    held_out = source(**config.scenes("test", place))
    sampler = Sampler(held_out.order, held_out.num_views, min(BATCH, scenes), context, context, seed=SEED)
    models: dict[str, Model] = {
        "gqn": model,
        "nearest view": Nearest(),
        "mean image": MeanImage(mean_image(config, place=place)),
    }
    rows: dict[str, list[dict[str, Tensor]]] = {name: [] for name in models}
    steps = math.ceil(scenes / sampler.batch_size)
    with Reporter("evaluate", scenes, 0, "scenes") as report:
        for number, task in enumerate(batches(held_out, sampler, range(steps))):
            task = task.float()
            for name, answerer in models.items():
                rows[name].append(measure(answerer, task, config.pixel_std_final, noise("cpu", SEED, number)))
            report.update(min(scenes, (number + 1) * sampler.batch_size))
    if held_out.skipped:
        console.print(f"damaged scenes were passed over {int(held_out.skipped)} times; {ADVICE}")
    result = {
        "dataset": config.dataset_name,
        "split": "test",
        "image_size": config.image_size,
        "context_views": context,
        "scenes": scenes,
        "pixel_std": config.pixel_std_final,
        "rows": {name: _summary(parts, scenes) for name, parts in rows.items()},
    }
    text = json.dumps(result, indent=2) + "\n"
    checkpoint.write(folder / "eval.json", lambda part: part.write_text(text))
    return result


@torch.no_grad()
def measure(model: Model, task: Task, pixel_std: float, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Metrics of one prior sample per query, and ELBO terms at `pixel_std`, each (B,): means over a task's queries."""
    truth = task.query.frames
    answer = model.sample(model.represent(task.context), task.query.cameras, generator)
    score = elbo(model(task.context, task.query, generator), truth, pixel_std)
    values = {name: metric(answer, truth) for name, metric in METRICS.items()}
    values |= {"elbo": score.elbo, "excess": score.excess, "kl": score.kl, "posterior_mse": score.mse}
    return {name: value.mean(1) for name, value in values.items()}


def mean_image(config: Config, scenes: int = 1000, place: Place | None = None) -> Tensor:
    """The mean of one view of each of `scenes` training scenes, (3, H, W) in [0, 1]."""
    seen = source(**config.scenes("train", place))
    sampler = Sampler(seen.order, seen.num_views, scenes, 1, 1, seed=SEED)
    return next(batches(seen, sampler, range(1))).float().query.frames.mean((0, 1))


def noise(device: torch.device | str, *key: int) -> torch.Generator:
    """A source of noise on a device that is a function of the key alone."""
    return torch.Generator(device).manual_seed(int(rng(*key).integers(2**63)))


SHOWN = {  # metric: its name on the screen, with the format of its mean and of its error
    "mse": ("MSE", ".5f"),
    "rmse": ("RMSE, 0-255", ".2f"),
    "mae": ("MAE, 0-255", ".2f"),
    "psnr": ("PSNR, dB", ".2f"),
    "elbo": ("ELBO", ".2f"),
    "excess": ("loss - floor", ".2f"),
    "kl": ("KL", ".2f"),
}


def table(result: dict[str, Any]) -> Table:
    """The result as it is shown on a screen: a column per model, mean and standard error over scenes."""
    grid = Table(
        title=f"{result['dataset']}, {result['image_size']} px: one sample from the prior, "
        f"{result['context_views']} context views, {result['scenes']} held-out scenes",
        caption=f"± standard error over scenes. Loss is -ELBO, in nats per image, at pixel std "
        f"{result['pixel_std']}; its floor is that of a perfect image.",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    grid.add_column("", no_wrap=True)
    for name in result["rows"]:
        grid.add_column(name, justify="right", no_wrap=True)
    for metric, (title, form) in SHOWN.items():
        cells = [(row[metric]["mean"], row[metric]["stderr"]) for row in result["rows"].values()]
        grid.add_row(title, *(f"{mean:{form}} ± {error:{form}}" for mean, error in cells))
    return grid


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    console.print(table(result))


def _summary(parts: Iterable[dict[str, Tensor]], scenes: int) -> dict[str, dict[str, float]]:
    parts = list(parts)
    values = {name: torch.cat([p[name] for p in parts])[:scenes].double() for name in parts[0]}
    return {
        name: {"mean": v.mean().item(), "stderr": (v.std(correction=min(1, len(v) - 1)) / math.sqrt(len(v))).item()}
        for name, v in values.items()
    }

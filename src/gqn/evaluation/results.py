"""The results of an evaluation, stored and printed: the metrics of every scene, and their means.

eval.json   means and standard errors over scenes
eval.npz    the metrics scene by scene, for `gqn compare`
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gqn.artifacts import checkpoint, trained
from gqn.errors import BadInput
from gqn.metrics.images import METRICS, RATIOS
from gqn.metrics.statistics import estimate
from gqn.runtime import reading
from gqn.runtime.console import say

MODEL, NEAREST, MEAN_IMAGE = "gqn", "nearest view", "mean image"  # who is measured; files call every model "gqn"

# By metric: its name in tables, and the format of its mean and standard error.
IMAGE = {name: (metric.title, metric.form) for name, metric in METRICS.items()}
SHOWN: dict[str, dict[str, tuple[str, str]]] = {
    "one sample from the prior": IMAGE,
    "best of {samples} samples": {f"{name}_of_best": row for name, row in IMAGE.items()},
    "mean of {samples} samples": {f"{name}_of_mean": row for name, row in IMAGE.items()},
    "how samples differ": {
        "pairwise_rmse": ("RMSE between two, 0-255", ".2f"),
        "spread": ("spread of a pixel, 0-255", ".2f"),
        "calibration": ("calibration (1 is right)", ".3f"),
    },
    "bounds, nats at pixel std {pixel_std}": {
        "elbo": ("ELBO", ".2f"),
        "excess": ("loss - floor", ".2f"),
        "kl": ("KL", ".2f"),
        "importance_bound": ("bound, {draws} draws", ".2f"),
        "bits": ("bits per dimension", ".4f"),
    },
    "MSE of pixels that the context": {
        "mse_seen": ("saw", ".5f"),
        "mse_hidden": ("did not see", ".5f"),
        "mse_background": ("background", ".5f"),
    },
    "share of these pixels": {
        "share_seen": ("seen", ".3f"),
        "share_hidden": ("hidden", ".3f"),
        "share_background": ("background", ".3f"),
    },
}


FORMATS = {metric: form for rows in SHOWN.values() for metric, (_, form) in rows.items()}

SETTINGS = {  # see `gqn.runtime.reading.check`
    "model": str,
    "dataset": str,
    "data": str | None,
    "data_digest": str,
    "image_size": int,
    "scenes": int,
    "context_views": [int],
    "trained_context": int,
    "pixel_std": float,
    "samples": int,
    "draws": int,
}
PerScene = dict[str, NDArray[np.float64]]  # metrics, each (N,)
Summary = dict[str, dict[str, float]]  # metrics, each with its "mean" and "stderr" over scenes


@dataclass(frozen=True)
class Results:
    """Metrics of N scenes, each answered from several numbers of context views, by the model and the baselines."""

    settings: dict[str, Any]
    tasks: NDArray[np.int64]  # (N, 2 + M): scene, query view, context views; smaller contexts are the first ones
    values: PerScene  # by "context views/who/metric", each (N,)

    @property
    def contexts(self) -> list[int]:
        """The numbers of context views, ascending."""
        return self.settings["context_views"]

    def per_scene(self, context: int, who: str) -> PerScene:
        """Metrics by scene, (N,) each; their means over scenes are the results.

        A metric that is a ratio of means, R = mean(a) / mean(b), is given as R + (a - R b) / mean(b): the mean of this
        is R, and its standard error is that of the delta method. It is left out if mean(b) is zero.
        """
        start = f"{context}/{who}/"
        have = {name.removeprefix(start): v for name, v in self.values.items() if name.startswith(start)}
        found = dict(have)
        for name, (above, below) in RATIOS.items():
            if below in have and (scale := have[below].mean()) > 0:
                ratio = have[above].mean() / scale
                found[name] = ratio + (have[above] - ratio * have[below]) / scale
        return found

    def summary(self, context: int, who: str) -> Summary:
        """Mean and standard error over scenes of each metric."""
        return summary(self.per_scene(context, who))

    def of(self, scenes: list[int]) -> "Results":
        """The same results for some of the scenes, by their rows."""
        return replace(self, tasks=self.tasks[scenes], values={name: v[scenes] for name, v in self.values.items()})

    def as_dict(self) -> dict[str, Any]:
        """The content of `eval.json`: the settings, and results[context views][who][metric]."""
        who = (MODEL, NEAREST, MEAN_IMAGE)
        return self.settings | {"results": {str(k): {w: self.summary(k, w) for w in who} for k in self.contexts}}

    def check(self) -> None:
        """ValueError if settings, tasks or values are not of the types and shapes that an evaluation gives them."""
        reading.check(self.settings, SETTINGS)
        if missing := sorted(SETTINGS.keys() - self.settings.keys() - {"model", "data_digest"}):
            raise ValueError(f"it does not say its {missing[0]}")
        if self.tasks.dtype.kind != "i" or self.tasks.ndim != 2 or self.tasks.shape[1] < 2 + max(self.contexts):
            raise ValueError(f"tasks are {self.tasks.dtype} {self.tasks.shape}")
        for name, values in self.values.items():
            if values.dtype.kind != "f" or values.shape != self.tasks.shape[:1]:
                raise ValueError(f"{name} is {values.dtype} {values.shape}")

    def save(self, folder: Path) -> None:
        """Write `eval.npz` and `eval.json`."""

        def arrays(part: Path) -> None:
            with open(part, "wb") as file:  # given a path, numpy would add a suffix
                settings = np.array(json.dumps(reading.finite(self.settings), allow_nan=False))
                np.savez_compressed(file, settings=settings, tasks=self.tasks, **self.values)  # type: ignore[arg-type]

        text = reading.as_json(self.as_dict())
        checkpoint.write(folder / "eval.npz", arrays)
        checkpoint.write(folder / "eval.json", lambda part: part.write_text(text, encoding="utf-8"))


def load(run: str | Path) -> Results:
    """The last evaluation of a run. Raises BadInput if there is none, or it cannot be read."""
    path, way = trained.beside(run) / "eval.npz", f"gqn eval {run} makes it again"
    try:
        values = {_renamed(name): array for name, array in reading.arrays(path, way).items()}
        with reading.named(path, way):
            results = Results(json.loads(str(values.pop("settings"))), values.pop("tasks"), values)
            results.check()
            return results
    except FileNotFoundError as error:
        what = checkpoint.no_weights(Path(run))
        raise BadInput(what or f"{run} has not been evaluated: gqn eval {run}") from error


def _renamed(name: str) -> str:
    """The present name of a metric "context views/who/metric"; gqn 0.1.0 called the spread "pixel_std"."""
    return name.removesuffix("/pixel_std") + "/spread" if name.endswith("/pixel_std") else name


def summary(values: PerScene) -> Summary:
    """Mean and standard error over scenes of each metric."""
    return {name: estimate(v) for name, v in values.items()}


def subject(results: Results) -> str:
    """The dataset and image size that a run was evaluated on, in words."""
    return f"{results.settings['dataset']} at {results.settings['image_size']} px"


def title(results: Results) -> str:
    """The dataset, image size and number of scenes, in words."""
    return f"{subject(results)}, {results.settings['scenes']:,} held-out scenes"


def views(results: Results, context: int) -> str:
    """A number of context views in words, with a * if the model was not trained with so many."""
    return f"{context} view{'s' * (context > 1)}{'*' * (context > results.settings['trained_context'])}"


def model_of(settings: dict[str, Any]) -> str:
    """The name of the model that was evaluated; gqn 0.1.0 had one and did not note it."""
    return settings.get("model", MODEL)


def show(results: Results) -> None:
    """Print one table of model and baselines or, for several numbers of context views, one of each."""
    contexts, most = results.contexts, results.settings["trained_context"]
    name = model_of(results.settings)
    model = [(views(results, k), cells(results.summary(k, MODEL))) for k in contexts]
    nearest = [(views(results, k), cells(results.summary(k, NEAREST))) for k in contexts]
    mean_image = (MEAN_IMAGE, cells(results.summary(contexts[0], MEAN_IMAGE)))
    if len(contexts) == 1:
        columns = [(name, model[0][1]), (NEAREST, nearest[0][1]), mean_image]
        print_table(results.settings, f"{title(results)}, {views(results, contexts[0])} of context", columns)
    else:
        print_table(results.settings, f"{title(results)}, by views of context", model)
        print_table(results.settings, f"{NEAREST}, and {MEAN_IMAGE} as with {model[0][0]}", [*nearest, mean_image])
    say("± standard error over scenes. Loss is -ELBO, in nats per image; its floor is that of a perfect image.")
    if "excess" not in results.summary(contexts[0], MODEL):
        say(f"{name} chooses the std of pixels itself: its loss has no floor; pixel std is that of the baselines")
    if contexts[-1] > most:
        say(f"* more context views than in training, which had at most {most}")


def cells(of: Summary) -> dict[str, str]:
    """Metrics as a table shows them: mean ± standard error, by metric."""

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else f"{value:{form}}"  # JSON has no infinite numbers

    return {
        name: f"{shown(of[name]['mean'], form)} ± {shown(of[name]['stderr'], form)}"
        for name, form in FORMATS.items()
        if name in of
    }


def print_table(settings: dict[str, Any], heading: str, columns: list[tuple[str, dict[str, str]]]) -> None:
    """Print columns, each a title and its cells by metric; a row for each metric that any of them has."""
    grid = Table(title=heading, box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("", no_wrap=True)
    for name, _ in columns:
        grid.add_column(name, justify="right", no_wrap=True)
    for section, rows in SHOWN.items():
        have = [metric for metric in rows if any(metric in column for _, column in columns)]
        if have:
            grid.add_section()
            grid.add_row(f"[bold]{section.format(**settings)}")
        for metric in have:
            grid.add_row(rows[metric][0].format(**settings), *(column.get(metric, "") for _, column in columns))
    Console(width=1000, highlight=False).print(grid)  # as wide as the table needs, whatever the terminal's width

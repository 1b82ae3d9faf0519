"""Evaluated runs side by side, with the standard errors and p-values of their differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gqn.errors import BadInput
from gqn.evaluation import results
from gqn.evaluation.results import MODEL, Results, Summary, cells, print_table, subject, summary
from gqn.metrics.statistics import standard_error
from gqn.runtime.console import say

DEPENDS = {  # setting: endings of metrics that are comparable only if it is the same
    "pixel_std": ("elbo", "excess", "importance_bound", "bits"),
    "samples": ("_of_best", "_of_mean", "spread"),
    "draws": ("importance_bound",),
}


@dataclass(frozen=True)
class Difference:
    """The mean of a metric in one run minus that in the first run."""

    mean: float
    stderr: float

    @property
    def p(self) -> float:
        """Two-sided p-value of the difference, by the normal distribution."""
        return math.erfc(abs(self.mean) / max(self.stderr, 1e-300) / math.sqrt(2))


@dataclass(frozen=True)
class Comparison:
    """Runs compared with the first one, at one number of context views."""

    context: int
    paired: bool  # whether all runs are compared on the same tasks
    scenes: list[int]  # of each run
    summaries: list[Summary]  # of each run
    differences: list[dict[str, Difference]]  # of each run except the first


def compare(names: Sequence[str | Path]) -> list[Comparison]:
    """Compare runs by their last evaluations, for each number of context views that all of them have.

    If the runs share tasks (scene, query and context views), only these are compared, in pairs: the standard error of a
    difference is that of the differences scene by scene. Otherwise it is that of the difference of two independent
    means. Metrics that depend on a setting in which runs differ (samples, draws, pixel std) are left out.

    Raises BadInput for fewer than two runs, a run that was not evaluated, or evaluations that do not compare.
    """
    if len(names) < 2:
        raise BadInput("give two runs or more: gqn compare RUN RUN ...")
    runs = [results.load(name) for name in names]
    for name, run in zip(names, runs, strict=True):
        if subject(run) != subject(runs[0]):
            raise BadInput(
                f"{name} was evaluated on {subject(run)}, {names[0]} on {subject(runs[0])}: these do not compare"
            )
    contexts = sorted(set.intersection(*(set(run.contexts) for run in runs)))
    if not contexts:
        each = "; ".join(f"{f}: {', '.join(map(str, r.contexts))}" for f, r in zip(names, runs, strict=True))
        raise BadInput(
            f"no number of context views was evaluated in all runs ({each}): gqn eval RUN with these as `context`"
        )
    return [_compared(runs, context) for context in contexts]


def _compared(runs: list[Results], context: int) -> Comparison:
    rows = [
        {(_scenes(run), *task): row for row, task in enumerate(run.tasks[:, : 2 + context].tolist())} for run in runs
    ]
    common = [task for task in rows[0] if all(task in others for others in rows)]
    if common:
        runs = [run.of([have[task] for task in common]) for run, have in zip(runs, rows, strict=True)]
    values = [run.per_scene(context, MODEL) for run in runs]
    differences = []
    for run, theirs in zip(runs[1:], values[1:], strict=True):
        same = {setting: run.settings[setting] == runs[0].settings[setting] for setting in DEPENDS}
        metrics = [
            metric
            for metric in values[0]
            if metric in theirs and all(same[s] or not metric.endswith(ends) for s, ends in DEPENDS.items())
        ]
        differences.append({metric: difference(values[0][metric], theirs[metric], bool(common)) for metric in metrics})
    return Comparison(context, bool(common), [len(run.tasks) for run in runs], [*map(summary, values)], differences)


def _scenes(run: Results) -> str:
    """Which scenes the numbers of scenes refer to: the digest of the files, or "" for rendered scenes."""
    return run.settings.get("data_digest", run.settings["data"])  # before digests were stored: the files' place


def difference(first: NDArray[np.float64], other: NDArray[np.float64], paired: bool) -> Difference:
    """The mean of a metric over scenes minus that of the first run; `paired`: of the same scenes in the same order."""
    error = float(standard_error(other - first)) if paired else math.hypot(standard_error(first), standard_error(other))
    return Difference(float(other.mean() - first.mean()), error)


def show(names: Sequence[str | Path], found: list[Comparison]) -> None:
    """Print a table for each number of context views."""
    first = results.load(names[0])
    for number, name in enumerate(names, 1):
        say(f"run {number}: {name}")
    for one in found:
        columns = [("run 1", cells(one.summaries[0]))]
        for number, (of, minus) in enumerate(zip(one.summaries[1:], one.differences, strict=True), 2):
            differ = {metric: {"mean": d.mean, "stderr": d.stderr} for metric, d in minus.items()}
            ps = {metric: "<0.001" if d.p < 0.001 else f"{d.p:.3f}" for metric, d in minus.items()}
            columns += [(f"run {number}", cells(of)), ("minus run 1", cells(differ)), ("p", ps)]
        print_table(first.settings, f"{subject(first)}, {one.context} views of context", columns)
        if one.paired:
            say(f"paired over {one.scenes[0]:,} tasks that all runs were evaluated on")
        else:
            say(f"unpaired: runs were evaluated on tasks of their own, {one.scenes}")
    say("± standard error over scenes; p: two-sided, normal, of this metric alone")

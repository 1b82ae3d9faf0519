"""Plots of an evaluation's metrics against the number of context views: eval.png."""

from collections.abc import Iterator
from typing import Any

from gqn.evaluation.results import IMAGE, MEAN_IMAGE, MODEL, NEAREST, Results, Summary, model_of, title

Line = tuple[str, str, str | None, str, str]  # who, metric, label, colour, style

BLUE, GREEN, LIGHT, ORANGE, GREY, PALE = "#1f5fa8", "#2f8f5b", "#7fb2e5", "#d9822b", "#777777", "#bbbbbb"


def plot(results: Results) -> Any:
    """The metrics against the number of context views, with bars of two standard errors: a matplotlib Figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    settings, contexts = results.settings, results.contexts
    found = {who: [results.summary(k, who) for k in contexts] for who in (MODEL, NEAREST, MEAN_IMAGE)}
    figure = Figure(figsize=(14, 9.5), layout="constrained")
    panels = [(panel, lines) for panel, lines in _panels(settings) if any(_has(found, *line[:2]) for line in lines)]
    beyond = settings["trained_context"] + 0.5
    explained = set()
    for place, (heading, lines) in enumerate(panels, 1):
        axis = figure.add_subplot(3, 4, place)
        for who, metric, label, colour, style in lines:
            if _has(found, who, metric):
                values = [at[metric] for at in found[who] if metric in at]
                axis.errorbar(
                    [k for k, at in zip(contexts, found[who], strict=True) if metric in at],
                    [value["mean"] for value in values],
                    [2 * value["stderr"] for value in values],
                    fmt=style,
                    color=colour,
                    label=label,
                    markersize=4,
                    linewidth=1.5,
                    capsize=2,
                )
        if contexts[-1] > beyond:
            axis.axvspan(beyond, contexts[-1] + 0.5, color="#f3f3f3", zorder=0)
        _, labels = axis.get_legend_handles_labels()
        if labels and tuple(labels) not in explained:
            axis.legend(fontsize=8, frameon=False)
            explained.add(tuple(labels))
        axis.set_title(heading.format(**settings), fontsize=10, loc="left")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlim(contexts[0] - 0.5, contexts[-1] + 0.5)
        axis.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    figure.supxlabel("context views", fontsize=10)
    shaded = "; shaded: more context views than in training" if contexts[-1] > beyond else ""
    figure.suptitle(f"{title(results)}; bars are two standard errors{shaded}", fontsize=12)
    return figure


def _panels(settings: dict[str, Any]) -> Iterator[tuple[str, list[Line]]]:
    """The plot's panels: a heading, and its lines."""
    for metric, (name, _) in IMAGE.items():
        yield (
            name,
            [
                (MODEL, metric, "one sample", BLUE, "o-"),
                (MODEL, f"{metric}_of_mean", f"mean of {settings['samples']}", GREEN, "s-"),
                (MODEL, f"{metric}_of_best", f"best of {settings['samples']}", LIGHT, "^-"),
                (NEAREST, metric, NEAREST, GREY, "--"),
                (MEAN_IMAGE, metric, MEAN_IMAGE, PALE, ":"),
            ],
        )
    parts = (("seen", BLUE), ("hidden", ORANGE), ("background", GREY))
    yield (
        "MSE of pixels that the context saw, or not",
        [(MODEL, f"mse_{part}", part, colour, "o-") for part, colour in parts],
    )
    yield "share of these pixels", [(MODEL, f"share_{part}", part, colour, "o-") for part, colour in parts]
    yield (
        "how samples differ, 0-255",
        [
            (MODEL, "pairwise_rmse", "RMSE between two", BLUE, "o-"),
            (MODEL, "spread", "spread of a pixel", GREEN, "s-"),
        ],
    )
    yield "calibration (1 is right)", [(MODEL, "calibration", None, BLUE, "o-")]
    yield (
        "loss - floor, nats",
        [
            (MODEL, "excess", model_of(settings), BLUE, "o-"),
            (NEAREST, "excess", NEAREST, GREY, "--"),
            (MEAN_IMAGE, "excess", MEAN_IMAGE, PALE, ":"),
        ],
    )
    yield (
        "bounds, nats at pixel std {pixel_std}",
        [
            (MODEL, "importance_bound", f"{settings['draws']} draws", GREEN, "s-"),
            (MODEL, "elbo", "ELBO", BLUE, "o-"),
        ],
    )
    yield "KL, nats", [(MODEL, "kl", None, BLUE, "o-")]


def _has(found: dict[str, list[Summary]], who: str, metric: str) -> bool:
    return any(metric in at for at in found[who])

"""The model card of an exported model, in Markdown: data, recipe, budget, metrics beside the baselines', limits."""

from typing import Any

from gqn import models
from gqn.config import Config
from gqn.evaluation.results import MEAN_IMAGE, MODEL, NEAREST, cells, model_of
from gqn.metrics.images import METRICS
from gqn.runtime.console import duration

TAG = "library_name: gqn"  # identifies a README.md as a model card
HEAD = f"""---
license: apache-2.0
{TAG}
tags: [generative-query-network, neural-scene-representation, novel-view-synthesis]
---
"""
COLUMNS = {name: metric.title for name, metric in METRICS.items()} | {"excess": "loss - floor, nats", "kl": "KL, nats"}


def card(
    name: str, config: Config, parameters: int, dtype: str, took: dict[str, Any], evaluation: dict[str, Any]
) -> str:
    """The card of a model with `parameters` weights; `took` is training.json, `evaluation` eval.json; {} if unknown."""
    of = config.data
    parts = [
        HEAD + f"# {name}",
        f"From up to {of.max_context_size} views of a scene of `{of.dataset_name}`, with their cameras, this model "
        f"(`{models.name_of(config.model)}`) draws what another camera sees, at {of.image_size} px: the task of the "
        "Generative Query Network (Eslami et al., *Neural scene representation and rendering*, Science 2018).",
        "## Use\n\nRUN is this folder, or its address on a hub, hf://owner/repo.\n\n"
        "```\ngqn figure predictions RUN\ngqn eval RUN\n```\n\n"
        "```python\nimport gqn\n\nconfig, model = gqn.load(RUN)\n```",
        "## Data\n\n" + data(config),
        "## Recipe\n\n" + recipe(config, parameters),
        "## Budget\n\n" + budget(config, took),
        "## Results\n\n" + results(evaluation),
        "## Limits\n\n" + limits(config, dtype),
    ]
    return "\n\n".join(parts) + "\n"


def data(config: Config) -> str:
    """What the model was trained on."""
    of = config.data
    lines = [
        f"`{of.dataset_name}`, "
        + ("read from files in the released format" if config.stored else "rendered by this package")
        + f", at {of.image_size} px, with {of.num_views or of.spec.num_views} views of each scene.",
    ]
    if of.own:
        row = of.spec
        x, y, z = row.region
        lines.append(
            f"It is a dataset of one's own: square images of {row.filmed.fov:g} degrees, in a box of half extents "
            f"{x:g}, {y:g} and {z:g}; yaw turns {'clockwise' if row.filmed.clockwise else 'anticlockwise'}, seen from "
            f"above, and a unit of positions is {row.filmed.unit:g} of the scenes'."
        )
    if of.query == "overhead":
        lines.append("It is asked for the view from straight above.")
    if of.max_objects:
        lines.append(f"At most {of.max_objects} object{'s' * (of.max_objects > 1)} in a scene.")
    if of.hold_out:
        lines.append("The dataset's documented combinations of factors were held out.")
    return " ".join(lines)


def recipe(config: Config, parameters: int) -> str:
    """The main options of the model and its optimisation; `config.json` has all."""
    std, by = config.objective, config.optimizer
    model = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in vars(config.model).items())
    rows = {
        f"model `{models.name_of(config.model)}`": model,
        "parameters": f"{parameters:,}",
        "pixel std": f"{std.pixel_std_initial} to {std.pixel_std_final} "
        f"over {std.pixel_std_fraction:.0%} of the training",
        "optimizer": f"{by.name.capitalize()}, learning rate {by.learning_rate_initial} to {by.learning_rate_final}, "
        f"batch {by.batch_size}, {config.run.precision}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def budget(config: Config, took: dict[str, Any]) -> str:
    """What the training took; it says so where this was not recorded."""
    if not took:
        return f"{config.run.num_train_samples:,} samples. Time and machine were not recorded."
    what = f"{took['samples']:,} samples in {duration(took['seconds'])}."
    for part in took.get("schedules", []):
        what += f" Up to sample {part['until']:,} its schedules were those of a run of {part['of']:,}."
    if "init" in took:
        what += f" It began with the weights of {took['init']}."
    return f"{what}\n\n```\n{command(took)}\n```" if "command" in took else what  # not known for a checkpoint


def command(made: dict[str, Any]) -> str:
    """A command, below a comment on version, commit and machine, as `gqn.artifacts.provenance` records them."""
    commit = f", commit {made['commit']}" if made["commit"] else ""
    return f"# gqn {made['version']}{commit}; {made['machine']}\n{made['command']}"


def results(evaluation: dict[str, Any]) -> str:
    """The table of an evaluation (an `eval.json`), with the baselines, and what it was measured on."""
    if not evaluation:
        return "Not evaluated yet: `gqn eval RUN`."
    split = "files of the test split" if evaluation["data"] else "rendered held-out scenes"
    head = (
        f"One sample from the prior for each of {evaluation['scenes']:,} {split} of `{evaluation['dataset']}` at "
        f"{evaluation['image_size']} px; mean ± standard error over scenes. Bounds are at a pixel std of "
        f"{evaluation['pixel_std']}."
    )
    if not any("excess" in found[MODEL] for found in evaluation["results"].values()):
        head += " The model chooses the std of pixels itself: its loss has no floor, and its bounds are at that std."
    if max(evaluation["context_views"]) > evaluation["trained_context"]:
        head += " `*`: more context views than in training."
    return f"{head}\n\n{table(evaluation)}"


def table(evaluation: dict[str, Any]) -> str:
    """Image metrics and bounds in Markdown: for each number of context views, a row for the model and each baseline."""
    lines = [
        "| context views | | " + " | ".join(COLUMNS.values()) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for context, found in evaluation["results"].items():
        for who in (MODEL, NEAREST, MEAN_IMAGE):
            shown = cells(found[who])
            more = "*" * (int(context) > evaluation["trained_context"])
            name = model_of(evaluation) if who == MODEL else who
            row = [f"{context}{more}", name, *(shown.get(metric, "") for metric in COLUMNS)]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def limits(config: Config, dtype: str) -> str:
    """What the model is not good for."""
    points = [
        f"It knows scenes like those of `{config.data.dataset_name}` and nothing else; cameras are in that dataset's "
        "conventions (position, yaw, pitch) and have its field of view.",
        f"It was trained with 1 to {config.data.max_context_size} context views; more are outside of what it has seen.",
        "A sample is the mean of a Gaussian image, so that edges are soft; where the context does not decide, samples "
        "differ, and each is a guess.",
        "The baselines in the table, a view that was given and the mean image, say what the numbers are worth.",
    ]
    if not config.stored:
        points.append("Rendered scenes stand in for the released ones, which it has not seen.")
    if dtype == "bf16":
        points.append("Weights are stored as bfloat16, rounded from the float32 ones that were measured.")
    return "\n".join(f"- {point}" for point in points)

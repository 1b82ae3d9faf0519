"""The model card of an exported model, in Markdown: data, recipe, budget, metrics beside the floors, limits."""

from typing import Any

from gqn.config import Config
from gqn.results import MEAN_IMAGE, MODEL, NEAREST, cells, duration

TAG = "library_name: gqn"  # by which a card is known to be one
HEAD = f"""---
license: apache-2.0
{TAG}
tags: [generative-query-network, neural-scene-representation, novel-view-synthesis]
---
"""
COLUMNS = {
    "mse": "MSE",
    "rmse": "RMSE, 0-255",
    "mae": "MAE, 0-255",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "excess": "loss - floor, nats",
    "kl": "KL, nats",
}


def card(
    name: str, config: Config, parameters: int, dtype: str, took: dict[str, Any], evaluation: dict[str, Any]
) -> str:
    """The card of a model of so many `parameters`, given what training took and the evaluation, {} where not known."""
    parts = [
        HEAD + f"# {name}",
        f"A Generative Query Network (Eslami et al., *Neural scene representation and rendering*, Science 2018) for "
        f"`{config.dataset_name}` at {config.image_size} px: from up to {config.max_context_size} views of a scene, "
        "with their cameras, it draws what another camera sees.",
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
    """What it was trained on."""
    views = config.num_views or "the released number of"
    lines = [
        f"`{config.dataset_name}`, "
        + ("read from files in the released format" if config.stored else "rendered by this package")
        + f", at {config.image_size} px, with {views} views of each scene.",
    ]
    if config.query == "overhead":
        lines.append("It is asked for the view from straight above.")
    if config.max_objects:
        lines.append(f"At most {config.max_objects} object{'s' * (config.max_objects > 1)} in a scene.")
    if config.hold_out:
        lines.append("The dataset's documented combinations of factors were held out.")
    return " ".join(lines)


def recipe(config: Config, parameters: int) -> str:
    """The model and its optimization, in short; `config.json` has every option."""
    rows = {
        "representation": f"{config.representation}, {config.representation_maps} maps, {config.aggregate} over views",
        "generation": f"{config.num_steps} steps, {'shared' if config.shared_cores else 'unshared'} weights, "
        f"{config.num_recurrent_maps} state maps, {config.num_latent_maps} latent maps, kernel {config.kernel_size}",
        "parameters": f"{parameters:,}",
        "pixel std": f"{config.pixel_std_initial} to {config.pixel_std_final} "
        f"over {config.pixel_std_fraction:.0%} of the training",
        "optimizer": f"{config.optimizer.capitalize()}, learning rate {config.learning_rate_initial} to "
        f"{config.learning_rate_final}, batch {config.batch_size}, {config.precision}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def budget(config: Config, took: dict[str, Any]) -> str:
    """What the training took; what was not recorded is said not to be."""
    if not took:
        return f"{config.num_train_samples:,} samples. Time and machine were not recorded."
    what = f"{took['samples']:,} samples in {duration(took['seconds'])}."
    for part in took.get("schedules", []):
        what += f" Up to sample {part['until']:,} its schedules were those of a run of {part['of']:,}."
    if "init" in took:
        what += f" It began with the weights of {took['init']}."
    return f"{what}\n\n```\n{command(took)}\n```" if "command" in took else what  # a checkpoint does not know it


def command(made: dict[str, Any]) -> str:
    """A command below what ran it and where, given `gqn.provenance`."""
    commit = f", commit {made['commit']}" if made["commit"] else ""
    return f"# gqn {made['version']}{commit}; {made['machine']}\n{made['command']}"


def results(evaluation: dict[str, Any]) -> str:
    """What an evaluation, an `eval.json`, found, as a table beside the floors."""
    if not evaluation:
        return "Not evaluated yet: `gqn eval RUN`."
    split = "files of the test split" if evaluation["data"] else "rendered held-out scenes"
    head = (
        f"One sample from the prior for each of {evaluation['scenes']:,} {split} of `{evaluation['dataset']}` at "
        f"{evaluation['image_size']} px; mean ± standard error over scenes. Bounds are at a pixel std of "
        f"{evaluation['pixel_std']}."
    )
    if max(evaluation["context_views"]) > evaluation["trained_context"]:
        head += " `*`: more context views than in training."
    return f"{head}\n\n{table(evaluation)}"


def table(evaluation: dict[str, Any]) -> str:
    """An evaluation's image metrics and bounds in Markdown, a row for each number of context views, model and floor."""
    lines = [
        "| context views | | " + " | ".join(COLUMNS.values()) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for context, found in evaluation["results"].items():
        for who in (MODEL, NEAREST, MEAN_IMAGE):
            shown = cells(found[who])
            more = "*" * (int(context) > evaluation["trained_context"])
            lines.append(f"| {context}{more} | {who} | " + " | ".join(shown[metric] for metric in COLUMNS) + " |")
    return "\n".join(lines)


def limits(config: Config, dtype: str) -> str:
    """What it is not good for."""
    points = [
        f"It knows scenes like those of `{config.dataset_name}` and nothing else; cameras are in that dataset's "
        "conventions (position, yaw, pitch) and have its field of view.",
        f"It was trained with 1 to {config.max_context_size} context views; more are outside of what it has seen.",
        "A sample is the mean of a Gaussian image, so that edges are soft; where the context does not decide, samples "
        "differ, and each is a guess.",
        "The floors in the table say what the numbers are worth: a view that was given, and the mean image.",
    ]
    if not config.stored:
        points.append("Rendered scenes stand in for the released ones, which it has not seen.")
    if dtype == "bf16":
        points.append("Weights are stored as bfloat16, rounded from the float32 ones that were measured.")
    return "\n".join(f"- {point}" for point in points)

"""Older formats of config.json, and how each becomes the next: `gqn.config.read` reads all of them."""

from collections.abc import Callable
from typing import Any

FORMAT = 4  # of config.json
WORLD = 2  # `Data.world` of new runs


def _grouped(values: dict[str, Any]) -> dict[str, Any]:
    """Format 1 to 2. Format 1 (gqn 0.1.0) had no groups and other defaults, which fill in what a file leaves out."""
    values = DEFAULTS_OF_FORMAT_1 | values
    groups: dict[str, dict[str, Any]] = {}
    for group, names in GROUPS_OF_FORMAT_1.items():
        groups[group] = {name: values.pop(name) for name in names.split() if name in values}
    if "optimizer" in groups["optimizer"]:
        groups["optimizer"]["name"] = groups["optimizer"].pop("optimizer")
    groups["model"] |= values  # the rest is unknown; `_read` reports it
    return groups


GROUPS_OF_FORMAT_1 = {
    "data": "dataset_name data_digest num_views num_train_scenes image_size max_context_size num_queries query "
    "max_objects hold_out",
    "model": "representation representation_maps aggregate num_steps num_latent_maps num_recurrent_maps "
    "num_canvas_maps kernel_size head_size shared_cores joint_downsampling activation sigmoid_output",
    "objective": "pixel_std_initial pixel_std_final pixel_std_fraction",
    "optimizer": "optimizer batch_size learning_rate_initial learning_rate_warmup learning_rate_final "
    "learning_rate_fraction",
    "run": "num_train_samples num_val_samples val_freq seed precision init_digest",
    "origin": "data init",
}

# Those that are others now. They are those of the preset `founding` today, which may change; these may not.
DEFAULTS_OF_FORMAT_1 = {
    "max_context_size": 12,
    "representation": "identity_tower",
    "num_recurrent_maps": 64,
    "num_canvas_maps": 32,
    "head_size": 1,
    "shared_cores": True,
    "joint_downsampling": True,
    "activation": "elu",
    "sigmoid_output": True,
    "batch_size": 32,
    "learning_rate_final": 4e-4,
    "num_train_samples": 5_000_000,
}


def _of_its_world(values: dict[str, Any]) -> dict[str, Any]:
    """Format 2 to 3. In format 2 no cameras but those of Shepard-Metzler meant what released ones do."""
    data = values.get("data", {})
    known = data.get("dataset_name", "shepard_metzler_5_parts").startswith("shepard_metzler")
    return values | {"data": {"world": WORLD if known else 1} | data}


def _without_own(values: dict[str, Any]) -> dict[str, Any]:
    """Format 3 to 4. Before format 4 there were only released datasets, so that nothing had to be said of them."""
    return values


# Functions that convert the content of config.json from a format to the next; they also remove dropped options.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _grouped, 2: _of_its_world, 3: _without_own}

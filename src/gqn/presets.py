"""The presets: options that differ from the defaults (the paper's). To add a preset, add a row to PRESETS."""

from typing import Any

FOUNDING: dict[str, Any] = {
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

FAST: dict[str, Any] = {
    "image_size": 32,
    "max_context_size": 4,
    "representation": "separable_lattice",
    "representation_maps": 128,
    "aggregate": "mean",
    "num_steps": 2,
    "num_latent_maps": 1,
    "num_recurrent_maps": 64,
    "num_canvas_maps": 32,
    "kernel_size": 3,
    "head_size": 3,
    "shared_cores": True,
    "activation": "elu",
    "pixel_std_initial": 0.1,
    "pixel_std_final": 0.25,
    "pixel_std_fraction": 0.5,
    "optimizer": "muon",
    "batch_size": 8,
    "learning_rate_initial": 4e-3,
    "learning_rate_warmup": 1_600,
    "learning_rate_final": 2e-5,
    "learning_rate_fraction": 1.0,
    "num_train_samples": 64_000,
    "val_freq": 8_000,
}

PRESETS: dict[str, dict[str, Any]] = {
    # the founding program's defaults
    "founding": FOUNDING,
    # the paper's model and schedule (supplement): 2 M steps of 36, 167 M parameters in unshared cores
    "paper": {},
    # for CPUs: the best recipe of those compared in dev/LOG.md, with a representation that uses the camera geometry.
    # Its pixel stds are for 32 px; at 64 px a final pixel std of 0.5 gives an image the same weight
    "fast": FAST,
    # `fast` shortened to six minutes on two busy cores, for shepard_metzler_5_parts: MSE 0.0018 with 3 context views
    "demo": FAST | {"num_train_samples": 12_000, "val_freq": 2_000},
}

"""Weights of a model that was trained on rooms as rendered before, for poses as the released files have them.

    .venv/bin/python runs/released_yaw.py FOLDER OUT

Until November 2026 rendered rooms had yaw clockwise and the eye's height in z; in the released files yaw turns the
other way and z is 0. In the world of a scene this makes no difference, so that a lattice needs no change. The generator
is told x, y, z, sin yaw, cos yaw, sin pitch, cos pitch: its kernels for sin yaw change their sign, and those for z,
which was the same for all cameras, move to the cosine of the pitch, which is 1. FOLDER holds model.safetensors and
config.json.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from gqn import config as configs
from gqn.artifacts import checkpoint

Z, SIN_YAW, COS_PITCH = 2, 3, 6  # of a camera's seven numbers
EYE = 0.767 / 3.5  # as z was


def main(folder: Path, out: Path) -> None:
    """Convert; all other files of the folder are copied."""
    config = configs.read(folder / "config.json")
    model: Any = config.model
    if not getattr(model, "representation", "").endswith("lattice") or config.data.dataset_name != "rooms_ring_camera":
        sys.exit("only a lattice for rooms_ring_camera: other networks are told the camera in other places too")
    if config.data.world != 1:
        sys.exit("these weights are for poses as released already")
    shutil.copytree(folder, out, dirs_exist_ok=True)
    (out / "config.json").write_text(configs.as_json(config.having(world=2)))
    with safe_open(folder / "model.safetensors", "pt") as file:
        weights, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    for name, kernel in weights.items():
        if name.endswith("gates.weight"):
            first = 3 if "inference" in name and not model.joint_downsampling else 0  # the query image's channels
            exact = kernel.float()
            exact[:, first + COS_PITCH] += EYE * exact[:, first + Z]
            exact[:, first + Z] = 0
            exact[:, first + SIN_YAW] *= -1
            weights[name] = exact.to(kernel.dtype)
    save_file(weights, out / "model.safetensors", (about or {}) | {"gqn_digest": checkpoint.digest(weights)})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

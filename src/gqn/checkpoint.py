"""What a run keeps on disk, written so that a kill at any moment leaves it whole, and how a run is opened again.

config.json                 the resolved config
latest.ckpt, previous.ckpt  the last training state, and the one before it
best.ckpt                   training state at the best validation so far, to go back to by hand
model.safetensors           final weights
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from gqn import config as configs
from gqn import files
from gqn.config import Config
from gqn.errors import BadInput
from gqn.models.gqn import GQN

LATEST, PREVIOUS, BEST = "latest.ckpt", "previous.ckpt", "best.ckpt"
WEIGHTS, CONFIG, PICTURE = "model.safetensors", "config.json", "predictions.png"


def write(path: Path, write_to: Callable[[Path], Any]) -> None:
    """`gqn.files.write`, with BadInput if the file cannot be written."""
    try:
        files.write(path, write_to)
    except (OSError, RuntimeError, SafetensorError) as error:  # a full disk is a RuntimeError to torch.save
        raise BadInput(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def save(folder: Path, state: dict[str, Any], best: bool) -> None:
    """Store a training state as the latest; the one before stays, and the best is kept beside them."""
    latest, new = folder / LATEST, folder / ".new.ckpt"
    write(new, lambda part: torch.save(state, part))
    if best:
        write(folder / BEST, lambda part: shutil.copyfile(new, part))
    if latest.exists():
        os.replace(latest, folder / PREVIOUS)
    os.replace(new, latest)


def load_state(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest training state of a run that can be read, or None if it has none yet.

    A damaged file is named through `say`, moved aside and the one before it taken; BadInput if there is a file and
    none can be read.
    """
    found = [path for name in (LATEST, PREVIOUS) if (path := folder / name).exists()]
    damaged = []
    for path in found:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            say(f"{path} is damaged ({reason.split('. ')[0]}): trying the checkpoint before it")
            damaged.append(path)
        else:
            for bad in damaged:  # it must not take the place of the good one at the next save
                with suppress(FileNotFoundError):  # another rank was quicker
                    bad.replace(bad.with_suffix(".damaged"))
            return state
    if found:
        raise BadInput(f"no checkpoint in {folder} can be read: remove the folder or start over with --no-resume")
    return None


def begun(folder: Path) -> bool:
    """Whether a run has anything to lose yet."""
    return any((folder / name).exists() for name in (LATEST, PREVIOUS, WEIGHTS))


def finished(folder: Path) -> bool:
    """Whether a run has its final weights, which are what it writes last."""
    return (folder / WEIGHTS).exists()


def build(config: Config) -> GQN:
    """A model with fresh weights, decided by the config's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return GQN(**config.model())


def save_weights(folder: Path, model: nn.Module) -> None:
    """Write the final weights of a run."""
    write(folder / WEIGHTS, lambda part: save_file(model.state_dict(), part))


def load(folder: Path, say: Callable[[str], None] = print) -> tuple[Config, GQN]:
    """Open a run: its config and its model, with its final weights or, while it trains, its last checkpoint's."""
    if not folder.is_dir():
        raise BadInput(f"there is no run folder {folder}")
    config = configs.read(folder / CONFIG)
    model = build(config)
    path = folder / WEIGHTS
    try:
        if path.exists():
            weights = load_file(path)
        elif (state := load_state(folder, say)) is not None:
            weights = state["model"]
            say(f"{folder} is not finished: using its checkpoint after {state['step']} of {config.steps} steps")
        else:
            raise BadInput(f"{folder} holds no weights yet")
        model.load_state_dict(weights)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} is damaged: {error}") from error
    except RuntimeError as error:
        raise BadInput(f"the weights in {folder} are not of the model that its {CONFIG} describes") from error
    return config, model.eval()

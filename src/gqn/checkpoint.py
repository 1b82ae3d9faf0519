"""What a run keeps on disk, written so that a kill at any moment leaves it whole, and how a run is opened again.

config.json                 the resolved config
latest.ckpt, previous.ckpt  the last training state, and the one before it
best.ckpt                   training state at the best validation so far, to go back to by hand
model.safetensors           final weights, with FORMAT as `gqn_format` in the file's metadata
training.json               what the training took: samples, seconds, and `gqn.provenance`
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from gqn import config as configs
from gqn import files, trained
from gqn.config import Config
from gqn.errors import BadInput, short_of_memory
from gqn.models.gqn import GQN
from gqn.trained import CONFIG, TRAINING, WEIGHTS

LATEST, PREVIOUS, BEST = "latest.ckpt", "previous.ckpt", "best.ckpt"
PICTURE = "predictions.png"
FORMAT = "1"  # raised when weights of before would mean something else; files of before it was written have none


def write(path: Path, write_to: Callable[[Path], Any]) -> None:
    """`gqn.files.write`, with BadInput if the file cannot be written."""
    try:
        files.write(path, write_to)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError to torch.save
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
    damaged: list[Path] = []
    for path in (folder / LATEST, folder / PREVIOUS):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:  # not yet, or not at this moment: the run that writes it moves it
            continue
        except Exception as error:
            if short_of_memory(error):  # it may be as good as any
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            say(f"{path} is damaged ({reason.split('. ')[0]}): trying the checkpoint before it")
            damaged.append(path)
        else:
            for bad in damaged:  # it must not take the place of the good one at the next save
                with suppress(FileNotFoundError):  # another rank was quicker
                    bad.replace(bad.with_suffix(".damaged"))
            return state
    if damaged:
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


def save_weights(folder: Path, model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Write the final weights of a run, or of a model to give away, as numbers of a type."""
    weights = {name: weight.to(dtype) for name, weight in model.state_dict().items()}
    write(folder / WEIGHTS, lambda part: part.write_bytes(as_bytes(weights, {"gqn_format": FORMAT})))


def save_training(folder: Path, took: dict[str, Any]) -> None:
    """Write what the training of a run took."""
    write(folder / TRAINING, lambda part: part.write_text(json.dumps(took, indent=2) + "\n", encoding="utf-8"))


def known(path: Path) -> dict[str, Any]:
    """What a JSON file beside a model says, as training.json; nothing if it is not there. BadInput if damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{path} is damaged: {error}") from error


def load(run: str | Path, say: Callable[[str], None] = print) -> tuple[Config, GQN]:
    """Open a model by any of its names (`gqn.trained`): its config, and the model, its parameters frozen.

    It has the final weights of its run or, while that trains, its last checkpoint's; in float32, however they are
    stored. BadInput if there is no such model, or its files are damaged, of another version, or do not fit together.
    Nothing that is read is executed.
    """
    path = trained.find(run)
    folder = path.parent
    weights = read_weights(path) if path.exists() else None  # first: one of another version says so
    config = configs.read(folder / CONFIG)
    if str(run).startswith(trained.HUB):
        config = dataclasses.replace(config, data="")  # strangers do not say which places are read here
    model = build(config)
    if weights is None and (state := load_state(folder, say)) is not None:
        weights = state["model"]
        say(f"{folder} is not finished: using its checkpoint after {state['step']} of {config.steps} steps")
    if weights is None:
        raise BadInput(f"{folder} holds no weights yet")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BadInput(f"the weights in {folder} are not of the model that its {CONFIG} describes") from error
    return config, model.eval().requires_grad_(False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; BadInput if it is damaged or of another version."""
    try:
        with safe_open(path, "pt") as file:
            version = (file.metadata() or {}).get("gqn_format", FORMAT)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if short_of_memory(error):
            raise
        raise BadInput(f"{path} is damaged: {error}") from error
    if version != FORMAT:
        raise BadInput(f"{path} is of weights format {version}, this gqn reads {FORMAT}: use the gqn that wrote it")
    return weights

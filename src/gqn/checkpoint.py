"""What a run keeps on disk, written so that a kill at any moment leaves it whole, and how a run is opened again.

config.json                 the resolved config
origin.json                 where the files that it trains on and its first weights lay, and what the files were
latest.ckpt, previous.ckpt  the last training state, and the one before it
best.ckpt                   training state at the best validation so far
model.safetensors           final weights, with FORMAT as `gqn_format` in the file's metadata
training.json               what the training took: samples, seconds, and `gqn.provenance`
"""

import dataclasses
import hashlib
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

from gqn import checks, content, files, trained
from gqn import config as configs
from gqn.config import Config
from gqn.data import sources
from gqn.errors import BadInput, short_of_memory
from gqn.models.gqn import GQN
from gqn.trained import CONFIG, TRAINING, WEIGHTS

LATEST, PREVIOUS, BEST = "latest.ckpt", "previous.ckpt", "best.ckpt"
PICTURE, ORIGIN = "predictions.png", "origin.json"
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
            state = read_state(path)
        except FileNotFoundError:  # not yet, or not at this moment: the run that writes it moves it
            continue
        except BadInput as error:
            say(f"{error}: trying the checkpoint before it")
            damaged.append(path)
        else:
            for bad in damaged:  # it must not take the place of the good one at the next save
                with suppress(FileNotFoundError):  # another rank was quicker
                    bad.replace(bad.with_suffix(".damaged"))
            return state
    if damaged:
        raise BadInput(f"no checkpoint in {folder} can be read: remove the folder or start over with --no-resume")
    return None


def read_state(path: Path) -> dict[str, Any]:
    """The training state of a file; BadInput if it cannot be read as one, FileNotFoundError if it is not there."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        if short_of_memory(error):  # it may be as good as any
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(f"{path} is damaged ({reason.split('. ')[0]})") from error


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
    save_known(folder / TRAINING, took)


def save_known(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file as `known` reads it."""
    write(path, lambda part: part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8"))


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

    It has the final weights of its run or, while that trains, its last checkpoint's, or those of the checkpoint that is
    named; in float32, however they are stored. BadInput if there is no such model, or its files are damaged, of another
    version, or do not fit together. Nothing that is read is executed.
    """
    return opened(run, say)[:2]


def opened(run: str | Path, say: Callable[[str], None] = print) -> tuple[Config, GQN, dict[str, Any]]:
    """As `load`, with what the training of these very weights took: `training.json`, or of a checkpoint what it knows.

    That is nothing of weights that are not named as a run's final ones.
    """
    path = trained.find(run)
    folder, named = path.parent, path.suffix == trained.CHECKPOINT
    weights = read_weights(path) if path.exists() and not named else None  # first: one of another version says so
    config = config_of(folder)
    if str(run).startswith(trained.HUB):
        config = dataclasses.replace(config, data="")  # strangers do not say which places are read here
    model = build(config)
    took = known(folder / TRAINING) if path.name == WEIGHTS else {}
    if weights is None:
        state = read_state(path) if named else load_state(folder, say)
        if state is None:
            raise BadInput(f"{folder} holds no weights yet")
        try:
            weights, step = state["model"], state["step"]
        except (KeyError, TypeError) as error:
            raise BadInput(f"{path} is no checkpoint of gqn's") from error
        unfinished = f"{folder} is not finished: using its checkpoint"
        say(f"{path if named else unfinished} after {step} of {config.steps} steps")
        took = {"samples": step * config.batch_size, "seconds": round(state.get("seconds", 0))}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BadInput(f"the weights in {folder} are not of the model that its {CONFIG} describes") from error
    model.trained_on = trained_on(trained.name(run), config)
    return config, model.eval().requires_grad_(False), took


def config_of(folder: Path) -> Config:
    """The config of a run, with the places where what it was begun with lay. BadInput if it cannot be read."""
    config = configs.read(folder / CONFIG)
    origin = known(folder / ORIGIN)
    return config.replaced({name: origin[name] for name in configs.PLACES if name in origin}, str(folder / ORIGIN))


def digest(model: nn.Module) -> str:
    """What a model's weights are, in a word: that of others is another."""
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(weight.shape)} ".encode() + weight.float().contiguous().numpy().tobytes())
    return found.hexdigest()[:32]


def no_weights(path: Path) -> str:
    """One line that says what a file is that is given as weights and is none; "" if it may be some."""
    way = f"RUN is a {trained.RUN}"
    if path.is_file() and path.suffix != ".safetensors" and not content.of(path):
        return f"{path} is no .safetensors file: {way}"
    return content.mistaken(path, content.WEIGHTS, way)


def trained_on(name: str, config: Config) -> checks.TrainedOn:
    """What cameras a config's model was trained with; of those of files no more is known than their field of view."""
    views, queries = map(checks.of_cameras, sources.cameras(config.dataset_name, config.query))
    if config.stored:
        views = queries = {checks.FOV: views[checks.FOV]}
    return checks.TrainedOn(name, views, queries)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; BadInput if it is damaged or of another version."""
    try:
        with safe_open(path, "pt") as file:
            version = (file.metadata() or {}).get("gqn_format", FORMAT)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if short_of_memory(error):
            raise
        raise BadInput(no_weights(path) or f"{path} is damaged: {error}") from error
    if version != FORMAT:
        raise BadInput(f"{path} is of weights format {version}, this gqn reads {FORMAT}: use the gqn that wrote it")
    return weights

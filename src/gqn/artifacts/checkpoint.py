"""The files of a run, which a kill at any moment leaves intact, and how a run is opened again.

config.json                 the resolved config
origin.json                 where the data and the initial weights came from, and the fingerprint of the data
latest.ckpt, previous.ckpt  the last checkpoint (training state), and the one before it
best.ckpt                   checkpoint of the best validation so far
model.safetensors           final weights, with FORMAT and `digest` as `gqn_format` and `gqn_digest` in its metadata
training.json               cost of the training (samples, seconds), and its `gqn.artifacts.provenance`

Each of them is checked when it is read: tables by their checksum (`gqn.runtime.reading`), and a checkpoint, which is a
zip archive of torch.save, by the CRC-32 of each of its parts. torch writes these, but does not verify them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from gqn import config as configs
from gqn import models
from gqn.artifacts import trained
from gqn.artifacts.trained import CONFIG, EVALUATION, TRAINING, WEIGHTS
from gqn.config import Config
from gqn.data import sources
from gqn.errors import RUN, BadInput, short_of_memory
from gqn.models import Model, checks
from gqn.runtime import content, files, reading

LATEST, PREVIOUS, BEST = "latest.ckpt", "previous.ckpt", "best.ckpt"
PICTURE, ORIGIN = "predictions.png", "origin.json"
FORMAT = "1"  # increased when older weights would be misread; the oldest files do not state it

SCHEDULES = [{"until": int, "of": int}]
SHAPES: dict[str, Any] = {  # of tables by file name, and STATE of a checkpoint; see `gqn.runtime.reading.check`
    ORIGIN: {"data": str, "init": str, "files": {str: {str: list | None}}, "schedules": SCHEDULES},
    TRAINING: {
        "samples": int,
        "seconds": int | float,
        "schedules": SCHEDULES,
        "init": str,
        "command": str,
        "version": str,
        "commit": str | None,
        "machine": str,
    },
    EVALUATION: {"model": str, "dataset": str, "data": str | None, "training": dict, "evaluation": dict},
}
STATE = {
    "step": int,
    "best": float,
    "seconds": float,
    "recent": {str: Tensor},
    "model": {str: Tensor},
    "optimizers": [{"state": {int: {str: Tensor}}, "param_groups": [{"params": [int]}]}],
}


def write(path: Path, write_to: Callable[[Path], Any]) -> None:
    """As `gqn.runtime.files.write`, but raises BadInput if the file cannot be written."""
    try:
        files.write(path, write_to)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError if the disk is full
        raise BadInput(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def save(folder: Path, state: dict[str, Any], best: bool) -> None:
    """Write a training state as the latest checkpoint, keep the one before, and copy it to best.ckpt if `best`."""
    latest, new = folder / LATEST, folder / ".new.ckpt"
    write(new, lambda part: torch.save(state, part))
    if best:
        write(folder / BEST, lambda part: shutil.copyfile(new, part))
    if latest.exists():
        os.replace(latest, folder / PREVIOUS)
    os.replace(new, latest)


def load_state(
    folder: Path, say: Callable[[str], None], check: Callable[[dict[str, Any]], Any] = dict
) -> dict[str, Any] | None:
    """The newest checkpoint of a run that can be read, or None if there is none yet.

    A damaged file, or one of which `check` raises ValueError, is reported through `say`, renamed to *.damaged, and the
    checkpoint before it is used. Raises BadInput if there are files but none can be read.
    """
    damaged: list[Path] = []
    for path in (folder / LATEST, folder / PREVIOUS):
        try:
            state = read_state(path)
            with reading.named(path):
                check(state)
        except FileNotFoundError:  # not written yet, or just being moved by the run that writes it
            continue
        except BadInput as error:
            say(f"{error}: trying the checkpoint before it")
            damaged.append(path)
        else:
            for bad in damaged:  # else the next save would replace the good one by it
                with suppress(FileNotFoundError):  # another rank has renamed it already
                    bad.replace(bad.with_suffix(".damaged"))
            return state
    if damaged:
        raise BadInput(f"no checkpoint in {folder} can be read: remove the folder or start over with `resume=False`")
    return None


def read_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Raises BadInput if the file is damaged, FileNotFoundError if it does not exist.

    It is damaged if a part does not match its checksum, if values are of other types than STATE says, or if weights are
    not finite. Values that it does not have are not missed here: it may be of another version.
    """
    with reading.named(path), open(path, "rb") as file:
        reading.check_archive(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise BadInput(f"{path} is no checkpoint of gqn's")
        reading.check(state, STATE)
        if state.get("step", 0) < 0 or state.get("best", 0.0) != state.get("best", 0.0):
            raise ValueError(f"step is {state.get('step')}, best {state.get('best')}")
        check_weights(state.get("model", {}))
        return state


def check_weights(weights: dict[str, Tensor]) -> None:
    """ValueError if one of the weights is not finite, or claims more numbers than were stored."""
    for name, weight in weights.items():
        if weight.numel() * weight.element_size() > weight.untyped_storage().nbytes():
            raise ValueError(f"weight {name} is larger than the file")
        if not weight.isfinite().all():
            raise ValueError(f"weight {name} is not finite")


def begun(folder: Path) -> bool:
    """Whether a run folder holds a checkpoint or weights, which must not be overwritten."""
    return any((folder / name).exists() for name in (LATEST, PREVIOUS, WEIGHTS))


def finished(folder: Path) -> bool:
    """Whether a run has its final weights, which it writes last."""
    return (folder / WEIGHTS).exists()


def build(config: Config) -> nn.Module:
    """The model of a config, with weights initialised from the config's seed."""
    return models.build(config.model, config.data.image_size, config.data.spec.region, config.run.seed)


def save_weights(folder: Path, model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Write model.safetensors, of a run or of an exported model, as numbers of type `dtype`."""
    weights = {name: weight.to(dtype) for name, weight in model.state_dict().items()}
    stated = {"gqn_format": FORMAT, "gqn_digest": digest(weights)}
    write(folder / WEIGHTS, lambda part: part.write_bytes(_in_order(as_bytes(weights, stated))))


def _in_order(packed: bytes) -> bytes:
    """The bytes of a safetensors file with a sorted header; as the library writes it, its order is random."""
    end = 8 + int.from_bytes(packed[:8], "little")
    header = json.dumps(json.loads(packed[8:end]), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return packed[:8] + header.encode().ljust(end - 8) + packed[end:]


def save_training(folder: Path, took: dict[str, Any]) -> None:
    """Write training.json."""
    save_known(folder / TRAINING, took)


def save_known(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file that `known` can read."""
    write(path, lambda part: part.write_text(reading.as_json(values), encoding="utf-8"))


def known(path: Path) -> dict[str, Any]:
    """Read a JSON file beside a model, such as training.json; empty if there is none. Raises BadInput if damaged."""
    try:
        return reading.table(path, SHAPES[path.name])
    except FileNotFoundError:
        return {}


def load(run: str | Path, say: Callable[[str], None] = print) -> tuple[Config, Model]:
    """Open a model by any of its names (see `gqn.artifacts.trained`): its config, and the model with frozen parameters.

    The weights are the final ones of the run, those of the last checkpoint if the run is not finished, or those of the
    checkpoint file that `run` names. They are converted to float32. Raises BadInput if there is no such model, or if
    its files are damaged, of another version, or do not fit together. Reading never executes code from the files.
    """
    return opened(run, say)[:2]


def opened(run: str | Path, say: Callable[[str], None] = print) -> tuple[Config, Model, dict[str, Any]]:
    """As `load`, and also the cost of training these weights.

    For a model.safetensors this is training.json, for a checkpoint its samples and seconds. It is empty for a weights
    file of another name.
    """
    path = trained.find(run)
    folder, named = path.parent, path.suffix == trained.CHECKPOINT
    weights = read_weights(path) if path.exists() and not named else None  # first, so that another version is reported
    config = config_of(folder)
    if str(run).startswith(trained.HUB):
        config = config.having(data="")  # a model from the hub must not choose which files are read on this machine
    if config.data.world < configs.WORLD:
        name = config.data.dataset_name
        say(f"{run} was trained on {name} as gqn rendered it before, with cameras of another meaning: see docs/data.md")
    try:
        model = build(config)
    except Exception as error:  # the numbers may be too large for any model, or a model of one's own fails
        if short_of_memory(error):
            raise
        raise BadInput(
            f"the model that {folder / CONFIG} describes cannot be built: {reading.reason(error)}"
        ) from error
    took = known(folder / TRAINING) if path.name == WEIGHTS else {}
    if weights is None:
        state = read_state(path) if named else load_state(folder, say)
        if state is None:
            raise BadInput(f"{folder} holds no weights yet")
        try:
            weights, step = state["model"], state["step"]
        except KeyError as error:
            raise BadInput(f"{path} is no checkpoint of gqn's") from error
        unfinished = f"{folder} is not finished: using its checkpoint"
        say(f"{path if named else unfinished} after {step} of {config.steps} steps")
        took = {"samples": step * config.optimizer.batch_size, "seconds": round(state.get("seconds", 0))}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BadInput(f"the weights in {folder} are not of the model that its {CONFIG} describes") from error
    cast(Any, model).trained_on = trained_on(trained.name(run), config)
    return config, cast(Model, model.eval().requires_grad_(False)), took


def config_of(folder: Path) -> Config:
    """The config of a run, with the places of data and initial weights from origin.json. Raises BadInput if damaged."""
    config = configs.read(folder / CONFIG)
    origin = known(folder / ORIGIN)
    return config.replaced({name: origin[name] for name in configs.PLACES if name in origin}, str(folder / ORIGIN))


def digest(weights: dict[str, Tensor]) -> str:
    """A hash of a model's weights, computed in float32."""
    found = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        found.update(f"{name} {tuple(weight.shape)} ".encode() + weight.float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:32]


def no_weights(path: Path) -> str:
    """One line that says why a file cannot be weights; "" if it may be weights."""
    way = f"RUN is a {RUN}"
    if path.is_file() and path.suffix != ".safetensors" and not content.of(path):
        return f"{path} is no .safetensors file: {way}"
    return content.mistaken(path, content.WEIGHTS, way)


def trained_on(name: str, config: Config) -> checks.TrainedOn:
    """The cameras that a config's model was trained with; for scenes from files, only how they are filmed is known."""
    if config.stored:
        some = checks.of_cameras(config.data.spec.filmed.cameras(torch.zeros(1, 5)))
        views = queries = {name: some[name] for name in (checks.FOV, checks.SENSE)}
    else:
        views, queries = map(checks.of_cameras, sources.cameras(config.data.dataset_name, config.data.query))
    return checks.TrainedOn(name, views, queries)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name.

    Raises BadInput if it is damaged, if a weight is not finite, or if it is of another version.
    """
    if what := no_weights(path):
        raise BadInput(what)
    with reading.named(path):
        with safe_open(path, "pt") as file:
            stated = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (version := stated.get("gqn_format", FORMAT)) != FORMAT:
            raise BadInput(f"{path} is of weights format {version}, this gqn reads {FORMAT}: use the gqn that wrote it")
        check_weights(weights)
        if stated.get("gqn_digest", sound := digest(weights)) != sound:
            raise ValueError("its weights do not match their digest")
    return weights

"""How a run starts or resumes: its initial weights, its folder, and the check that a folder holds the same run.

The config identifies a run. It holds digests of the run's data and initial weights. The places where these lie are kept
in origin.json beside it and may change when the run is resumed; so may the number of training samples.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch import nn

from gqn import config as configs
from gqn.artifacts import checkpoint, trained
from gqn.config import Config
from gqn.data import fingerprint
from gqn.errors import BadInput
from gqn.training.schedules import schedule

MAY_CHANGE = {*configs.PLACES, *configs.DIGESTS, "num_train_samples"}  # options that may differ on resume


def start_from(config: Config, model: nn.Module, folder: Path, say: Callable[[str], None]) -> str:
    """Load the weights that `init` names; returns their digest. BadInput if there are none, or they do not fit."""
    try:
        theirs, other, _ = checkpoint.opened(config.origin.init, say)
    except BadInput as error:
        begun = f"; {folder} has begun and needs none: leave `init` away to go on" if checkpoint.begun(folder) else ""
        raise BadInput(f"{error}{begun}") from error
    try:
        model.load_state_dict(cast(nn.Module, other).state_dict())
    except RuntimeError as error:
        differ = "; ".join(configs.differences(config, theirs, config.model_options)) or "the model's code is another"
        raise BadInput(
            f"the weights of `init` {config.origin.init} do not fit ({differ}): "
            "unless such options are given, the model's are theirs"
        ) from error
    return checkpoint.digest(cast(nn.Module, other).state_dict())


def open_folder(
    folder: Path,
    config: Config,
    resume: bool,
    found: dict[str, fingerprint.Files] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Create the run's folder, or check that it holds the same run; `found` are the files that the run trains on.

    With `resume` False, or if the run in the folder has no checkpoint yet, it is deleted and starts over. A run may be
    resumed with another number of training samples; `say` is told how this changes the schedules. BadInput if the
    folder holds another run or other files, or cannot be written.
    """
    path = folder / checkpoint.CONFIG
    try:
        if path.exists() and resume and checkpoint.begun(folder):
            return go_on(folder, config, found or {}, say)
        if path.exists():
            gone = folder.with_name(f".{folder.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            shutil.rmtree(gone)
        elif folder.exists() and any(not file.name.startswith(".") for file in folder.iterdir()):
            raise BadInput(f"{folder} holds other files than a run's: give another `logdir` or `run_suffix`")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write the run folder {folder}: {error.strerror}") from error
    if origin := places(config, found or {}):
        checkpoint.save_known(folder / checkpoint.ORIGIN, origin)
    checkpoint.write(path, lambda part: part.write_text(configs.as_json(config), encoding="utf-8"))


def go_on(folder: Path, config: Config, found: dict[str, fingerprint.Files], say: Callable[[str], None]) -> None:
    """Check that a folder holds this run, and store what has changed: places, and the number of samples.

    BadInput if it holds another run; the message names the differences.
    """
    there, known = checkpoint.config_of(folder), checkpoint.known(folder / checkpoint.ORIGIN)
    differ = configs.differences(config, there, [name for name in config.flat() if name not in MAY_CHANGE])
    if config.origin.data and there.origin.data and not there.data.data_digest:
        say(f"{folder} does not say what its files were: those in {config.origin.data} are taken for them")
    elif (config.stored, config.data.data_digest) != (there.stored, there.data.data_digest):
        here, was = config.origin.data or "none", there.origin.data or ("files" if there.stored else "none")
        which = (
            f" ({fingerprint.differences(found, known['files'])})" if config.origin.data and "files" in known else ""
        )
        differ.append(f"data: {here} here, {was} there{which}")
    if not config.origin.init:
        config = config.having(init_digest=there.run.init_digest)
    elif config.run.init_digest != there.run.init_digest:
        differ.append(f"init: other weights here, {there.origin.init or 'none'} there")
    if differ:
        raise BadInput(
            f"{folder} holds a run of another config ({'; '.join(differ)}): "
            "give this one a `run_suffix`, or start over with `resume=False`"
        )
    now = known | places(config, found)
    if config.run.num_train_samples != there.run.num_train_samples:
        last = relengthened(folder, config, there, say)
        now["schedules"] = [part for part in known.get("schedules", []) if part != last] + [last]
    if now != known:
        checkpoint.save_known(folder / checkpoint.ORIGIN, now)
    if config.run.num_train_samples != there.run.num_train_samples and checkpoint.finished(folder):
        (folder / trained.WEIGHTS).rename(folder / f"model-{there.run.num_train_samples}.safetensors")
    if config != there:
        checkpoint.write(
            folder / checkpoint.CONFIG, lambda part: part.write_text(configs.as_json(config), encoding="utf-8")
        )


def places(config: Config, found: dict[str, fingerprint.Files]) -> dict[str, Any]:
    """The content of origin.json: where data and initial weights lie, and the data's files."""
    given = {name: place for name in configs.PLACES if (place := getattr(config.origin, name))}
    whole: dict[str, Any] = {name: os.path.abspath(p) if os.path.exists(p) else p for name, p in given.items()}
    return whole | ({"files": found} if config.origin.data else {})


def relengthened(folder: Path, config: Config, there: Config, say: Callable[[str], None]) -> dict[str, int]:
    """Change the number of training samples of a run that has begun, and tell `say` how its schedules change.

    Returns {"until": u, "of": n}: up to sample u the schedules were those of a run of n samples, from there on they are
    those of the new number. BadInput if the run has done more samples already, or has no checkpoint to resume from.
    """
    new, finished = config.run.num_train_samples, checkpoint.finished(folder)
    if (state := checkpoint.load_state(folder, say)) is None:
        raise BadInput(f"{folder} keeps no checkpoint to go on from: `init={folder}` starts a new run from its weights")
    if config.steps < state["step"] + finished:
        raise BadInput(
            f"{folder} has done {state['step'] * config.optimizer.batch_size:,} samples, and `num_train_samples` is "
            f"{new:,}: give more to go on, or start over with `resume=False`"
        )
    done = state["step"] * config.optimizer.batch_size
    (std, rate), (new_std, new_rate) = schedule(there, done), schedule(config, done)
    say(
        f"{folder}: it was begun with `num_train_samples={there.run.num_train_samples}`; from sample {done:,} on, "
        f"learning rate and pixel std are those of a run of {new:,}: {rate:.2g} becomes {new_rate:.2g}, {std:.2g} "
        f"becomes {new_std:.2g}"
    )
    return {"until": done, "of": there.run.num_train_samples}


def began(folder: Path) -> dict[str, Any]:
    """What `training.json` says of a run's start: its initial weights, and its earlier schedules (`relengthened`)."""
    known = checkpoint.known(folder / checkpoint.ORIGIN)
    found = {"init": known_as(known["init"])} if "init" in known else {}
    return found | ({"schedules": known["schedules"]} if "schedules" in known else {})


def known_as(init: str) -> str:
    """The name of initial weights for others to read: of an absolute path only the folder, or folder and file."""
    path = Path(init)
    return "/".join(path.parts[-2:] if path.suffix else path.parts[-1:]) if path.is_absolute() else init

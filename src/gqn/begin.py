"""How a run begins, from which weights and in which folder, and how it is known again when it is gone on with.

What a run is stands in its config, which holds digests of its data and of its first weights; where these lie is kept
beside it, in origin.json, and may change. So may the number of samples that it is to reach.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from gqn import checkpoint, trained
from gqn import config as configs
from gqn.config import Config
from gqn.data import fingerprint
from gqn.errors import BadInput
from gqn.objective import anneal


def start_from(config: Config, model: nn.Module, folder: Path, say: Callable[[str], None]) -> str:
    """Give a model the weights that `init` names; their digest. BadInput if there are none, or they do not fit."""
    try:
        theirs, other, _ = checkpoint.opened(config.init, say)
    except BadInput as error:
        begun = f"; {folder} has begun and needs none: leave --init away to go on" if checkpoint.begun(folder) else ""
        raise BadInput(f"{error}{begun}") from error
    try:
        model.load_state_dict(other.state_dict())
    except RuntimeError as error:
        differ = "; ".join(configs.differences(config, theirs, configs.MODEL_OPTIONS))
        raise BadInput(
            f"the weights of --init {config.init} do not fit ({differ}): "
            "without such flags the model's options are theirs"
        ) from error
    return checkpoint.digest(other)


def open_folder(
    folder: Path,
    config: Config,
    resume: bool,
    found: dict[str, fingerprint.Files] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Make the run's folder, or check that it holds this very run, which trains on the files `found`.

    `resume` False empties it first. A run may go on to another number of samples than it was begun with; `say` gets
    what a user has to know of that. BadInput if the folder holds another run, or cannot be written.
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
            raise BadInput(f"{folder} holds other files than a run's: give another --logdir or --run-suffix")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write the run folder {folder}: {error.strerror}") from error
    if origin := places(config, found or {}):
        checkpoint.save_known(folder / checkpoint.ORIGIN, origin)
    checkpoint.write(path, lambda part: part.write_text(configs.as_json(config), encoding="utf-8"))


def go_on(folder: Path, config: Config, found: dict[str, fingerprint.Files], say: Callable[[str], None]) -> None:
    """Check that a folder holds this run, and note what is new of it: places, and the number of samples.

    BadInput, which names the difference, if it holds another run.
    """
    there, known = checkpoint.config_of(folder), checkpoint.known(folder / checkpoint.ORIGIN)
    differ = configs.differences(config, there, [name for name in configs.OPTIONS if name != "num_train_samples"])
    if config.data and there.data and not there.data_digest:
        say(f"{folder} does not say what its files were: those in {config.data} are taken for them")
    elif (config.stored, config.data_digest) != (there.stored, there.data_digest):
        here, was = config.data or "none", there.data or ("files" if there.stored else "none")
        which = f" ({fingerprint.differences(found, known['files'])})" if config.data and "files" in known else ""
        differ.append(f"data: {here} here, {was} there{which}")
    if not config.init:
        config = replace(config, init_digest=there.init_digest)
    elif config.init_digest != there.init_digest:
        differ.append(f"init: other weights here, {there.init or 'none'} there")
    if differ:
        raise BadInput(
            f"{folder} holds a run of another config ({'; '.join(differ)}): "
            "give this one a --run-suffix, or start over with --no-resume"
        )
    now = known | places(config, found)
    if config.num_train_samples != there.num_train_samples:
        last = relengthened(folder, config, there, say)
        now["schedules"] = [part for part in known.get("schedules", []) if part != last] + [last]
    if now != known:
        checkpoint.save_known(folder / checkpoint.ORIGIN, now)
    if config.num_train_samples != there.num_train_samples and checkpoint.finished(folder):
        (folder / trained.WEIGHTS).rename(folder / f"model-{there.num_train_samples}.safetensors")
    if config != there:
        checkpoint.write(
            folder / checkpoint.CONFIG, lambda part: part.write_text(configs.as_json(config), encoding="utf-8")
        )


def places(config: Config, found: dict[str, fingerprint.Files]) -> dict[str, Any]:
    """What is known of where a run begins, and is no part of what it is."""
    given = {name: place for name in configs.PLACES if (place := getattr(config, name))}
    whole: dict[str, Any] = {name: os.path.abspath(p) if os.path.exists(p) else p for name, p in given.items()}
    return whole | ({"files": found} if config.data else {})


def relengthened(folder: Path, config: Config, there: Config, say: Callable[[str], None]) -> dict[str, int]:
    """Until which sample the schedules were those of how many: from there on they are those of the new number.

    BadInput if the run has done more already, or keeps no state to go on from.
    """
    new, finished = config.num_train_samples, checkpoint.finished(folder)
    if (state := checkpoint.load_state(folder, say)) is None:
        raise BadInput(f"{folder} keeps no checkpoint to go on from: --init {folder} starts a new run from its weights")
    if config.steps < state["step"] + finished:
        raise BadInput(
            f"{folder} has done {state['step'] * config.batch_size:,} samples, and -t asks for {new:,}: "
            "give more to go on, or start over with --no-resume"
        )
    done = state["step"] * config.batch_size
    (std, rate), (new_std, new_rate) = schedule(there, done), schedule(config, done)
    say(
        f"{folder}: it was begun with -t {there.num_train_samples}; from sample {done:,} on, learning rate and pixel "
        f"std are those of a run of {new:,}: {rate:.2g} becomes {new_rate:.2g}, {std:.2g} becomes {new_std:.2g}"
    )
    return {"until": done, "of": there.num_train_samples}


def began(folder: Path) -> dict[str, Any]:
    """What `training.json` says of how a run began: its first weights, and schedules that it had before its last."""
    known = checkpoint.known(folder / checkpoint.ORIGIN)
    found = {"init": known_as(known["init"])} if "init" in known else {}
    return found | ({"schedules": known["schedules"]} if "schedules" in known else {})


def known_as(init: str) -> str:
    """First weights as others may know them: an address, a name, or the last parts of a place here."""
    path = Path(init)
    return "/".join(path.parts[-2:] if path.suffix else path.parts[-1:]) if path.is_absolute() else init


def schedule(config: Config, samples: int) -> tuple[float, float]:
    """Pixel std and learning rate after `samples` training samples."""
    whole = config.num_train_samples
    pixel_std = anneal(
        samples, config.pixel_std_initial, config.pixel_std_final, round(config.pixel_std_fraction * whole)
    )
    learning_rate = anneal(
        samples,
        config.learning_rate_initial,
        config.learning_rate_final,
        round(config.learning_rate_fraction * whole),
    )
    return pixel_std, learning_rate * anneal(samples, 0.0, 1.0, config.learning_rate_warmup)

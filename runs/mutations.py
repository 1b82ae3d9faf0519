"""Damage every kind of file that the package reads, and count what its readers make of that.

    .venv/bin/python runs/mutations.py [--cases 300] [--seed 0]

A case is a file with a flipped bit, zeroed or exchanged bytes, or without its end. Reading it may give the right
result, or one line that names it. Only files without a checksum, TOML and metrics.jsonl, may say another number. The
second table is of whole files with a wrong value, of another type, huge or deeply nested, whose checksums are right:
these may also be read as what they say. Last, bits are flipped in tensors of a run's latest checkpoint: each is named,
and the run goes on to the weights of one without damage.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gqn import config as configs
from gqn.artifacts import checkpoint
from gqn.config import Config, Place
from gqn.data.files import export, foreign, tfrecord
from gqn.data.files.conversion import convert
from gqn.data.files.stored import stored
from gqn.errors import BadInput
from gqn.evaluation import results
from gqn.evaluation.evaluate import Settings, evaluate
from gqn.runtime import reading
from gqn.training.journal import Journal
from gqn.training.loop import restore, train
from gqn.training.optimizers import check_states, optimizers

NAME = "shepard_metzler_5_parts"
RIGHT, NAMED, TRACEBACK, OTHER = OUTCOMES = ("right result", "named", "traceback", "other result")
DEEP = "[" * 100_000 + "]" * 100_000
WRONG = [None, True, 3, 3.5, -1, "x", "", [], {}, [1], {"x": 1}, 10**30, 10**400, float("nan"), float("inf"), DEEP]
HERE = Place(workers=0)


@dataclass(frozen=True)
class Kind:
    """A kind of file: one of it, and how the package reads it. What was read can be compared by `alike`."""

    path: Path
    read: Callable[[], Any]
    wrong: Callable[[bytes, random.Random], bytes] | None = None  # a whole file with a wrong value


def made(folder: Path) -> tuple[Config, dict[str, Kind]]:
    """A small run on files, with all that belongs to it, in a folder."""
    export.export(NAME, folder / "data", scenes=4, test_scenes=3, image_size=16, num_views=5)
    data, run = folder / "data" / NAME, folder / "run"
    config = configs.preset("founding", image_size=16, max_context_size=3, num_views=5, representation="tower")
    config = config.having(representation_maps=8, num_steps=2, num_recurrent_maps=4, num_canvas_maps=4, kernel_size=3)
    config = config.having(
        batch_size=4, num_train_samples=48, num_val_samples=3, val_freq=16, data=str(folder / "data")
    )
    train(config, HERE, run)
    evaluate(run, Settings(context=(1, 3), scenes=3, samples=2, importance_samples=2))
    file = next(data.glob("train/*.tfrecord"))
    packed = folder / "packed.tfrecord.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    scenes = folder / "scenes.pt"
    torch.save([(torch.rand(3, 16, 16, 3), torch.rand(3, 5)) for _ in range(2)], scenes)
    (folder / "src" / "train").mkdir(parents=True)
    shutil.copy(scenes, folder / "src" / "train" / "1.pt")
    convert(folder / "src", NAME, folder / "imported")
    survey, recipe = (folder / "imported" / NAME / name for name in ("imported.json", "recipe.json"))
    toml = folder / "options.toml"
    toml.write_text('num_steps = 3\nlearning_rate_initial = 0.001\nrepresentation = "tower"\n')
    index = file.with_name(file.name + ".index")
    tfrecord.opened(file)

    def table(name: str) -> Kind:
        return Kind(run / name, lambda: checkpoint.known(run / name), wrong_value)

    def imported() -> list[bytes]:
        convert(folder / "src", NAME, folder / "imported")
        return [path.read_bytes() for path in sorted((folder / "imported").rglob("*.tfrecord"))]

    def offsets() -> list[int]:
        return tfrecord.opened(file).offsets.tolist()

    def frames(path: Path) -> list[Any]:
        scenes = stored([path])
        return [(v.frames, v.cameras.pose) for v in (scenes.views(i, np.arange(5)) for i in range(len(scenes)))]

    return config, {
        "checkpoint": Kind(run / "latest.ckpt", lambda: resumed(run, config), wrong_tensor),
        "weights": Kind(run / "model.safetensors", lambda: checkpoint.opened(run)[1].state_dict()),  # type: ignore
        "config.json": Kind(run / "config.json", lambda: checkpoint.opened(run)[0], wrong_value),
        "origin.json": table("origin.json"),
        "training.json": table("training.json"),
        "eval.json": table("eval.json"),
        "eval.npz": Kind(run / "eval.npz", lambda: vars(results.load(run)), wrong_array),
        "metrics.jsonl": Kind(run / "metrics.jsonl", lambda: Journal(run, 12).__exit__(), wrong_line),
        "TFRecord file": Kind(file, lambda: frames(file)),
        "gzipped TFRecord file": Kind(packed, lambda: frames(packed)),
        "index": Kind(index, offsets),
        "file of torch.save": Kind(scenes, lambda: [vars(scene) for scene in foreign.scenes(scenes)]),
        "imported.json": Kind(survey, imported, wrong_value),
        "recipe.json": Kind(recipe, imported, wrong_value),
        "TOML": Kind(toml, lambda: configs.read_toml(toml, config)),
    }


def resumed(run: Path, config: Config) -> Any:
    """What a run goes on from, after it was given to model and optimizers."""
    model = checkpoint.build(config)
    steppers = optimizers(model, config.optimizer.name, config.optimizer.learning_rate_initial)
    said: list[str] = []
    state = checkpoint.load_state(run, said.append, lambda state: check_states(steppers, state.get("optimizers", [])))
    assert state is not None
    restore(model, steppers, state, run)
    if said:
        raise BadInput(said[0])
    return state


def damaged(content: bytes, dice: random.Random) -> bytes:
    """A file's content with one kind of damage."""
    parts = bytearray(content)
    at, other = (dice.randrange(len(parts)) for _ in range(2))
    size = dice.choice((1, 8, 100, 1000))
    match dice.randrange(6):
        case 0 | 1:
            parts[at] ^= 1 << dice.randrange(8)
        case 2:
            return content[:at]
        case 3:
            parts[at : at + size] = bytes(len(parts[at : at + size]))
        case 4:
            parts[at], parts[other] = parts[other], parts[at]
        case 5:
            parts[at : at + size], parts[other : other + size] = parts[other : other + size], parts[at : at + size]
    return bytes(parts)


def replaced(value: Any, dice: random.Random, wrong: list[Any]) -> Any:
    """A value of lists and dicts, in which one, anywhere, is replaced by a wrong one or left out."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.1:
        return dice.choice(wrong)
    copy = value.copy()
    key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
    if dice.random() < 0.1:
        del copy[key]
    else:
        copy[key] = replaced(copy[key], dice, wrong)
    return copy


def wrong_value(content: bytes, dice: random.Random) -> bytes:
    """A JSON file with one wrong value, and the right checksum for it."""
    values = json.loads(content)
    values.pop("checksum", None)
    values = replaced(values, dice, WRONG)
    if isinstance(values, dict):
        values = {"checksum": reading.checksum(values)} | values
    return json.dumps(values).replace(f'"{DEEP}"', DEEP).encode()


def wrong_line(content: bytes, dice: random.Random) -> bytes:
    """A record of training with one wrong value."""
    lines = content.splitlines()
    at = dice.randrange(len(lines))
    lines[at] = json.dumps(replaced(json.loads(lines[at]), dice, WRONG)).replace(f'"{DEEP}"', DEEP).encode()
    return b"\n".join(lines) + b"\n"


def wrong_tensor(content: bytes, dice: random.Random) -> bytes:
    """A whole checkpoint with one wrong value."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    state["model"] = dict(state["model"])
    tensors = [torch.zeros(()), torch.zeros(3), torch.full((2, 3), float("nan")), torch.zeros(1).expand(10**6, 10**6)]
    file = io.BytesIO()
    torch.save(replaced(state, dice, [*WRONG, *tensors, torch.ones(2, dtype=torch.int64)]), file)
    return file.getvalue()


def wrong_array(content: bytes, dice: random.Random) -> bytes:
    """A whole evaluation with one wrong array."""
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    name = dice.choice([*arrays, "settings", "tasks"])
    arrays[name] = dice.choice([np.zeros(3), np.zeros((2, 2), int), np.array("x"), np.array([None]), np.zeros(0)])
    if name == "settings" or dice.random() < 0.3:
        arrays["settings"] = np.array(
            wrong_value(str(np.load(io.BytesIO(content))["settings"]).encode(), dice).decode()
        )
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def alike(a: Any, b: Any) -> bool:
    """Whether two results are the same to the bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, torch.Tensor | np.ndarray) and type(a) is type(b):
        return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
    return type(a) is type(b) and a == b


def outcome(kind: Kind, content: bytes, right: Any, whole: dict[Path, bytes], blamed: str) -> str:
    """What becomes of a damaged file, of which a message must name the folder, `blamed`; all files are put back."""
    kind.path.write_bytes(content)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = kind.read()
        return RIGHT if alike(found, right) else OTHER
    except BadInput as error:
        return NAMED if blamed in str(error) and "\n" not in str(error) else f"{TRACEBACK}: {error}"
    except Exception as error:
        return f"{TRACEBACK}: {type(error).__name__}: {error}"[:300]
    finally:
        restored(kind.path.parent, whole)


def restored(folder: Path, whole: dict[Path, bytes]) -> None:
    """Put back what a folder held."""
    for path in folder.iterdir():
        if path.is_file() and path not in whole:
            path.unlink()
    for path, content in whole.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def outcomes(kind: Kind, cases: int, seed: int, wrong: bool) -> Counter[str]:
    """How many cases of a kind end how."""
    with contextlib.redirect_stdout(io.StringIO()):
        right = kind.read()
    whole = {path: path.read_bytes() for path in kind.path.parent.iterdir() if path.is_file()}
    state = kind.path.stat()
    harm = kind.wrong if wrong and kind.wrong else damaged
    blamed = "" if wrong else str(kind.path.parent)  # of whole files, another may be the one that does not fit
    found: Counter[str] = Counter()
    for case in range(cases):
        dice = random.Random(f"{seed} {kind.path.name} {case}")
        found[outcome(kind, harm(whole[kind.path], dice), right, whole, blamed)] += 1
        os.utime(kind.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return found


def flips(folder: Path, config: Config, number: int, seed: int) -> str:
    """A run is resumed from a checkpoint with a flipped bit in a tensor, so many times."""
    run, dice = folder / "run", random.Random(seed)
    final = (run / "model.safetensors").read_bytes()
    state = checkpoint.read_state(run / "latest.ckpt")
    tensors = [t for t in state["model"].values() if t.numel() > 8]
    named = same = 0
    for _ in range(number):
        again = folder / "again"
        shutil.copytree(run, again)
        (again / "model.safetensors").unlink()
        stored = bytearray((again / "latest.ckpt").read_bytes())
        part = dice.choice(tensors).numpy().tobytes()
        stored[stored.index(part) + dice.randrange(len(part))] ^= 1 << dice.randrange(8)
        (again / "latest.ckpt").write_bytes(stored)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            train(config, HERE, again)
        named += "latest.ckpt is damaged" in said.getvalue()
        same += (again / "model.safetensors").read_bytes() == final
        shutil.rmtree(again)
    return f"{number} bits flipped in tensors of a checkpoint: {named} named, {same} resumed to the same weights"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300, metavar="N", help="of each kind of file (default: 300)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        with contextlib.redirect_stdout(io.StringIO()):
            config, kinds = made(folder)
        for wrong, heading in ((False, "damage"), (True, "wrong values")):
            print(f"\n| {heading} | cases | {' | '.join(OUTCOMES)} |\n|---|" + "---|" * (len(OUTCOMES) + 1))
            for name, kind in kinds.items():
                if wrong and not kind.wrong:
                    continue
                found = outcomes(kind, given.cases, given.seed, wrong)
                tracebacks = [what for what in found if what.startswith(TRACEBACK)]
                numbers = [found[RIGHT], found[NAMED], sum(found[what] for what in tracebacks), found[OTHER]]
                print(f"| {name} | {given.cases} | {' | '.join(map(str, numbers))} |", flush=True)
                for what in tracebacks:
                    print(what, file=sys.stderr)
                bad += numbers[2]
        print(f"\n{flips(folder, config, 20, given.seed)}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

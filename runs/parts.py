"""Parts of runs/gpu.sh and runs/founding.sh that take more than a line of shell. `parts.py PART`, one of:

    render        compile the renderer of every dataset
    resume        kill runs with SIGKILL, resume them, and compare their weights with those of runs that were not killed
    workers       what runs of some seconds say of speed and of waiting for data, by number of workers
    figures JSON  a line of what `gqn bench step` found
    slice RUN     a line on how far a run has come

Their flags come from the shell: TRAIN of every training, GPU if it is on one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

TRAIN, GPU = os.environ.get("TRAIN", "").split(), bool(os.environ.get("GPU"))
SECONDS = 45 if GPU else 6  # of a run with some number of workers; recording all graphs takes half a minute
RUNNING: list[subprocess.Popen] = []
FOUNDING = ["--precision", "bf16-mixed"] if GPU else []


def started(preset: str, logdir: Path, *flags: str) -> subprocess.Popen:
    """A training in the background, in a folder of its own."""
    command = [sys.executable, "-m", "gqn", "train", preset, *TRAIN, *flags, "--logdir", str(logdir)]
    RUNNING.append(subprocess.Popen(command, start_new_session=True))
    return RUNNING[-1]


def ended(run: subprocess.Popen, signum: int) -> None:
    """Send a signal to a training and its workers, and wait."""
    if run.poll() is None:
        os.killpg(run.pid, signum)
    run.wait()


def only(logdir: Path, name: str) -> Path | None:
    """A file of the only run in a folder, if it is there."""
    return next(logdir.glob(f"*/{name}"), None)


def difference(a: Path, b: Path) -> float:
    """The largest between the weights of two runs."""
    one, other = (load_file(only(logdir, "model.safetensors")) for logdir in (a, b))
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def resume() -> None:
    """All runs at once, as they leave most of a GPU idle."""
    length = ["-t", "3200", "-f", "800"] if GPU else ["-t", "60", "-f", "6"]
    kinds = {"plain": []} | ({"deterministic": ["--representation", "tower", "--deterministic"]} if GPU else {})
    with tempfile.TemporaryDirectory() as folder:
        place = {kind: (Path(folder, kind), Path(folder, f"{kind} killed")) for kind in kinds}
        runs = {kind: [started("demo", at, *flags, *length) for at in place[kind]] for kind, flags in kinds.items()}
        alive = {kind: run for kind, (_, run) in runs.items()}
        while alive:
            for kind, run in [*alive.items()]:
                if only(place[kind][1], "latest.ckpt") or run.poll() is not None:
                    ended(alive.pop(kind), signal.SIGKILL)
                    print(f"{kind}: killed with {run.returncode} after a checkpoint", flush=True)
            time.sleep(0.02)
        again = [started("demo", place[kind][1], *flags, *length) for kind, flags in kinds.items()]
        for run in [*(straight for straight, _ in runs.values()), *again]:
            if run.wait():
                sys.exit(f"a training failed with {run.returncode}")
        found = {kind: difference(*place[kind]) for kind in kinds}
    print(*(f"{kind}: largest difference of a weight {largest:.3g};" for kind, largest in found.items()))
    if found["plain" if not GPU else "deterministic"]:
        sys.exit("a resumed run ended with other weights")


def records(run: Path, kind: str) -> list[dict]:
    """What a run recorded of a kind."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def lately(run: Path) -> str:
    """A run's speed between its last records."""
    few = records(run, "train")[-10:]
    if len(few) < 2 or few[-1]["seconds"] <= few[0]["seconds"]:
        return "too few records for a speed"
    taken = few[-1]["seconds"] - few[0]["seconds"]
    rate = (few[-1]["samples"] - few[0]["samples"]) / taken
    return f"{rate:.0f} samples/s, waiting for data {few[-1]['waiting_for_data']:.1%} of the time"


def workers() -> None:
    """One number after the other."""
    said = []
    for number in ("8", "16") if GPU else ("1",):
        with tempfile.TemporaryDirectory() as folder:
            run = started("founding", Path(folder), *FOUNDING, "-t", "7000000", "--workers", number)
            try:
                run.wait(SECONDS)
            except subprocess.TimeoutExpired:
                ended(run, signal.SIGTERM)
            if run.returncode not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
                sys.exit(f"a training failed with {run.returncode}")
            journal = only(Path(folder), "metrics.jsonl")
            said.append(f"{number} workers: {lately(journal.parent) if journal else 'nothing recorded yet'}")
    print("; ".join(said))


def figures(path: Path) -> None:
    """Samples per second of each form, how many times the textbook's that is, and the shares of the machine's best."""
    forms = {name: form for name, form in json.loads(path.read_text()).items() if isinstance(form, dict)}
    print(
        *(
            f"{name} {form['samples_per_second']}/s x{form['times_textbook']} matrix {form['share_of_best']} "
            f"memory {form['share_of_memory']};"
            for name, form in forms.items()
            if "launches" in form
        )
    )


def slice_of(run: Path) -> None:
    """How far it has come."""
    trained, validated = records(run, "train"), records(run, "val")
    done = f"{trained[-1]['samples']:,} samples" if trained else "no record yet"
    mse = f"MSE {validated[-1]['mse']:.5f} after {validated[-1]['samples']:,}" if validated else "not validated yet"
    print(f"{run.name}: {done}, {mse}, {lately(run)}")


def render() -> None:
    """A small frame of each."""
    from gqn.data.sources import scene
    from gqn.data.specification import DATASETS

    for name in DATASETS:
        scene(name, 0, 1, 16)


if __name__ == "__main__":
    known = {"render": render, "resume": resume, "workers": workers, "figures": figures, "slice": slice_of}
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        known[sys.argv[1]](*map(Path, sys.argv[2:]))
    finally:
        for run in RUNNING:
            ended(run, signal.SIGKILL)

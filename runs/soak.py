"""Nothing is lost in the long run: training that is interrupted again and again, or the viewer with several clients.

    .venv/bin/python runs/soak.py train [--seconds 3600] [--between 20 60] [-t SAMPLES]
    .venv/bin/python runs/soak.py viewer [--seconds 3600] [--clients 4] [--run RUN]

`train` first trains a small run without a stop. Then it trains it over and over: each time between so many seconds the
run is ended by SIGKILL or SIGINT, at random, and the same command goes on, until the run is done. Its weights and its
validations must be those of the first run, its records of the same steps, and no temporary file may be left. `viewer`
prints the server's memory over time, errors, and percentiles of the time to answer.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from viewer_load import crowd, served, table

FLAGS = (
    "founding --image-size 16 -c 2 --representation tower --representation-maps 8 -s 2 -u 4 --num-canvas-maps 4 -b 4 "
    "--val-freq 400 --num-val-samples 64 --workers 1"
).split()
TEMPORARY = (".part", ".damaged", ".gone", ".new.ckpt")  # ends of names of files that must not be left

STARTED: list[subprocess.Popen] = []


def start(logdir: Path, samples: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "gqn", "train", *FLAGS, "-t", str(samples), "--logdir", str(logdir)]
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    STARTED.append(run := subprocess.Popen(command, **options))
    return run


def left(logdir: Path) -> tuple[str, list, list[str]]:
    """What a run left: the digest of its weights, its validations and the steps of its records, and temporary files."""
    (folder,) = logdir.glob("[!.]*")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [record if record["kind"] == "val" else record["step"] for record in records]
    files = [path.name for path in logdir.rglob("*") if path.name.endswith(TEMPORARY)]
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(), kept, files


def interrupted(logdir: Path, samples: int, between: tuple[float, float], rng: random.Random) -> tuple[int, list[str]]:
    """Train until the run is done, with stops at random; the number of stops, and what went wrong."""
    stops, wrong = 0, []
    while True:
        run = start(logdir, samples)
        try:
            said = run.communicate(timeout=rng.uniform(*between))[0]
        except subprocess.TimeoutExpired:
            stops += 1
            kill = rng.random() < 0.5
            os.killpg(run.pid, signal.SIGKILL if kill else signal.SIGINT)
            try:
                said = run.communicate(timeout=60)[0]
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                return stops, [*wrong, f"SIGINT did not end it: {run.communicate()[0]}"]
            if run.returncode not in ((-9,) if kill else (0, 130)) or "Traceback" in said:
                wrong.append(f"{run.returncode}: {said}")
        else:
            return stops, wrong + ([said] if run.returncode or "Traceback" in said else [])


def train(given: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rng, root = random.Random(given.seed), Path(tempfile.mkdtemp())
    began = time.monotonic()
    first = start(root / "straight", given.samples)
    said = first.communicate()[0]
    assert first.returncode == 0, said
    expected = left(root / "straight")
    print(f"straight: {time.monotonic() - began:.0f} s, weights {expected[0][:16]}", flush=True)
    began, runs, bad, stops = time.monotonic(), 0, 0, 0
    while time.monotonic() - began < given.seconds:
        logdir = root / f"run{runs}"
        times, wrong = interrupted(logdir, given.samples, given.between, rng)
        if not wrong:
            found = left(logdir)
            names = ("weights differ", "records differ", "temporary files are left")
            wrong = [name for name, a, b in zip(names, found, expected, strict=True) if a != b]
        runs, stops, bad = runs + 1, stops + times, bad + bool(wrong)
        print(f"run {runs}: stopped {times} times: {'; '.join(wrong) or 'the same'}", flush=True)
        if not wrong:
            shutil.rmtree(logdir)
    print(f"{runs} runs, {stops} stops: {bad} not as the straight one" + (f"; see {root}" if bad else ""))
    if not bad:
        shutil.rmtree(root)
    return int(bad > 0)


def view(given: argparse.Namespace) -> int:
    every, times, errors = given.seconds / 10, {}, []
    with served(given.run) as (address, pid):
        for part in range(10):
            some, wrong = asyncio.run(crowd(address, given.clients, every, all_=True, first=part * 1000))
            for kind, seconds in some.items():
                times.setdefault(kind, []).extend(seconds)
            errors += wrong
            print(f"after {(part + 1) * every:.0f} s: {resident(pid)} MB, {len(errors)} errors", flush=True)
    print(table(times), *sorted(set(errors)), sep="\n")
    return int(bool(errors))


def resident(pid: int) -> int:
    """Resident memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    add = parts.add_parser("train")
    add.set_defaults(act=train)
    add.add_argument("--seconds", type=float, default=3600)
    add.add_argument("--between", type=float, nargs=2, default=(20, 60), metavar=("LEAST", "MOST"), help="seconds")
    add.add_argument("-t", "--samples", type=int, default=40_000)
    add.add_argument("--seed", type=int, default=0)
    add = parts.add_parser("viewer")
    add.set_defaults(act=view)
    add.add_argument("--seconds", type=float, default=3600)
    add.add_argument("--clients", type=int, default=4)
    add.add_argument("--run", default="sm5-64")
    given = parser.parse_args()
    try:
        return given.act(given)
    finally:
        for run in STARTED:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())

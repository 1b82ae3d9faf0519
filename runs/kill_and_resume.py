"""Kill a training run with SIGKILL at five random moments, resume it each time, and compare its weights with those of a
run that was never interrupted: they must be equal bit for bit.

    .venv/bin/python runs/kill_and_resume.py
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KILLS = 5
FLAGS = "--num-train-samples 1600 --val-freq 160 --num-val-samples 16 --workers 1".split()


def start(logdir: Path) -> subprocess.Popen:
    command = [Path(sys.executable).parent / "gqn", "train", "demo", *FLAGS, "--logdir", logdir]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)


def weights(logdir: Path) -> str:
    (file,) = logdir.glob("*/model.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    root = Path(tempfile.mkdtemp())
    began = time.monotonic()
    assert start(root / "straight").wait() == 0
    took = time.monotonic() - began
    expected = weights(root / "straight")
    print(f"straight: {took:.0f} s, weights {expected[:16]}", flush=True)
    equal = 0
    for i in range(KILLS):
        logdir = root / f"killed{i}"
        run = start(logdir)
        moment = random.uniform(0.05, 0.95) * took
        time.sleep(moment)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        nothing = "it had just finished" if any(logdir.glob("*/model.safetensors")) else "from the start"
        resumed = start(logdir)
        said = resumed.communicate()[0]
        assert resumed.returncode == 0, said
        went_on = next((line for line in said.splitlines() if "going on after step" in line), nothing)
        got = weights(logdir)
        equal += got == expected
        print(f"killed after {moment:.1f} s, {went_on.split(': ')[-1]}: weights {got[:16]}", flush=True)
    shutil.rmtree(root)
    print(f"{equal} of {KILLS} resumed runs end with the weights of the straight one")
    return 0 if equal == KILLS else 1


if __name__ == "__main__":
    sys.exit(main())

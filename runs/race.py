"""A race of recipes: the same data and processor time for each, then prior samples of held-out scenes.

.venv/bin/python runs/race.py [--budget 300] [--scenes 500] [TRIAL ...]

A trial is the preset `demo` with some flags. Two short runs say what a sample costs it; its run is then as long, and
its schedules as stretched, as the budget allows: processor seconds of training, data included, in one process of one
thread. So trials can be compared that ran beside other work. Rows of a Markdown table; runs go to log/race.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

GQN = str(Path(sys.executable).with_name("gqn"))
LOG = Path("log/race")
METRICS = ("mse", "mse_of_mean", "excess", "kl", "ssim")
TRIALS = {
    "demo": "",
    "adam": "--optimizer adam",
    "pixel std falls": "-pi 1",
    "three latent maps": "-l 3",
    "joint look": "--joint-downsampling",
    "four steps": "-s 4",
    "six steps": "-s 6",
    "lr 8e-3": "-ri 8e-3",
    "lr 2e-3": "-ri 2e-3",
    "batch 4": "-b 4",
    "batch 16": "-b 16",
    "two queries": "-b 4 --num-queries 2",
    "bf16": "--precision bf16-mixed",
    "pixel std 0.5": "-pf 0.5",
    "late pixel std": "--pixel-std-fraction 0.9",
    "whole kernels": "--representation lattice",
    "narrower lattice": "--representation-maps 64",
    "narrower states": "-u 48",
    "tower": "--representation tower",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    parser.add_argument("--budget", type=float, default=300, help="processor seconds (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=500, help="held-out scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if unknown := [name for name in given.trials if name not in TRIALS]:
        parser.error(f"there is no trial {unknown[0]!r}: give one of {', '.join(TRIALS)}")
    head = ["trial", "flags", "samples", "MSE", "MSE of the mean of 2", "loss - floor", "KL", "SSIM"]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for name in given.trials or TRIALS:
        flags = [*TRIALS[name].split(), "--seed", str(given.seed)]
        suffix = f"_{name.replace(' ', '_')}_{given.seed}"
        (few, some), short = (320, 1600), {}
        for samples in (few, some):
            short[samples] = spent([*flags, "-t", str(samples), f"--run-suffix={suffix}_short"])
        samples = int(given.budget * (some - few) / (short[some] - short[few])) // 32 * 32
        spent([*flags, "-t", str(samples), f"--run-suffix={suffix}"])
        [folder] = LOG.glob(f"*{suffix}")
        measure = ["--scenes", str(given.scenes), "--samples", "2", "--importance-samples", "1"]
        subprocess.run([GQN, "eval", str(folder), *measure], check=True, stdout=subprocess.DEVNULL)
        found = json.loads((folder / "eval.json").read_text())["results"]["3"]["gqn"]
        cells = [f"{found[m]['mean']:.5g} ± {found[m]['stderr']:.1g}" for m in METRICS]
        print(" | ".join([f"| {name}", f"`{TRIALS[name]}`", f"{samples:,}", *cells]), "|", flush=True)


def spent(flags: list[str]) -> float:
    """Processor seconds that a training takes."""
    command = [GQN, "train", "demo", "--logdir", str(LOG), "-f", "100000000", "--no-resume", *flags]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

"""Draw the validation curve of one or more runs: MSE of prior samples, and KL, against the minutes of training.

.venv/bin/python runs/curve.py OUT.png RUN [RUN ...]
"""

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from gqn import config as configs


def main(out: str, *runs: str) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for run in map(Path, runs):
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        train, val = ([r for r in records if r["kind"] == kind] for kind in ("train", "val"))
        when = np.interp([r["samples"] for r in val], *([r[x] for r in train] for x in ("samples", "seconds"))) / 60
        left.plot(when, [r["mse"] for r in val], ".-", label=f"{run.name}: prior sample")
        left.plot(when, [r["posterior_mse"] for r in val], "--", color=left.lines[-1].get_color(), label="posterior")
        right.plot(when, [r["kl"] for r in val], ".-")
    most = configs.read(run / "config.json").data.max_context_size
    left.set(xlabel="minutes", ylabel="MSE", ylim=(0, None), title=f"validation, 1-{most} context views")
    right.set(xlabel="minutes", ylabel="KL (nats per image)", ylim=(0, None))
    left.legend(fontsize=7)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])

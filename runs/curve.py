"""Draw the validation curve of one or more runs: MSE of prior samples, and KL, against training samples.

.venv/bin/python runs/curve.py OUT.png RUN [RUN ...]
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def main(out: str, *runs: str) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for run in map(Path, runs):
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        val = [r for r in records if r["kind"] == "val"]
        samples = [r["samples"] / 1000 for r in val]
        left.plot(samples, [r["mse"] for r in val], label=f"{run.name}: prior sample")
        left.plot(samples, [r["posterior_mse"] for r in val], "--", color=left.lines[-1].get_color(), label="posterior")
        right.plot(samples, [r["kl"] for r in val])
        if (run / "eval.json").exists():
            context, found = next(iter(json.loads((run / "eval.json").read_text())["results"].items()))
            floor = found["mean image"]["mse"]["mean"]
            left.axhline(floor, color="grey", lw=0.8, label=f"mean image ({context} context views)")
    left.set(xlabel="thousand training samples", ylabel="MSE", ylim=(0, None), title="validation, 1-4 context views")
    right.set(xlabel="thousand training samples", ylabel="KL (nats per image)", ylim=(0, None))
    left.legend(fontsize=7)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])

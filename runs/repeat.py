"""Evaluate a row of RESULTS.md again on a few scenes, and check that the published numbers lie within the error bars.

    .venv/bin/python runs/repeat.py NAME [--scenes 50] [--run RUN]

The scenes are the first of those that the row is of. A number must lie within three standard errors of these scenes:
of many numbers, one in a few hundred does not by chance. RUN is where the model is, if not where it was.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from gqn.errors import BadInput
from gqn.evaluation.evaluate import Settings, evaluate
from gqn.evaluation.results import MODEL, Results
from gqn.sharing.card import COLUMNS

KEPT = Path(__file__).parent / "results"
BARS = 3  # standard errors


def settings(published: dict, scenes: int) -> Settings:
    """Of the published evaluation, on so many scenes at most."""
    return Settings(
        context=published["context_views"],
        scenes=min(scenes, published["scenes"]),
        samples=published["samples"],
        importance_samples=published["draws"],
        dataset=published["dataset"],
        data=published["data"] or "",
    )


def outside(published: dict, again: Results) -> list[str]:
    """The published numbers of RESULTS.md that are not within the error bars, each as a line."""
    lines = []
    for context, found in published["results"].items():
        for who, numbers in found.items():
            summary = again.summary(int(context), who)
            for metric in [metric for metric in COLUMNS if metric in numbers]:
                then, now, bar = numbers[metric]["mean"], summary[metric]["mean"], summary[metric]["stderr"]
                if abs(then - now) > BARS * bar + 1e-6 * abs(now):  # rounding, where all scenes have one value
                    lines.append(f"{who}, {context} views, {metric}: published {then:.6g}, now {now:.6g} ± {bar:.2g}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help=f"one of {', '.join(sorted(path.stem for path in KEPT.glob('*.json')))}")
    parser.add_argument("--scenes", type=int, default=50, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--run", metavar="RUN", help="the model (default: what was evaluated)")
    given = parser.parse_args()
    try:
        published = json.loads((KEPT / f"{given.name}.json").read_text())
        with tempfile.TemporaryDirectory() as folder:
            run = given.run or published["evaluation"]["run"]
            again = evaluate(run, settings(published, given.scenes), Path(folder))
    except (BadInput, OSError) as error:
        sys.exit(f"{error}")
    assert again
    for context in again.contexts:
        now, then = again.summary(context, MODEL)["mse"], published["results"][str(context)][MODEL]["mse"]
        print(
            f"{context} context views: MSE {then['mean']:.5f} ± {then['stderr']:.5f} of {published['scenes']:,} "
            f"scenes; {now['mean']:.5f} ± {now['stderr']:.5f} of the first {len(again.tasks)}"
        )
    lines = outside(published, again)
    for line in lines:
        print(line)
    print(f"{given.name}: {len(lines) or 'no'} published numbers are more than {BARS} standard errors away")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Write RESULTS.md from the evaluations in runs/results, each an eval.json under a name of its own: one row for each.

    cp log/RUN/eval.json runs/results/NAME.json
    .venv/bin/python runs/results.py

An evaluation of a run that says in training.json what it took holds all that a row needs; of an older run, write that
file first: {"samples", "seconds", "machine", "command", "version", "commit"}.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from gqn.evaluation.results import MEAN_IMAGE, MODEL, NEAREST, cells
from gqn.runtime.console import duration
from gqn.sharing.card import command, table

ROOT = Path(__file__).parents[1]
KEPT, WRITTEN = ROOT / "runs" / "results", ROOT / "RESULTS.md"
HEAD = """# Results

`runs/results.py` writes this file from the evaluations in `runs/results`. One sample from the prior for each held-out
scene; mean ± standard error over scenes; the baselines are the nearest context view and the mean image, and `*` marks
more context views than in training. `docs/evaluation.md` says what each number means. A row is repeated by its commands
at the commits beside them, and checked on a few scenes by `runs/repeat.py NAME`.
"""
COLUMNS = ["", "data", "preset", "samples", "wall-clock", "hardware", "context views", "MSE", *(NEAREST, MEAN_IMAGE)]


def load(path: Path) -> dict[str, Any]:
    """An evaluation, which must say where it comes from."""
    found = json.loads(path.read_text())
    for part in ("evaluation", "training"):
        if not found.get(part):
            sys.exit(f"{path.name} has no {part!r}: write training.json into the run's folder, and gqn eval it again")
    return found


def preset(command: str) -> str:
    """The preset of a `gqn train` command."""
    words = shlex.split(command)
    after = words[words.index("train") + 1 :] if "train" in words else []
    return after[0] if after and not after[0].startswith("-") else "founding"


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the table of all runs, with the MSE at each number of context views."""
    took = found["training"]
    at = found["results"]
    mse = {who: "<br>".join(cells(at[k][who])["mse"] for k in at) for who in (MODEL, NEAREST, MEAN_IMAGE)}
    cells_of_row = [
        f"[{name}](#{name})",
        f"{found['dataset']}, {found['image_size']} px",
        preset(took["command"]),
        f"{took['samples']:,}",
        duration(took["seconds"]),
        took["machine"],
        "<br>".join(at),
        *mse.values(),
    ]
    return f"| {' | '.join(cells_of_row)} |"


def section(name: str, found: dict[str, Any]) -> str:
    """A run's numbers, and the commands that make them."""
    scenes = "in files" if found["data"] else "rendered"
    return f"""## {name}

{found["scenes"]:,} held-out scenes of {found["dataset"]} at {found["image_size"]} px, {scenes}; bounds at a pixel std
of {found["pixel_std"]}.

{table(found)}

```
{command(found["training"])}
{command(found["evaluation"])}
```
"""


def written(evaluations: dict[str, dict[str, Any]]) -> str:
    """RESULTS.md, given evaluations by name."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    rows += [row(name, found) for name, found in evaluations.items()]
    return "\n".join([HEAD, *rows, "", *(section(name, found) for name, found in evaluations.items())])


def main() -> None:
    evaluations = {path.stem: load(path) for path in sorted(KEPT.glob("*.json"))}
    if not evaluations:
        sys.exit(f"there are no evaluations in {KEPT.relative_to(ROOT)} yet")
    WRITTEN.write_text(written(evaluations))
    print(f"{WRITTEN.name}: {', '.join(evaluations)}")


if __name__ == "__main__":
    main()

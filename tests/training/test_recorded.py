"""The first ten losses of every preset, as recorded: a change of mathematics, data or order of randomness shows.

`python tests/training/test_recorded.py` records them anew, for a change that means to change them.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from gqn.config import PRESETS, Config, Place, preset
from gqn.training import watch
from gqn.training.loop import train

RECIPES = [name for name in PRESETS if name != "fast"]  # the demo for longer
RECORDED = Path(__file__).parent / "recorded_losses.json"
STEPS = 10


def shrunk(name: str) -> Config:
    """A preset at toy width, in float32, with schedules that run their course in ten steps."""
    return preset(
        name,
        image_size=16,
        max_context_size=3,
        representation_maps=16,
        num_steps=3,
        num_recurrent_maps=8,
        num_canvas_maps=8,
        batch_size=4,
        learning_rate_warmup=min(preset(name).optimizer.learning_rate_warmup, 12),
        num_train_samples=4 * STEPS,
        num_val_samples=4,
        val_freq=4 * STEPS,
        precision="32-true",
    )


def first_losses(name: str, folder: Path) -> list[float]:
    train(shrunk(name), Place(workers=0), folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize("name", RECIPES)
def test_first_ten_losses(name, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "LOG_EVERY", 1)
    losses = first_losses(name, tmp_path / "run")
    assert len(losses) == STEPS
    assert losses == pytest.approx(json.loads(RECORDED.read_text())[name], rel=1e-4)


if __name__ == "__main__":
    watch.LOG_EVERY = 1
    with tempfile.TemporaryDirectory() as there:
        found = {name: first_losses(name, Path(there) / name) for name in RECIPES}
    RECORDED.write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(RECORDED.read_text())

"""A run's record: TensorBoard gets curves, histograms and pictures; damage to metrics.jsonl stops no run."""

import json

import pytest
from torch import nn

from gqn.training.journal import Journal


def test_tensorboard_has_curves_histograms_and_pictures(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight)).Reload().Tags()
    assert {"train/loss", "val/excess", "train/learning_rate", "train/pixel_std"} <= set(events["scalars"])
    assert "predictions" in events["images"]
    assert any(name.startswith("gradients/") for name in events["histograms"])


def line(step):
    return json.dumps({"kind": "train", "step": step, "samples": 4 * step, "loss": 1.5}).encode() + b"\n"


def reopened(folder, step):
    """What the record holds after a run went on after a step, and recorded the next one."""
    with Journal(folder, step) as journal:
        journal.numbers("train", step + 1, 4 * step + 4, {"loss": 1.5})
    return (folder / "metrics.jsonl").read_bytes()


DAMAGED = [
    b"\xff\xfe\n",
    b'{"kind": "train", "step": null, "samples": 3}\n',
    b'{"kind": "train", "step": "2", "samples": 3}\n',
    b'{"kind": "train", "samples": 3}\n',
    b'{"kind": null, "step": 2, "samples": 3}\n',
    b"[" * 100_000 + b"\n",
    b"3\n",
    b"\n",
    b'{"kind": "train", "st\n',
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_lines_are_put_aside_with_a_line(tmp_path, capfd, damage):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1) + damage + line(2) + line(3))
    assert reopened(tmp_path, 2) == line(1) + line(2) + line(3)
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == line(1) + damage + line(2) + line(3)
    said = capfd.readouterr().err.replace("\n", " ").strip()
    assert said == f"{path} held damaged lines: put aside as metrics.jsonl.damaged"
    path.write_bytes(damage)
    assert reopened(tmp_path, 0) == line(1)
    assert (tmp_path / "metrics.jsonl.damaged1").read_bytes() == damage  # the first is kept


def test_a_line_that_a_killed_process_left_unfinished_is_no_damage(tmp_path, capfd):
    for rest in (line(2)[:10], line(2)[:-1], b""):
        (tmp_path / "metrics.jsonl").write_bytes(line(1) + rest)
        assert reopened(tmp_path, 1) == line(1) + line(2)
    assert capfd.readouterr().err == "" and not list(tmp_path.glob("*.damaged*"))


def test_a_folder_in_its_place_is_put_aside(tmp_path, capfd):
    (tmp_path / "metrics.jsonl").mkdir()
    assert reopened(tmp_path, 0) == line(1)
    assert "held a folder: put aside as metrics.jsonl.damaged" in capfd.readouterr().err.replace("\n", " ")


def test_numbers_that_are_not_finite_are_null(tmp_path):
    with Journal(tmp_path, 0) as journal:
        journal.numbers("val", 1, 4, {"loss": float("nan"), "kl_steps": [float("inf"), 1.0]})
        journal.gradients(1, nn.Linear(1, 1))
    record = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert record["loss"] is None and record["kl_steps"] == [None, 1.0]

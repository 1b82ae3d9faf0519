"""A run's record: `metrics.jsonl`, and TensorBoard events."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from gqn.runtime import reading
from gqn.runtime.console import note


class Journal:
    """Writes a run's record, `metrics.jsonl` and TensorBoard events. Records after `step` are discarded on resume.

    A file with lines that are no records is put aside, with a line on stderr, and training goes on with its records. An
    inactive journal (of a rank other than the first) records nothing.
    """

    def __init__(self, folder: Path, step: int, active: bool = True):
        self.active = active
        if not active:
            return
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "metrics.jsonl"
        if path.is_dir():
            _put_aside(path, "a folder")
        elif path.exists():
            *lines, _ = path.read_bytes().split(b"\n")  # a last line without an end is of a process that was killed
            steps = [_step(line) for line in lines]
            if None in steps:
                _put_aside(path, "damaged lines")
            kept = [line + b"\n" for line, at in zip(lines, steps, strict=True) if at is not None and at <= step]
            part = path.with_name(".metrics.jsonl.part")
            part.write_bytes(b"".join(kept))
            os.replace(part, path)
        self.lines = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
        self.events = SummaryWriter(str(folder), purge_step=step + 1)

    def numbers(self, kind: str, step: int, samples: int, values: dict[str, Any]) -> None:
        """Record values of one kind ("train" or "val"): floats, or lists with a float per generation step."""
        if not self.active:
            return
        record = {"kind": kind, "step": step, "samples": samples, **values}
        self.lines.write(json.dumps(reading.finite(record), allow_nan=False) + "\n")
        for name, value in values.items():
            if isinstance(value, list):
                for i, v in enumerate(value):
                    self.events.add_scalar(f"{kind}/{name}/{i:02d}", v, step)
            else:
                self.events.add_scalar(f"{kind}/{name}", value, step)

    def gradients(self, step: int, model: nn.Module) -> None:
        """Record histograms of the gradients of the last backward pass."""
        if self.active:
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    self.events.add_histogram(f"gradients/{name}", parameter.grad, step)

    def picture(self, step: int, image: Image.Image) -> None:
        """Record a picture of predictions."""
        if self.active:
            self.events.add_image("predictions", np.asarray(image), step, dataformats="HWC")
            self.events.flush()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.active:
            self.lines.close()
            self.events.close()


def _step(line: bytes) -> int | None:
    """The step of a record; None if a line is no record."""
    try:
        record = json.loads(line.decode())
        reading.check(record, {"kind": str, "step": int, "samples": int})
        return record["step"]
    except (ValueError, KeyError, RecursionError):
        return None


def _put_aside(path: Path, what: str) -> None:
    """Rename a record that holds what is no record, and say so."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{number or ''}")).exists():
        number += 1
    path.rename(aside)
    note(f"{path} held {what}: put aside as {aside.name}")

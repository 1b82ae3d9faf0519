"""A run's record: `metrics.jsonl`, and TensorBoard events."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn


class Journal:
    """Writes a run's record, `metrics.jsonl` and TensorBoard events. Records after `step` are discarded on resume.

    An inactive journal (of a rank other than the first) records nothing.
    """

    def __init__(self, folder: Path, step: int, active: bool = True):
        self.active = active
        if not active:
            return
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "metrics.jsonl"
        if path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
            part = path.with_name(".metrics.jsonl.part")
            part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
            os.replace(part, path)
        self.lines = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
        self.events = SummaryWriter(str(folder), purge_step=step + 1)

    def numbers(self, kind: str, step: int, samples: int, values: dict[str, Any]) -> None:
        """Record values of one kind ("train" or "val"): floats, or lists with a float per generation step."""
        if not self.active:
            return
        self.lines.write(json.dumps({"kind": kind, "step": step, "samples": samples, **values}) + "\n")
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


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")  # a line that is incomplete because the process was killed

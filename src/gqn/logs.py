"""What a run says: a JSONL file, TensorBoard events, and a progress bar or, away from a terminal, plain lines."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from torch import nn

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

LINE_EVERY = 20.0  # seconds between lines when nobody watches a bar
STEADY, OVERDUE = 8.0, 25.0  # seconds of steps that tell how long others take; and after which they must have


class Reporter:
    """Progress of long work in steps of `unit`s: a bar on a terminal, else a line every 20 seconds.

    An inactive one (of a rank other than the first) says nothing.
    """

    def __init__(self, task: str, total: int, done: int, unit: str, active: bool = True):
        self.task, self.total, self.done, self.unit = task, total, done, unit
        self.first, self.began, self.spoke = done, time.monotonic(), time.monotonic()
        self.bar = None
        self.active = active
        if active and console.is_terminal and not console.is_dumb_terminal:
            self.bar = Progress(
                BarColumn(20),
                TextColumn("{task.fields[text]}", markup=False, table_column=Column(overflow="fold")),  # nothing is cut
                console=console,
                refresh_per_second=4,
            )
            self.row = self.bar.add_task(task, total=total, completed=done, text=task)

    def __enter__(self) -> "Reporter":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.bar:
            self.bar.stop()

    @property
    def seconds(self) -> float:
        """Since the start of this process's work."""
        return max(time.monotonic() - self.began, 1e-9)

    @property
    def rate(self) -> float:
        """Units per second."""
        return (self.done - self.first) / self.seconds

    def update(self, done: int, numbers: str = "") -> None:
        """Say how far the work is, with the numbers that matter."""
        self.done = done
        now = time.monotonic()
        left = (self.total - done) / max(self.rate, 1e-9)
        text = (
            f"{self.task} {done}/{self.total} ({100 * done / self.total:.1f}%) {self.rate:.0f} {self.unit}/s, "
            f"{_clock(left)} left{' ' + numbers if numbers else ''}"
        )
        if self.bar:
            self.bar.update(self.row, completed=done, text=text)
        elif self.active and (now - self.spoke >= LINE_EVERY or done >= self.total):
            self.spoke = now
            console.print(text)


class Forecast:
    """Says once how long work takes, within about half a minute: as its steps do after the first, which warms up.

    `say` gets seconds, and whether that is the least: then not even one step has ended. In between, `with` keeps watch.
    """

    def __init__(self, total: int, done: int, step: int, say: Callable[[float, bool], None]):
        self.total, self.done, self.step, self.say = total, done, step, say
        self.began = time.monotonic()
        self.first: tuple[int, float] | None = None  # done after the first step, and when
        self.said = False
        self.watch = threading.Timer(OVERDUE, self.overdue)
        self.watch.daemon = True

    def __enter__(self) -> "Forecast":
        self.watch.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.watch.cancel()

    def update(self, done: int, now: float | None = None) -> None:
        """Note how far the work is at a time."""
        now, self.done = time.monotonic() if now is None else now, done
        if self.first is None:
            self.first = done, now
        units, seconds = done - self.first[0], now - self.first[1]
        if seconds >= STEADY:
            self._tell((self.total - done) * seconds / units)

    def overdue(self, now: float | None = None) -> None:
        """Tell what is known by now."""
        now = time.monotonic() if now is None else now
        steps = (self.total - self.done) / self.step
        if self.first is None:
            self._tell(steps * (now - self.began), least=True)
        elif units := self.done - self.first[0]:
            self._tell((self.total - self.done) * (now - self.first[1]) / units)
        else:
            self._tell(steps * (self.first[1] - self.began))

    def _tell(self, seconds: float, least: bool = False) -> None:
        if not self.said:
            self.said = True
            self.say(seconds, least)


class Journal:
    """A run's record, `metrics.jsonl` and TensorBoard events; what lies after `step` is of a lost past and is dropped.

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
        """Histograms of the gradients of the last backward pass."""
        if self.active:
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    self.events.add_histogram(f"gradients/{name}", parameter.grad, step)

    def picture(self, step: int, image: Image.Image) -> None:
        """Predicted images."""
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
        return float("inf")  # a line cut short by a kill


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

"""What a run prints and records while it trains."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn

from gqn.config import Config, Place
from gqn.runtime import devices
from gqn.runtime.console import Forecast, Reporter, duration
from gqn.training.finite import check_terms
from gqn.training.journal import Journal
from gqn.training.step import Recorded
from gqn.views import Task

LOG_EVERY = 50  # steps between two records of the training loss
LONG = 12 * 60  # seconds: a CPU run that takes longer is told how to take less
SHOWN = {"loss": ".1f", "excess": ".1f", "kl": ".2f", "mse": ".5f"}  # beside the progress bar, with formats


@dataclass
class Progress:
    """How far a run has come."""

    done: int = 0  # steps
    best: float = math.inf  # lowest validation loss, minus its floor where it has one
    seconds: float = 0.0  # of training, in all sessions
    recent: dict[str, Tensor] = field(default_factory=dict)
    """Means over ranks of what was recorded in the n steps since the last record, (n, ...)."""

    def add(self, recorded: dict[str, Tensor]) -> None:
        """Append further steps. What is there is dropped if it is not of the same kind: of another version."""
        if {name: x.shape[1:] for name, x in self.recent.items()} == {
            name: x.shape[1:] for name, x in recorded.items()
        }:
            recorded = {name: torch.cat([self.recent[name].to(x), x]) for name, x in recorded.items()}
        self.recent = recorded


class Watch:
    """While open, writes a run's journal, shows its progress, and predicts once how long the run takes.

    Only the first rank prints and records, but all ranks must make the same calls: some of them communicate.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: Config,
        place: Place,
        folder: Path,
        progress: Progress,
        say: Callable[[str], None],
    ):
        self.fabric, self.config, self.folder, self.progress = fabric, config, folder, progress
        self.unchecked: list[tuple[int, Recorded]] = []  # steps since the last check, with their values
        self.before, self.waited, self.numbers = progress.seconds, 0.0, ""
        first, size = fabric.is_global_zero, config.optimizer.batch_size
        total, done = config.steps * size, progress.done * size
        self.journal = Journal(folder, progress.done, active=first)
        self.report = Reporter("train", total, done, "samples", active=first)
        self.forecast = Forecast(total, done, size, partial(foretell, config, place, say))

    def __enter__(self) -> "Watch":
        self.stack = ExitStack()
        for part in (self.journal, self.report, self.forecast):
            self.stack.enter_context(part)
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stack.__exit__(*exception)

    def fetch(self, tasks: Iterator[Task]) -> Task:
        """The next batch; the time spent waiting for it is recorded."""
        asked = time.monotonic()
        task = next(tasks)
        self.waited += time.monotonic() - asked
        return task

    def stepped(self, recorded: Recorded, pixel_std: float, learning_rate: float, check: bool) -> None:
        """Note a step; every LOG_EVERY steps, record the means over the steps since the last record.

        NotFinite if a term of one of these steps is not finite. This is checked before each record, and if `check`: a
        checkpoint can be saved then, as `progress` holds all steps since the last record.
        """
        progress, size = self.progress, self.config.optimizer.batch_size
        self.unchecked.append((progress.done, recorded))
        progress.done += 1
        progress.seconds = self.before + self.report.seconds
        record = progress.done % LOG_EVERY == 0 or progress.done == self.config.steps
        if record or check:
            check_terms(self.fabric, self.unchecked, self.config.steps, self.folder)
            progress.add(
                {
                    name: devices.over_ranks(self.fabric, [values[name] for _, values in self.unchecked])
                    for name in recorded
                }
            )
            self.unchecked.clear()
        if record:
            values = {name: each.mean(0).tolist() for name, each in progress.recent.items()}
            progress.recent = {}
            shown = [name for name in SHOWN if name in values and not (name == "loss" and "excess" in values)]
            self.numbers = "  ".join(f"{name} {values[name]:{SHOWN[name]}}" for name in shown)
            speed = {
                "pixel_std": pixel_std,
                "learning_rate": learning_rate,
                "samples_per_second": self.report.rate,
                "seconds": progress.seconds,
                "waiting_for_data": self.waited / self.report.seconds,
            }
            self.journal.numbers("train", progress.done, progress.done * size, values | speed)
        self.report.update(progress.done * size, self.numbers)
        self.forecast.update(progress.done * size)

    def validated(self, scores: dict[str, float], model: nn.Module, picture: Image.Image) -> bool:
        """Record a validation; returns whether it is the best so far."""
        done, self.progress.seconds = self.progress.done, self.before + self.report.seconds
        loss = scores.get("excess", -scores["elbo"])
        improved, self.progress.best = loss < self.progress.best, min(self.progress.best, loss)
        self.journal.numbers("val", done, done * self.config.optimizer.batch_size, scores)
        self.journal.gradients(done, model)
        self.journal.picture(done, picture)
        return improved


def foretell(config: Config, place: Place, say: Callable[[str], None], seconds: float, least: bool) -> None:
    """Print how long training takes, at `least` or about; if that is long on a CPU, also how to take less."""
    long = f"{seconds:.0f} s" if seconds < 60 else duration(seconds)
    long = f"{seconds / 86400:,.0f} days" if seconds > 2 * 86400 else long
    say(f"this takes {'more than' if least else 'about'} {long} from here")
    if seconds > LONG and not place.gpu:
        say(
            f"for less: fewer `num_train_samples` than {config.run.num_train_samples:,}, a smaller `image_size`, or "
            "`gpu`; weights that are ready: gqn figure predictions sm5-32; to go on with them: `init=sm5-32`"
        )

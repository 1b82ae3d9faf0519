"""Console output: lines, and progress as a bar on a terminal or as plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Naming = Callable[[str], str]

_naming: Naming = str


@contextmanager
def naming(options: Naming) -> Iterator[None]:
    """While open, printed text goes through `options`, which rewrites Python names (`batch_size`), as to flags."""
    global _naming
    before, _naming = _naming, options
    try:
        yield
    finally:
        _naming = before


def named(error: BaseException) -> str:
    """The message of an error, with options named as the user gives them."""
    return _naming(str(error))


def say(text: str) -> None:
    """Print a line for the user."""
    console.print(_naming(text), markup=False)


def note(text: str) -> None:
    """Print a line on stderr about a problem that does not stop the work."""
    errors.print(_naming(text), markup=False)


def complain(error: BaseException | str) -> None:
    """Print an error, or a warning, as one line on stderr."""
    print(f"gqn: {_naming(str(error))}", file=sys.stderr)


LINE_EVERY = 20.0  # seconds between lines where there is no bar
# seconds: steps for so long give a steady estimate; after so long there is a report in any case
STEADY, OVERDUE = 8.0, 25.0


class Reporter:
    """Progress of long work in steps of `unit`s: a bar on a terminal, else a line every 20 seconds.

    An inactive reporter prints nothing; ranks other than the first have one.
    """

    def __init__(self, task: str, total: int, done: int, unit: str, active: bool = True):
        self.task, self.total, self.done, self.unit = task, total, done, unit
        self.first, self.began, self.spoke = done, time.monotonic(), time.monotonic()
        self.bar = None
        self.active = active
        if active and console.is_terminal and not console.is_dumb_terminal:
            self.bar = Progress(
                BarColumn(20),
                TextColumn("{task.fields[text]}", markup=False, table_column=Column(overflow="fold")),  # wraps text
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
        """Seconds since the work of this process started."""
        return max(time.monotonic() - self.began, 1e-9)

    @property
    def rate(self) -> float:
        """Units per second, in this process."""
        return (self.done - self.first) / self.seconds

    def update(self, done: int, numbers: str = "") -> None:
        """Report that `done` units are done; `numbers` is text to show with it."""
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
    """Reports once, within about half a minute, how long the remaining work will take.

    The time is estimated from the steps after the first, which is slower. `say` is called with the seconds, and with
    whether they are only a lower bound, as when not even one step has ended. Use it in `with`: this starts a timer, so
    that there is a report even if steps are slow.
    """

    def __init__(self, total: int, done: int, step: int, say: Callable[[float, bool], None]):
        self.total, self.done, self.step, self.say = total, done, step, say
        self.began = time.monotonic()
        self.first: tuple[int, float] | None = None  # units done after the first step, and the time then
        self.said = False
        self.watch = threading.Timer(OVERDUE, self.overdue)
        self.watch.daemon = True

    def __enter__(self) -> "Forecast":
        self.watch.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.watch.cancel()

    def update(self, done: int, now: float | None = None) -> None:
        """Note that `done` units are done, at the time `now`; report once the estimate is steady."""
        now, self.done = time.monotonic() if now is None else now, done
        if self.first is None:
            self.first = done, now
        units, seconds = done - self.first[0], now - self.first[1]
        if seconds >= STEADY:
            self._tell((self.total - done) * seconds / units)

    def overdue(self, now: float | None = None) -> None:
        """Report the best estimate that is available at the time `now`."""
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


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def duration(seconds: float) -> str:
    """A duration as text, in hours and minutes, or in minutes below one hour."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds / 60:.1f} min"

"""Worker processes that make items in advance; what becomes of their errors, and of a worker that is killed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader, Dataset

from gqn.errors import BadInput
from gqn.runtime.stopping import held, leave_signals_to_the_parent

SOON = 1.0  # seconds after an error of an iterator in which a worker is seen to have ended, if this was the cause
_broken: list[Any] = []  # iterators whose worker was killed: freeing one may wait for ever for a lock that it held


def made(items: Dataset, order: Any = None, workers: int = 0, ahead: int = 2, pin: bool = False) -> Iterator[Any]:
    """The items of a dataset, made by `workers` processes, each up to `ahead` items early (0: this process, on demand).

    `order` yields the keys of the items; None stands for the numbers from 0 on. The workers start now and receive no
    signals. A BadInput or OSError raised for an item is raised when the item is reached. If a worker is killed, the
    next item raises BadInput, or, if it is being waited for, does so within about five seconds.
    """
    loader = DataLoader(
        _Guarded(items),
        sampler=order,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=ahead if workers else None,
        worker_init_fn=leave_signals_to_the_parent,
    )
    with held(), _without_alarm():
        iterator: Any = iter(loader)
    return _raised(iterator, iterator._workers if workers else [])


class _Guarded(Dataset):
    """A dataset that returns its errors: an error raised in a worker would reach the user as a traceback."""

    def __init__(self, items: Any):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.items[key]
        except (BadInput, OSError) as error:
            return error


@contextmanager
def _without_alarm() -> Iterator[None]:
    """Undo that torch has the end of a worker raise an error wherever the program is, even where it is swallowed."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _raised(iterator: Iterator[Any], workers: list[BaseProcess]) -> Iterator[Any]:
    while not (ended := _ended(workers)):
        try:
            item = next(iterator)
        except StopIteration:
            return
        except Exception:
            if ended := _ended(workers, SOON):
                break
            raise
        if isinstance(item, (BadInput, OSError)):
            del iterator  # which ends the workers; the error keeps this frame, and would keep them alive
            raise copy(item)
        yield item
    _broken.append(iterator)
    for worker in workers:
        worker.kill()
        worker.join()
    raise BadInput(
        f"a worker process ended by {_cause(ended.exitcode or 0)}, as happens where memory is short: fewer `workers` "
        "need less, and `workers=0` the least"
    )


def _ended(workers: list[BaseProcess], seconds: float = 0.0) -> BaseProcess | None:
    """A worker that has ended, or ends within some seconds."""
    gone = connection.wait([worker.sentinel for worker in workers], seconds) if workers else []
    return next((worker for worker in workers if worker.sentinel in gone), None)


def _cause(code: int) -> str:
    """The signal that ended a process, by name, or else its exit code."""
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"

"""Files that are whole or absent, and folders that one process writes to."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import EAGAIN
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gqn.errors import BadInput


def write(path: Path, write_to: Callable[[Path], Any]) -> None:
    """Write a file whole or not at all: beside its place, flushed to disk, then moved there.

    `write_to` gets the path to write; OSError (a full disk, say) leaves nothing behind.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        write_to(part)
        with open(part, "rb+") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Holds the lock that a file stands for, between processes and threads.

    It ends with the process, however that ends. BlockingIOError if another holds it, unless to `wait` is right; OSError
    if the file cannot be written. Where a file system knows no locks, it does nothing.
    """
    open(path, "a", encoding="utf-8").close()
    lock = FileLock(path, timeout=-1 if wait else 0, poll_interval=0.02, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(EAGAIN, "another process holds it", str(path)) from error
    except OSError:
        pass  # some network file systems know no locks
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a lock beside a folder, which may not be there yet. BadInput if another process holds it."""
    path = folder.with_name(f".{folder.name}.lock")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path))
        except BlockingIOError as error:
            raise BadInput(f"another process is training {folder}: wait for it, or give a --run-suffix") from error
        except OSError as error:
            raise BadInput(f"cannot write the run folder {folder}: {error.strerror}") from error
        yield

"""Atomic writing of files, and locks between processes."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import EAGAIN
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gqn.errors import BadInput


def write(path: Path, write_to: Callable[[Path], Any]) -> None:
    """Write a file atomically: to a temporary file beside it, which is flushed to disk and renamed.

    `write_to` is called with the path to write to. An error, such as OSError for a full disk, leaves no file behind.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        write_to(part)
        with open(part, "rb+") as file:  # Windows can flush only files that are open for writing
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock on a file, which excludes other processes and threads.

    The lock is released when the process ends, even if it is killed. If another holds it, wait if `wait` is set, else
    raise BlockingIOError. OSError if the file cannot be written. Does nothing on file systems without locks.
    """
    open(path, "a", encoding="utf-8").close()
    lock = FileLock(path, timeout=-1 if wait else 0, poll_interval=0.02, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(EAGAIN, "another process holds it", str(path)) from error
    except OSError:
        pass  # some network file systems have no locks
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(folder: Path, way_out: str = "") -> Iterator[None]:
    """Hold a lock for a folder, which need not exist, in a file beside it.

    BadInput if another process holds it; `way_out` says what the user can do besides waiting.
    """
    path = folder.with_name(f".{folder.name}.lock")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path))
        except BlockingIOError as error:
            raise BadInput(f"another process holds {folder}: wait for it{way_out and f', or {way_out}'}") from error
        except OSError as error:
            raise BadInput(f"cannot write {folder}: {error.strerror}") from error
        yield

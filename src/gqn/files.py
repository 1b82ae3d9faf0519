"""Files that are whole or absent, and folders that one process writes to."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gqn.errors import BadInput


def write(path: Path, write_to: Callable[[Path], Any]) -> None:
    """Write a file whole or not at all: beside its place, flushed to disk, then moved there.

    `write_to` gets the path to write; OSError (a full disk, say) leaves nothing behind.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        write_to(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def taking_turns(lock: Path) -> Iterator[None]:
    """Only one process, and one thread of it, at a time, the others wait; also after a kill."""
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing does not, if a worker was forked meanwhile


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a lock beside a folder, which may not be there yet; it ends with the process, however that ends.

    BadInput if another process holds it.
    """
    path = folder.with_name(f".{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115
    except OSError as error:
        raise BadInput(f"cannot write the run folder {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"another process is training {folder}: wait for it, or give a --run-suffix") from error
        except OSError:
            pass  # some network file systems know no locks
        yield

"""Files that are whole or absent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


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

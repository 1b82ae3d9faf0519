"""Find variants (models, scene families, figures) by name: each is a file, and its name is the file's name."""

import difflib
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from gqn.errors import BadInput

ENTRIES = {"models": "Options", "scenes": "Family", "figures": "compute"}
"""What a file must define to be a variant, for each room (subpackage) that has variants."""


def names(room: str) -> list[str]:
    """The names of the variants in a room of the package, sorted."""
    package = importlib.import_module(f"gqn.{room}")
    return sorted(file.stem for folder in package.__path__ for file in Path(folder).glob("*.py") if _is_one(room, file))


def load(room: str, name: str) -> ModuleType:
    """Import the variant `name` of a room, or a module outside of the package by its name, such as `mine.figure`.

    Raises BadInput, with the nearest known name, if there is no such variant; a module that is not a variant is not
    imported. BadInput also if the import fails.
    """
    if name in (known := names(room)):
        return importlib.import_module(f"gqn.{room}.{name}")
    if not any(_is_one(room, file) for file in _outside(name)):
        raise BadInput(unknown(f"name in {room}", name, known))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise BadInput(f"cannot import {name}: {error!r}") from error


def _outside(name: str) -> Iterator[Path]:
    """Files on sys.path that a module of this name may be; found without importing its parent packages."""
    parts = name.split(".")
    if all(part.isidentifier() for part in parts):
        places = (Path(folder, *parts).with_suffix(".py") for folder in sys.path)
        yield from (place for place in places if place.is_file())


def _is_one(room: str, file: Path) -> bool:
    entry = re.compile(rf"^(class|def) {ENTRIES[room]}\b", re.MULTILINE)
    return not file.stem.startswith("_") and bool(entry.search(file.read_text(encoding="utf-8", errors="replace")))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A one-line message that `name` is unknown, with the nearest known name and all known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}.{hint} Known: {', '.join(known)}."

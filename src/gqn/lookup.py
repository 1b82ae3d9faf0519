"""Variants found by name: a model, scene family or figure is a file, and its name is the file's name."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from gqn.errors import BadInput


def names(room: str) -> list[str]:
    """The variants that live in a room of the package (`models`, `scenes`, `figures`), sorted."""
    package = importlib.import_module(f"gqn.{room}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__))


def load(room: str, name: str) -> ModuleType:
    """Import the variant `name` of a room; a dotted name loads a module from outside the package.

    Raises BadInput for an unknown name, with the nearest known one.
    """
    if "." in name:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise BadInput(f"cannot import {name}: {error}") from error
    if name not in (known := names(room)):
        raise BadInput(unknown(f"name in {room}", name, known))
    return importlib.import_module(f"gqn.{room}.{name}")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """One line that says `name` is not known, which one is nearest, and what there is."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}.{hint} Known: {', '.join(known)}."

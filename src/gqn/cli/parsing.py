"""Shared by the commands: parsers whose errors are BadInput, and so one line, and types for the values of flags."""

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from gqn.errors import BadInput

T = TypeVar("T")

DATA = "files of scenes, in a folder or at an address (default: where the run's lay); '' for rendered scenes"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors, and those of its subcommands, are raised as BadInput."""

    def error(self, message: str) -> NoReturn:
        """Raise BadInput with the message; argparse calls this."""
        raise BadInput(f"{message} ({self.prog} --help says what there is)")


def parsed(cli: Callable[..., T], *args: Any, prog: str, hint: str = "", **options: Any) -> T:
    """Call `cli` (`tyro.cli`); instead of printing a box and exiting, an error raises BadInput, with `hint` added."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return cli(*args, prog=prog, **options)
    except SystemExit as stop:
        if not stop.code:
            sys.stderr.write(said.getvalue())
            raise
        message, *more = _parts(said.getvalue())
        near = next((words[3] for part in more if (words := part.split())[:3] == ["Perhaps", "you", "meant:"]), "")
        meant = f": did you mean {near.rstrip(',')}?" if near else ""
        raise BadInput(f"{message}{meant}{hint} ({prog} --help says what there is)") from stop


def _parts(box: str) -> Iterator[str]:
    """The parts of tyro's error box, between its horizontal rules; without the title and the frame."""
    inside = re.sub("[│╰╯]", "", box.strip().partition("\n")[2])
    return (" ".join(part.split()) for part in re.split("[─-]{4,}", inside) if part.strip())


def flags(text: str) -> str:
    """A message with options in backticks, written as in Python, turned into flags: `resume=False` is --no-resume."""

    def flag(found: re.Match) -> str:
        name, _, value = found[1].partition("=")
        name = name.replace("_", "-")
        return f"--no-{name}" if value == "False" else f"--{name}" + f" {value}" * (value not in ("", "True"))

    return re.sub(r"`([a-z_]+(?:=[^`]*)?)`", flag, text)


def whole(text: str) -> int:
    """A whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def positive(text: str) -> int:
    """A whole number, at least 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def positive_or_all(text: str) -> int | None:
    """A whole number, at least 1, or None for "all"."""
    return None if text == "all" else positive(text)


def numbers(text: str) -> list[int]:
    """Positive whole numbers, separated by commas."""
    return [positive(part) for part in text.split(",")]

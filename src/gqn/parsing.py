"""Command lines that are refused in one line, as all bad input is."""

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from gqn.errors import BadInput

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser, also of subcommands, whose errors are BadInput."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message} ({self.prog} --help says what there is)")


def parsed(cli: Callable[..., T], *args: Any, prog: str, hint: str = "", **options: Any) -> T:
    """What `tyro.cli` returns; BadInput, with a `hint`, in place of the box that it prints before it exits."""
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
    """The parts of a box of text below its title, without its frame, if it has one, and the rules between them."""
    inside = re.sub("[│╰╯]", "", box.strip().partition("\n")[2])
    return (" ".join(part.split()) for part in re.split("[─-]{4,}", inside) if part.strip())

"""Standard output and standard error that never end a command: what they cannot write is lost, and its work is not."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SPELT = {"±": "+-", "…": "...", "─": "-", "━": "-", "│": "|", "•": "*"}  # where an encoding lacks the character


class Output:
    """A text stream whose failures are noted, in `lost`, and not raised: a full disk, or a reader that left.

    The first failure but a reader's leaving is said once in a line on stderr. What is written later goes nowhere.
    """

    def __init__(self, stream: Any):
        self.stream, self.lost = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write what can be written; always as if all was."""
        with self._noting():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As of any stream, without its errors."""
        with self._noting():
            self.stream.flush()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            first, self.lost = not self.lost, True
            with suppress(OSError, ValueError):  # what it still holds would fail again, and at the interpreter's end
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            if first and not isinstance(error, BrokenPipeError):
                print(f"gqn: cannot write the output ({error.strerror}): going on without it", file=sys.stderr)


@contextmanager
def standard() -> Iterator[Output]:
    """While open, both standard streams are an `Output`, and spell what their encodings lack; yields that of stdout.

    A stream that is closed, or absent as under pythonw, becomes one to nowhere.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="gqn.spelt")
    sys.stdout, sys.stderr = out, _ = [Output(stream or _nowhere()) for stream in before]  # type: ignore[assignment]
    try:
        yield out
    finally:
        out.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _nowhere() -> Any:
    return open(os.devnull, "w", encoding="utf-8")


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """What takes the place of characters that cannot be encoded: their spelling in `SPELT`, or their escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(SPELT.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


codecs.register_error("gqn.spelt", _spelt)

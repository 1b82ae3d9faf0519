"""Standard output and error streams that never stop a command: text that cannot be written is dropped."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SPELT = {"±": "+-", "…": "...", "─": "-", "━": "-", "│": "|", "•": "*"}  # if an encoding lacks the character


class Output:
    """A text stream that sets `lost` instead of raising when it cannot write: a full disk, or a closed pipe.

    The first failure is reported in a line on stderr, unless it is a closed pipe. Text written later is dropped.
    """

    def __init__(self, stream: Any):
        self.stream, self.lost = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write text; returns its length even if it could not be written."""
        with self._noting():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; an error sets `lost`."""
        with self._noting():
            self.stream.flush()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            first, self.lost = not self.lost, True
            with suppress(OSError, ValueError):  # else its buffer fails again, also when the interpreter exits
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            if first and not isinstance(error, BrokenPipeError):
                print(f"gqn: cannot write the output ({error.strerror}): going on without it", file=sys.stderr)


@contextmanager
def standard() -> Iterator[Output]:
    """While open, stdout and stderr are an `Output` each and replace characters that their encodings lack (`SPELT`).

    Yields the one of stdout. A stream that is None (closed, or under pythonw) is replaced by one to the null device.
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
    """Error handler of codecs: replaces characters that cannot be encoded by those of `SPELT`, or by an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(SPELT.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


codecs.register_error("gqn.spelt", _spelt)

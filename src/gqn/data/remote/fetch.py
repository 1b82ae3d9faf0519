"""Fetch complete files from an address: https://, gs:// (public buckets, over HTTPS), or any other fsspec protocol.

A file is written to a `.part` file first, which the next call continues after an interruption, and is moved into place
when it is complete.
"""

import base64
import os
import re
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import unquote, urljoin

import fsspec
from google_crc32c import Checksum

from gqn.errors import Absent, BadInput
from gqn.runtime import content, files
from gqn.runtime.console import note

CHUNK = 2**18  # bytes read at a time
TIMEOUT = 30.0  # seconds without an answer, after which a connection counts as lost
TRIES = 5  # in a row that bring no new byte, before giving up
PAUSE = 1.0  # seconds before the second try, doubled for each further one
PASSING = {408, 425, 429}  # HTTP errors below 500 that are temporary

T = TypeVar("T")


class Passing(Exception):
    """A temporary failure: the next try may succeed."""


class Stopped(Exception):
    """The caller cancelled the fetch (`stop` was set)."""


@dataclass(frozen=True)
class Body:
    """The content of a file as a stream."""

    stream: Any
    start: int  # offset of the stream's first byte in the file
    size: int | None  # bytes of the whole file, if the server says
    crc32c: bytes | None  # of the whole file, if the server says


def fetch(
    address: str,
    path: Path,
    told: Callable[[int], None] = lambda done: None,
    stop: threading.Event | None = None,
    move: Callable[[Path, Path], None] = os.replace,
) -> None:
    """Fetch the file at `address` to `path`.

    `told` is called with the number of bytes received so far. `move(part, path)` moves the complete file into place.
    Lost connections, overloaded servers and contents that do not match the server's checksum are retried. Raises
    BadInput if there is no such file, if the server cannot be reached, if another process fetches the same file, or if
    `path` cannot be written; Stopped if `stop` is set. Received bytes are kept unless they fail that check.
    """
    part = path.with_name(f".{path.name}.part")
    lock = part.with_name(f"{part.name}.lock")
    stop = stop or threading.Event()
    try:
        with files.locked(lock):
            try:
                _patiently(address, stop, lambda: _append(address, part, told, stop), lambda: _size(part))
                move(part, path)
            finally:
                with suppress(OSError):  # Windows cannot remove an open file; releasing the lock removes it
                    lock.unlink()
    except BlockingIOError as error:
        raise BadInput(f"another process fetches {path}: leave it to that") from error
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; what has come is kept") from error


def size(address: str) -> int | None:
    """Size in bytes of the file at an address; None if the server does not say. Raises as `fetch` does."""
    head = urllib.request.Request(https(address), method="HEAD") if is_http(address) else None

    def ask() -> int | None:
        if head is None:
            files, path = fsspec.core.url_to_fs(address)
            return files.size(path)
        with urllib.request.urlopen(head, timeout=TIMEOUT) as answer:
            length = answer.headers["Content-Length"]
            return None if length is None else int(length)

    return _patiently(address, threading.Event(), lambda: _asked(address, ask))


def listed(address: str) -> list[str]:
    """Addresses of the scene files in a folder, sorted; empty if there is no folder, or the server does not list it."""

    def ask() -> list[str]:
        if not is_http(address):
            files, path = fsspec.core.url_to_fs(address)
            names = files.ls(path, detail=False) if files.isdir(path) else []
            return [files.unstrip_protocol(name) for name in names]
        url = https(address).rstrip("/") + "/"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                page = answer.read(2**24).decode(errors="replace")
        except HTTPError as error:
            if error.code in (403, 404):
                return []
            raise
        return [urljoin(url, link) for link in re.findall(r'href="([^"]+)"', page)]

    there = {name_of(found): found for found in _patiently(address, threading.Event(), lambda: _asked(address, ask))}
    return sorted(there[name] for name in content.data_names(there))


def name_of(address: str) -> str:
    """The name of the file at an address."""
    return unquote(address.rsplit("/", 1)[-1])


def plain(address: str) -> str:
    """An address as a relative path: host/folders/file, decoded, without "..", ":" or a leading "/"."""
    return unquote(https(address).partition("://")[2]).replace("..", "_").replace(":", "_").lstrip("/")


def _append(address: str, part: Path, told: Callable[[int], None], stop: threading.Event) -> None:
    """Fetch the missing rest of a part. Raises Passing if it is incomplete or wrong afterwards."""
    body = _opened(address, _size(part))
    try:
        with open(part, "ab") as file:
            if file.tell() < (at := body.start):
                raise Passing("another process was quicker")
            file.truncate(at)
            told(at)
            while chunk := _asked(address, body.stream.read, CHUNK):
                if stop.is_set():
                    raise Stopped
                at += file.write(chunk)
                told(at)
            file.flush()
            os.fsync(file.fileno())
    finally:
        body.stream.close()
    if body.size is not None and at < body.size:
        raise Passing(f"the connection was cut after {at} of {body.size} bytes")
    if (body.size is not None and at > body.size) or (body.crc32c is not None and body.crc32c != _crc32c(part)):
        part.unlink()
        raise Passing("what came does not match the server's checksum")


def _opened(address: str, start: int) -> Body:
    """Open a file at byte `start`, or at byte 0 if the server cannot start there."""
    if not is_http(address):
        files, path = _asked(address, fsspec.core.url_to_fs, address)
        whole = _asked(address, files.size, path)
        stream = _asked(address, files.open, path)
        start = start if start <= whole else 0
        stream.seek(start)
        return Body(stream, start, whole, None)
    request = urllib.request.Request(https(address), headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = _asked(address, lambda: urllib.request.urlopen(request, timeout=TIMEOUT))
    except _NothingLeft:
        return _opened(address, 0)
    hashes = ",".join(answer.headers.get_all("x-goog-hash", []))
    found = re.search(r"crc32c=([^,\s]+)", hashes)
    length = answer.headers["Content-Length"]
    begins = re.match(r"bytes (\d+)-", answer.headers["Content-Range"] or "") if answer.status == 206 else None
    start = int(begins[1]) if begins else 0
    return Body(
        answer, start, None if length is None else start + int(length), base64.b64decode(found[1]) if found else None
    )


class _NothingLeft(Exception):
    pass


def _asked(address: str, ask: Callable[..., T], *arguments: Any) -> T:
    """Call `ask(*arguments)` and translate its errors: BadInput for permanent ones, Passing for temporary ones."""
    try:
        return ask(*arguments)
    except HTTPError as error:
        if error.code == 416:
            raise _NothingLeft from error
        if error.code < 500 and error.code not in PASSING:
            raise Absent(f"there is no file to be had at {address}: {error.code} {error.reason}") from error
        raise Passing(f"{error.code} {error.reason}") from error
    except FileNotFoundError as error:
        raise Absent(f"there is no file at {address}") from error
    except (ImportError, ValueError) as error:  # fsspec: package missing, unknown protocol, or not a URL
        raise BadInput(f"cannot use the address {address}: {error}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Passing(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__) from error


def _patiently(address: str, stop: threading.Event, work: Callable[[], T], progress: Callable[[], int] = int) -> T:
    """Call `work` and retry it, with growing pauses, while it raises Passing.

    Raises BadInput after `TRIES` failures in a row between which `progress` (bytes received) did not grow; Stopped if
    `stop` is set during a pause.
    """
    tries = 0
    while True:
        before = progress()
        try:
            return work()
        except Passing as error:
            tries = 1 if progress() > before else tries + 1
            if tries == TRIES:
                raise BadInput(
                    f"cannot fetch {address}: {error}, {TRIES} times in a row: the same command goes on once it can"
                ) from error
            if tries > 1:
                note(f"{address}: {error}: trying again")
        if stop.wait(PAUSE * 2 ** (tries - 1)):
            raise Stopped


def is_http(address: str) -> bool:
    """Whether an address is reached over HTTP."""
    return address.startswith(("http://", "https://", "gs://"))


def https(address: str) -> str:
    """The address to request: gs:// buckets are read over HTTPS, other addresses stay as they are."""
    return re.sub("^gs://", "https://storage.googleapis.com/", address)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _crc32c(part: Path) -> bytes:
    checksum = Checksum()
    with open(part, "rb") as file:
        while chunk := file.read(2**20):
            checksum.update(chunk)
    return checksum.digest()

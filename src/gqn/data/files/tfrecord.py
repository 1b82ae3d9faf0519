"""TFRecord files of scenes, in the released format: writing, indexing, and reading by record number.

A file is a sequence of records, a record is one scene:

    length   uint64, little-endian
    check    of the 8 bytes of `length`
    payload  `length` bytes
    check    of the payload

A check is a masked CRC-32C. The content of a payload is described in `gqn.data.files.example`.

Records are numbered from 0. Each is read with one `pread`, not through a memory map: a process is killed if a mapped
file is cut short, and all bytes are read for the checksum anyway. A gzipped file cannot be read at an offset, so it is
unpacked once into the user's cache folder and read there.
"""

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gqn.data import Record
from gqn.data.files.example import parse
from gqn.errors import BadInput
from gqn.runtime import content, files, reading
from gqn.runtime.console import note
from gqn.runtime.content import masked_crc32c

HEAD, TAIL = 12, 4  # bytes of a record before and after its payload
LARGEST = 2**28  # bytes; a larger payload is not a scene
LONG = 10**8  # bytes; a message is shown while a gzip file of at least this size is unpacked
OTHERS = "gqn reads TFRecord files: gqn data import makes them of other ports', docs/data.md of your own"

Offsets = NDArray[np.int64]


class Damaged(BadInput):
    """A record or a file cannot be used; the message names the file and the reason, and the record and its offset."""


def write(path: Path, payloads: Iterable[bytes]) -> None:
    """Write a file of records, completely or not at all. Raises OSError if it cannot be written."""

    def write_to(part: Path) -> None:
        with open(part, "wb") as file:
            for payload in payloads:
                length = struct.pack("<Q", len(payload))
                file.write(length + masked_crc32c(length) + payload + masked_crc32c(payload))

    files.write(path, write_to)


@dataclass(frozen=True)
class File:
    """A file whose records are read by number; open one with `opened`."""

    path: Path
    offsets: Offsets  # (N + 1,): where each of the N records begins, and where the last one ends
    plain: Path  # the file to read from: `path` or, if that is gzipped, its unpacked copy
    state: tuple[int, int]  # size in bytes and modification time in ns of `plain` when it was indexed

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def scene(self, record: int) -> Record:
        """Frames of a scene as K JPEG byte strings, and its cameras (K, 5) float32: x, y, z, yaw, pitch.

        Raises Damaged if the record is damaged, BadInput if the file vanished or changed.
        """
        try:
            return parse(self.payload(record))
        except ValueError as error:
            raise self.damaged(record, str(error)) from error

    def payload(self, record: int) -> bytes:
        """The payload of a record, after both its checksums were verified. Raises as `scene` does."""
        start, stop = int(self.offsets[record]), int(self.offsets[record + 1])
        try:
            handle = os.open(self.plain, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                if _state(os.fstat(handle)) != self.state:
                    raise BadInput(f"{self.plain} changed while it was in use: start again")
                data = _read_at(handle, stop - start, start)
            finally:
                os.close(handle)
        except OSError as error:
            raise BadInput(f"cannot read {self.plain}: {error.strerror}") from error
        length, payload = data[:8], data[HEAD:-TAIL]
        if (
            len(data) != stop - start
            or data[8:HEAD] != masked_crc32c(length)
            or length != struct.pack("<Q", len(payload))
        ):
            raise self.damaged(record, "its length is damaged")
        if data[-TAIL:] != masked_crc32c(payload):
            raise self.damaged(record, "its content does not match its checksum")
        return payload

    def damaged(self, record: int, reason: str) -> Damaged:
        """The error that names a record and says why it cannot be used; not raised here."""
        return _damaged(self.path, record, int(self.offsets[record]), reason)


def opened(path: Path, upto_damage: bool = False) -> File:
    """Open a file with its index: the stored index if the file has not changed since, else a new one, which is stored.

    An index is stored beside its file or, if that folder cannot be written, in the user's cache folder. Raises Damaged
    if the records do not follow each other to the end of the file; with `upto_damage` the records before the damage are
    used. Raises BadInput if the file cannot be read.
    """
    plain = unpacked(path, upto_damage)
    places = [_beside(plain), cache() / "index" / f"{_digest(plain)}.index"]
    try:
        state = _state(os.stat(plain))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    for place in places:
        if (offsets := _load(place, state)) is not None:
            return File(path, offsets, plain, state)
    file = scan(path, upto_damage)
    if file.offsets[-1] == file.state[0] > 0:
        _store(places, file)
    return file


def count(path: Path) -> int | None:
    """Number of records of a file from the index beside it, even if the file itself is gone; None without an index."""
    index = _read_index(_beside(path))
    return None if index is None else len(index) - 2


def scan(path: Path, upto_damage: bool = False) -> File:
    """Open a file and build its index from the lengths of all records; stores nothing. Raises as `opened` does."""
    offsets, at = [0], 0
    plain = unpacked(path, upto_damage)
    try:
        with open(plain, "rb", buffering=0) as file:
            state = _state(os.fstat(file.fileno()))
            if state[0] == 0 and not upto_damage:
                raise Damaged(f"{path} is empty: fetch or render it again")
            while at < state[0]:
                head = _read_at(file.fileno(), HEAD, at)
                if reason := bad_head(head, state[0] - at):
                    if upto_damage:
                        break
                    if at == 0 and (other := content.mistaken(plain, content.TFRECORD, OTHERS)):
                        raise Damaged(other)
                    if at == 0 and not content.of(plain):
                        reason += ", or this is no TFRecord file"
                    raise _damaged(path, len(offsets) - 1, at, reason)
                at += HEAD + int.from_bytes(head[:8], "little") + TAIL
                offsets.append(at)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    return File(path, np.array(offsets, np.int64), plain, state)


def unpacked(path: Path, upto_damage: bool = False) -> Path:
    """The file to read records from: the file itself or, if it is gzipped, a copy that is unpacked once.

    The copy stays in the user's cache folder until the file changes. Raises Damaged if the file cannot be unpacked to
    its end, unless `upto_damage`; BadInput if the copy cannot be written.
    """
    if content.of(path) != content.GZIPPED:
        return path
    folder, digest = cache() / "unpacked", _digest(path)
    try:
        size, modified = _state(os.stat(path))
        name = f"{digest}-{size}-{modified}"
        whole, part = folder / f"{name}.tfrecord", folder / f"{name}-part.tfrecord"
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder / f".{digest}.lock", wait=True):
            for old in folder.glob(f"{digest}-*"):
                if not old.name.startswith(name):
                    old.unlink()
            if whole.exists() or (upto_damage and part.exists()):
                return whole if whole.exists() else part
            if size >= LONG:
                note(f"unpacking {path} to {folder}, once")
            try:
                files.write(whole, lambda to: unpack(path, to))
            except Damaged:
                if not upto_damage:
                    raise
                files.write(part, lambda to: unpack(path, to, upto_damage=True))
                return part
            return whole
    except OSError as error:
        raise BadInput(
            f"cannot unpack {path} to {folder}: {error.strerror}: point XDG_CACHE_HOME elsewhere, or gunzip it yourself"
        ) from error


def unpack(path: Path, to: Path, upto_damage: bool = False) -> None:
    """Unpack a gzip file to `to`. Raises Damaged if it breaks off; `upto_damage` keeps what could be unpacked."""
    done = 0
    with gzip.open(path) as packed, open(to, "wb") as file:
        try:
            while chunk := packed.read1(2**20):
                done += file.write(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            if not upto_damage:
                raise Damaged(f"{path} cannot be unpacked after {done} bytes: fetch it again") from error


def _read_at(handle: int, size: int, at: int) -> bytes:
    """Read up to `size` bytes at an offset; no one else may use the handle, because Windows moves its position."""
    if hasattr(os, "pread"):
        return os.pread(handle, size, at)
    os.lseek(handle, at, os.SEEK_SET)  # Windows
    return os.read(handle, size)


def bad_head(head: bytes, left: int) -> str | None:
    """Why a record that begins with `head`, `left` bytes before the end of the file, cannot be used; None if it can."""
    if len(head) < HEAD:
        return "the file ends within it"
    if head[8:] != masked_crc32c(head[:8]):
        return "its length does not match its checksum"
    length = int.from_bytes(head[:8], "little")
    if length > LARGEST:
        return f"it claims {length} bytes, more than any scene has"
    return "the file ends within it" if HEAD + length + TAIL > left else None


def _damaged(path: Path, record: int, offset: int, reason: str) -> Damaged:
    return Damaged(f"{path}: record {record} at offset {offset}: {reason}")


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def cache() -> Path:
    """The user's cache folder: $XDG_CACHE_HOME/gqn, or ~/.cache/gqn."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "gqn"


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".index")


def _digest(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]


def _store(places: list[Path], index: File) -> None:
    """Write an index to the first of these places that can be written.

    It is a masked CRC-32C of the rest, and int64 numbers: modification time of the file in ns, offsets. The last offset
    is the size of the file.
    """
    numbers = np.concatenate([[index.state[1]], index.offsets]).astype("<i8").tobytes()

    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return files.write(place, lambda part: part.write_bytes(masked_crc32c(numbers) + numbers))
        except OSError:  # read-only or full; not an error, as an index only saves time
            continue


def _load(place: Path, state: tuple[int, int]) -> Offsets | None:
    """The offsets in an index file; None if the index is missing, damaged, or of an earlier state of the file."""
    index = _read_index(place)
    if index is None or (index[-1], index[0]) != state:
        return None
    return index[1:]


def _read_index(place: Path) -> NDArray[np.int64] | None:
    """The numbers of an index file (see `_store`); None if it is missing, damaged, or of an earlier version."""
    try:
        stored = reading.data(place)
    except (FileNotFoundError, BadInput):
        return None
    if len(stored) % 8 != 4 or len(stored) < 20 or stored[:4] != masked_crc32c(stored[4:]):
        return None
    return np.frombuffer(stored, "<i8", offset=4)

"""TFRecord files of scenes, as released: written, indexed and read in place.

A file is a sequence of records, a record is one scene:

    length   uint64, little-endian
    check    of the 8 bytes of `length`
    payload  `length` bytes
    check    of the payload

A check is a CRC-32C, masked. A payload is a protobuf message `tf.train.Example` with two features:

    frames   list of K byte strings: JPEG images
    cameras  list of 5 K floats: x, y, z, yaw, pitch of each view

Records are numbered from 0. They are read with one positioned read each and not through a memory map, because a file
that is cut short under a map kills the process, and every byte is read for its check anyway. A file that was gzipped
knows no positions: it is unpacked into the user's cache folder once, and read there.
"""

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gqn import content, files
from gqn.content import masked_crc32c
from gqn.errors import BadInput
from gqn.logs import errors

HEAD, TAIL = 12, 4  # bytes of a record around its payload
LARGEST = 2**28  # bytes of a payload: a larger one is no scene
VERSION = 1  # of index files
LONG = 10**8  # bytes of a gzip file, from which unpacking it takes long enough to say so
OTHERS = "gqn does not read that but TFRecord files, and docs/data.md says how to write them"

Offsets = NDArray[np.int64]
Scene = tuple[list[bytes], NDArray[np.float32]]


class Damaged(BadInput):
    """A record that cannot be used, or a file that has none: the message names file, record, offset and reason."""


# ---- files of records ------------------------------------------------------------------------------------------


def write(path: Path, payloads: Iterable[bytes]) -> None:
    """Write a file of records, whole or not at all; OSError if it cannot be written."""

    def write_to(part: Path) -> None:
        with open(part, "wb") as file:
            for payload in payloads:
                length = struct.pack("<Q", len(payload))
                file.write(length + masked_crc32c(length) + payload + masked_crc32c(payload))

    files.write(path, write_to)


@dataclass(frozen=True)
class File:
    """A file of records that are read by number; open one with `opened`."""

    path: Path
    offsets: Offsets  # (N + 1,): where record i begins, and where the last one ends
    plain: Path  # where they are read: the file or, if that is gzipped, its unpacked copy
    state: tuple[int, int]  # size in bytes and modification time in ns of that when it was indexed

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def scene(self, record: int) -> Scene:
        """Frames of a scene as K JPEG byte strings, and its cameras (K, 5) float32: x, y, z, yaw, pitch.

        Raises Damaged if the record is, BadInput if the file vanished or changed.
        """
        try:
            return parse(self.payload(record))
        except ValueError as error:
            raise self.damaged(record, str(error)) from error

    def payload(self, record: int) -> bytes:
        """A record's payload, both its checks passed. Raises as `scene`."""
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
        """The error that says why a record cannot be used."""
        return _damaged(self.path, record, int(self.offsets[record]), reason)


def opened(path: Path, upto_damage: bool = False) -> File:
    """A file with its index: the stored one if the file is as it was when that was made, else a new one, stored.

    An index lies beside its file, or in the user's cache folder where that cannot be written. Raises Damaged if the
    records do not follow each other to the end of the file; `upto_damage` takes those that do.
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
    """Records of a file as its index beside it says, whether or not the file is still there; None without index."""
    offsets = _read_index(_beside(path))
    return None if offsets is None else len(offsets) - 3


def scan(path: Path, upto_damage: bool = False) -> File:
    """A file, its index built by reading the lengths of all records. Raises as `opened`; stores nothing."""
    offsets, at = [0], 0
    plain = unpacked(path, upto_damage)
    try:
        with open(plain, "rb", buffering=0) as file:
            state = _state(os.fstat(file.fileno()))
            if state[0] == 0 and not upto_damage:
                raise Damaged(f"{path} is empty: fetch or render it again")
            while at < state[0]:
                head = _read_at(file.fileno(), HEAD, at)
                if reason := _bad_head(head, state[0] - at):
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
    """Where a file's records can be read: the file itself or, if it is gzipped, a copy that is unpacked once.

    The copy lies in the user's cache folder until the file changes. Raises Damaged if it cannot be unpacked to its end,
    unless `upto_damage`; BadInput if the copy cannot be written.
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
                errors.print(f"unpacking {path} to {folder}, once", markup=False)
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
    """Write what a gzip file holds; Damaged if that breaks off, unless `upto_damage`, which takes what there is."""
    done = 0
    with gzip.open(path) as packed, open(to, "wb") as file:
        try:
            while chunk := packed.read1(2**20):
                done += file.write(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            if not upto_damage:
                raise Damaged(f"{path} cannot be unpacked after {done} bytes: fetch it again") from error


def _read_at(handle: int, size: int, at: int) -> bytes:
    """Bytes of an open file; the handle is this caller's alone."""
    if hasattr(os, "pread"):
        return os.pread(handle, size, at)
    os.lseek(handle, at, os.SEEK_SET)  # Windows
    return os.read(handle, size)


def _bad_head(head: bytes, left: int) -> str | None:
    """Why a record that begins with `head`, `left` bytes from the file's end, cannot be stepped over."""
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
    """The user's folder for what can be made or fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "gqn"


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".index")


def _digest(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]


def _store(places: list[Path], index: File) -> None:
    """Write an index to the first place that can be written.

    It is a numpy array: version, modification time in ns, offsets, of which the last is the file's size.
    """

    def write_to(part: Path) -> None:
        with open(part, "wb") as file:
            np.save(file, np.concatenate([[VERSION, index.state[1]], index.offsets]).astype("<i8"))

    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return files.write(place, write_to)
        except OSError:  # read-only or full: an index only saves time
            continue


def _load(place: Path, state: tuple[int, int]) -> Offsets | None:
    """The offsets of an index file, or None if there is none that is whole and of the file as it is."""
    index = _read_index(place)
    if index is None or (index[-1], index[1]) != state:
        return None
    return index[2:]


def _read_index(place: Path) -> NDArray[np.int64] | None:
    """What an index file holds, or None if it is not whole."""
    try:
        index = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if index.dtype != np.dtype("<i8") or index.ndim != 1 or len(index) < 4:
        return None
    offsets = index[2:]
    good = index[0] == VERSION and offsets[0] == 0 and (np.diff(offsets) >= HEAD + TAIL).all()
    return index if good else None


# ---- payloads --------------------------------------------------------------------------------------------------

# Protobuf wire types: how the value of a field is stored.
VARINT, EIGHT_BYTES, SIZED, FOUR_BYTES = 0, 1, 2, 5
# Field numbers of tf.train.Example: Example.features > Features.feature, a map of entries (key, value) > Feature,
# which holds one list (bytes_list or float_list) > value.
FEATURES = FEATURE = KEY = BYTES_LIST = ITEM = 1
VALUE = FLOAT_LIST = 2


def example(frames: Sequence[bytes], cameras: NDArray[np.float32]) -> bytes:
    """The payload of a scene: K JPEG byte strings and cameras (K, 5), as the released files have them."""
    floats = np.asarray(cameras, "<f4").tobytes()
    images = b"".join(_sized(ITEM, frame) for frame in frames)
    features = {b"cameras": _sized(FLOAT_LIST, _sized(ITEM, floats)), b"frames": _sized(BYTES_LIST, images)}
    entries = (_sized(KEY, name) + _sized(VALUE, feature) for name, feature in features.items())
    return _sized(FEATURES, b"".join(_sized(FEATURE, entry) for entry in entries))


def parse(payload: bytes) -> Scene:
    """Frames and cameras of a payload, as in `File.scene`; the images are not looked at.

    Features may come in any order and beside others, floats packed or one by one. ValueError says what is wrong.
    """
    features: dict[bytes, tuple[int, int]] = {}
    for start, stop in _sized_fields(payload, (0, len(payload)), FEATURES):
        for entry in _sized_fields(payload, (start, stop), FEATURE):
            name, value = _only(payload, entry, KEY, "name"), _only(payload, entry, VALUE, "value")
            key = payload[slice(*name)]
            if key in features:
                raise ValueError(f"feature {_shown(key)} comes twice")
            features[key] = value
    if missing := [name for name in ("frames", "cameras") if name.encode() not in features]:
        there = ", ".join(_shown(name) for name in list(features)[:5]) or "nothing"
        raise ValueError(f"feature {missing[0]!r} is missing: it holds {there}")
    frames = _list(payload, features[b"frames"], BYTES_LIST, (SIZED,), "frames", "byte strings")
    floats = b"".join(_list(payload, features[b"cameras"], FLOAT_LIST, (SIZED, FOUR_BYTES), "cameras", "floats"))
    if not frames:
        raise ValueError("it holds no frames")
    numbers, left = divmod(len(floats), 4 * len(frames))
    if left:
        raise ValueError(f"it holds {len(floats) / 4:g} camera floats for {len(frames)} frames, not 5 for each")
    if numbers != 5:
        raise ValueError(f"it holds {numbers} camera numbers for each frame, not 5 (x, y, z, yaw, pitch)")
    cameras = np.frombuffer(floats, "<f4").reshape(-1, 5).astype(np.float32)
    if not np.isfinite(cameras).all():
        raise ValueError("a camera is not finite")
    return frames, cameras


def _list(
    payload: bytes, feature: tuple[int, int], kind: int, wires: tuple[int, ...], name: str, what: str
) -> list[bytes]:
    """The values in the one list that a feature holds."""
    values = []
    for number, wire, start, stop in _fields(payload, *feature):
        if (number, wire) != (kind, SIZED):
            raise ValueError(f"feature {name!r} is not a list of {what}")
        values += [payload[a:b] for item, how, a, b in _fields(payload, start, stop) if item == ITEM and how in wires]
    return values


def _only(payload: bytes, message: tuple[int, int], number: int, what: str) -> tuple[int, int]:
    found = list(_sized_fields(payload, message, number))
    if len(found) != 1:
        raise ValueError(f"a feature has {len(found) or 'no'} {what}{'s' * (len(found) > 1)}")
    return found[0]


def _sized_fields(payload: bytes, message: tuple[int, int], number: int) -> Iterator[tuple[int, int]]:
    """Where the values of a message's fields of that number lie; other fields are passed over."""
    for field, wire, start, stop in _fields(payload, *message):
        if field == number and wire == SIZED:
            yield start, stop


def _fields(payload: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in payload[at:end]: number, wire type, and where the value starts and stops.

    Every step moves on and none leaves the message, whatever the bytes claim.
    """
    while at < end:
        tag, at = (payload[at], at + 1) if payload[at] < 0x80 else _varint(payload, at, end)  # most are short
        number, wire = tag >> 3, tag & 7
        start = at
        if wire == SIZED:
            size, start = _varint(payload, at, end)
            at = start + size
        elif wire == VARINT:
            _, at = _varint(payload, at, end)
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            at += 8 if wire == EIGHT_BYTES else 4
        if number == 0 or wire not in (SIZED, VARINT, EIGHT_BYTES, FOUR_BYTES):
            raise ValueError("it is not a tf.train.Example")
        if at > end:
            raise ValueError("it is not a tf.train.Example: a field is longer than its message")
        yield number, wire, start, at


def _varint(payload: bytes, at: int, end: int) -> tuple[int, int]:
    """A base-128 number, least digit first, of at most 10 bytes, and where it stops."""
    value = 0
    for shift in range(0, 70, 7):
        if at == end:
            break
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is not a tf.train.Example: a number does not end")


def _sized(number: int, value: bytes) -> bytes:
    """A field whose value is bytes."""
    size, digits = len(value), bytearray()
    while size >= 0x80:
        digits.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | SIZED, *digits, size]) + value


def _shown(name: bytes) -> str:
    return repr(name[:40].decode(errors="replace"))

"""A scene as the payload of a record: a protobuf message `tf.train.Example` with two features.

frames   list of K byte strings: JPEG images
cameras  list of 5 K floats: x, y, z, yaw, pitch of each view
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gqn.data import Record

# Protobuf wire types: how the value of a field is stored.
VARINT, EIGHT_BYTES, SIZED, FOUR_BYTES = 0, 1, 2, 5
# Field numbers of tf.train.Example: Example.features > Features.feature, a map of entries (key, value) > Feature,
# which holds one list (bytes_list or float_list) > value.
FEATURES = FEATURE = KEY = BYTES_LIST = ITEM = 1
VALUE = FLOAT_LIST = 2


def example(frames: Sequence[bytes], cameras: NDArray[np.float32]) -> bytes:
    """Encode a scene, K JPEG byte strings and cameras (K, 5), as a payload like those of the released files."""
    floats = np.asarray(cameras, "<f4").tobytes()
    images = b"".join(_sized(ITEM, frame) for frame in frames)
    features = {b"cameras": _sized(FLOAT_LIST, _sized(ITEM, floats)), b"frames": _sized(BYTES_LIST, images)}
    entries = (_sized(KEY, name) + _sized(VALUE, feature) for name, feature in features.items())
    return _sized(FEATURES, b"".join(_sized(FEATURE, entry) for entry in entries))


def parse(payload: bytes) -> Record:
    """Decode a payload to frames and cameras, as in `File.scene`; the JPEGs themselves are not decoded.

    Features may come in any order, other features are ignored, and floats may be packed or not. Raises ValueError,
    which says what is wrong, if the payload is not such a scene.
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
    """Start and stop of the value of each length-delimited field with this number; other fields are skipped."""
    for field, wire, start, stop in _fields(payload, *message):
        if field == number and wire == SIZED:
            yield start, stop


def _fields(payload: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in payload[at:end]: number, wire type, start and stop of the value.

    Corrupt bytes can neither make this loop forever nor read outside the message; they raise ValueError.
    """
    while at < end:
        tag, at = (payload[at], at + 1) if payload[at] < 0x80 else _varint(payload, at, end)  # most tags are one byte
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
    """Read a varint (base 128, least significant digit first, at most 10 bytes): its value, and where it stops."""
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
    """Encode a length-delimited field."""
    size, digits = len(value), bytearray()
    while size >= 0x80:
        digits.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | SIZED, *digits, size]) + value


def _shown(name: bytes) -> str:
    return repr(name[:40].decode(errors="replace"))

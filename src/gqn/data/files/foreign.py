"""Scenes in the files of other ports: `.pt` and `.pt.gz` files of torch.save, and gzipped TFRecord files.

Pickles are read by torch's restricted unpickler, which calls no function that a file names but torch's own for tensors
and the stand-ins below for NumPy's: nothing in a file is executed, and no state of NumPy's is taken from it.

    Scene(frames, cameras)            a named tuple, or a plain pair: gqn_datasets_translator, torch-gqn
    [(frames, cameras), ...]          a list of such: generative-query-network-pytorch

    frames   object array of K JPEG byte strings; or (K, H, W, 3) or (K, 3, H, W), uint8, or floats from 0 to 1
    cameras  (K, 5) floats: x, y, z, yaw, pitch

Each may have an axis of scenes before these. Arrays are NumPy's or tensors.
"""

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gqn.data import Record
from gqn.data.files import example, jpeg, tfrecord
from gqn.data.files.tfrecord import HEAD, TAIL, Damaged
from gqn.errors import BadInput
from gqn.runtime import content, reading

LARGEST = 10**9  # bytes of a torch.save file, unpacked, as it is held in memory
CHUNK = 2**20
DTYPES = ("u1", "f2", "f4", "f8")  # of arrays in a pickle, besides objects


@dataclass(frozen=True)
class Scene:
    """A scene of a file."""

    frames: list[bytes] | NDArray[np.uint8]  # K JPEG byte strings, or pixels (K, H, W, 3)
    cameras: NDArray[np.float32]  # (K, 5): x, y, z, yaw, pitch

    def side(self) -> int:
        """Side of the frames in pixels; decodes all. ValueError if one is no JPEG, or they are not equal squares."""
        shapes = {f.shape[:2] if isinstance(f, np.ndarray) else jpeg.decode(f).shape[:2] for f in self.frames}
        (height, width), *others = sorted(shapes)
        if others or height != width or not 0 < height <= jpeg.LARGEST:
            sizes = " and ".join(f"{w}x{h}" for h, w in sorted(shapes)[:2])
            raise ValueError(f"frames of {sizes} pixels, not equal squares of at most {jpeg.LARGEST}")
        return height

    def record(self) -> Record:
        """The scene as a record. JPEGs stay as they are; pixels are coded as those of the released files are."""
        return [f if isinstance(f, bytes) else jpeg.encode(f) for f in self.frames], self.cameras


def scenes(path: Path) -> Iterator[Scene]:
    """The scenes of a file, in order; what kind of file it is, its content says.

    A TFRecord file is read record by record, any other is held in memory. Raises Damaged, in one line that names the
    file and what was found, if it is damaged, none of the known kinds, or larger than `LARGEST`; BadInput if it cannot
    be read. The JPEGs themselves are not looked at; `Scene.side` does that.
    """
    try:
        if content.of(path) == content.GZIPPED:
            for number, payload in enumerate(_payloads(path)):
                try:
                    yield Scene(*example.parse(payload))
                except ValueError as error:
                    raise ValueError(f"record {number}: {error}") from error
        else:
            yield from _scenes(_loaded(path))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Damaged(f"{path} cannot be unpacked to its end ({error}): fetch it again") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Damaged(f"{path}: {error}") from error


def _payloads(path: Path) -> Iterator[bytes]:
    """The payloads of a gzipped TFRecord file, after both checksums of each were verified."""
    with gzip.open(path) as file:
        number = 0
        while head := file.read(HEAD):
            if reason := tfrecord.bad_head(head, HEAD + tfrecord.LARGEST + TAIL):
                raise ValueError(f"record {number}: {reason}")
            length = int.from_bytes(head[:8], "little")
            rest = file.read(length + TAIL)
            if len(rest) < length + TAIL:
                raise ValueError(f"record {number}: the file ends within it")
            if rest[length:] != content.masked_crc32c(rest[:length]):
                raise ValueError(f"record {number}: its content does not match its checksum")
            yield rest[:length]
            number += 1


def _loaded(path: Path) -> Any:
    """The content of a file of torch.save. ValueError if it is none, or holds what no known layout has."""
    data = _unpacked(path)
    try:
        if data.startswith(content.ZIP):
            reading.check_archive(io.BytesIO(data))
        with warnings.catch_warnings(), torch.serialization.safe_globals(KNOWN):
            warnings.simplefilter("ignore")  # of old kinds of tensors
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        if named := re.search(r"GLOBAL (\S{1,80})", str(error)):
            raise ValueError(f"it names {named[1]}, which no known layout does; nothing was executed") from error
        kind = content.of_bytes(data[: content.HEAD]) or "of an unknown kind"
        if content.PYTORCH in kind:
            reason = re.sub(r"(?s).*WeightsUnpickler error: ", "", str(error)).strip() or type(error).__name__
            kind += f", damaged or of another layout ({reason.splitlines()[0][:80]})"
        raise ValueError(f"not a file of scenes but {kind}") from error


def _unpacked(path: Path) -> bytes:
    """The bytes of a file, unpacked if it is gzipped."""
    with open(path, "rb") as file:
        packed = file.read(len(content.GZIP)) == content.GZIP
    parts, left = [], LARGEST
    with gzip.open(path) if packed else open(path, "rb") as file:
        while chunk := file.read1(CHUNK):
            parts.append(chunk)
            if (left := left - len(chunk)) < 0:
                raise ValueError(f"more than {LARGEST / 1e9:g} GB{' when unpacked' * packed}: too large to be read")
    return b"".join(parts)


def _scenes(loaded: Any) -> Iterator[Scene]:
    pairs = [loaded] if _is_pair(loaded) else loaded
    if not isinstance(pairs, list | tuple) or not pairs or not all(map(_is_pair, pairs)):
        raise ValueError(f"it holds {_described(loaded)}, not (frames, cameras) or a list of such")
    for frames, cameras in pairs:
        f, c = _array(frames), _array(cameras)
        assert f is not None and c is not None  # by `_is_pair`
        yield from _of_pair(f, c)


def _of_pair(frames: np.ndarray, cameras: np.ndarray) -> Iterator[Scene]:
    """The scenes of frames and cameras, which may both have an axis of scenes before their own."""
    found = f"frames {_described(frames)}, cameras {_described(cameras)}"
    coded = frames.dtype == object
    own = 1 if coded else 4  # axes
    if frames.ndim not in (own, own + 1) or not (coded or 3 in (frames.shape[-1], frames.shape[-3])):
        raise ValueError(f"{found}: frames are not JPEGs, (K, H, W, 3) or (K, 3, H, W)")
    f = frames[None] if frames.ndim == own else frames
    c = cameras[None] if cameras.ndim == 2 else cameras
    if c.ndim != 3 or c.dtype.kind != "f" or f.shape[:2] != c.shape[:2] or not c.size:
        raise ValueError(f"{found}: not K frames and K cameras of floats")
    if c.shape[2] != 5:
        raise ValueError(f"{found}: not 5 numbers for each camera (x, y, z, yaw, pitch)")
    if not coded and f.shape[-1] != 3:
        f = np.moveaxis(f, 2, -1)
    for scene, poses in zip(f, c, strict=True):
        if not np.isfinite(poses).all():
            raise ValueError("a camera is not finite")
        yield Scene(list(scene) if coded else _pixels(scene), poses.astype(np.float32))


def _pixels(frames: np.ndarray) -> NDArray[np.uint8]:
    """Frames, uint8 or floats from 0 to 1, as uint8."""
    if frames.dtype == np.uint8:
        return frames
    low, high = (float(f(frames)) if frames.size else 0.0 for f in (np.min, np.max))
    if not 0 <= low <= high <= 1:  # nor if one is not a number
        raise ValueError(f"frames are floats from {low:g} to {high:g}, not from 0 to 1")
    return np.rint(frames.astype(np.float32) * 255).astype(np.uint8)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_array(v) is not None for v in value)


def _array(value: Any) -> np.ndarray | None:
    """A tensor or an array of a pickle as an array; None if it is neither, or of numbers of another type."""
    if isinstance(value, _Array):
        return value.value
    if type(value) is not Tensor or value.layout is not torch.strided or value.device.type != "cpu":
        return None
    numbers = (torch.uint8, torch.float16, torch.float32, torch.float64)
    size = value.numel() * value.element_size()
    if value.dtype not in numbers or size > min(LARGEST, value.untyped_storage().nbytes()):
        return None  # a view can claim any size
    return value.detach().numpy()


def _described(value: Any) -> str:
    """What an object is, in a few words."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name} {value.shape}"
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, _Array):
        return "an array" if value.value is None else f"an array, {_described(value.value)},"
    kind = f"a {type(value).__name__.lstrip('_').lower()}"
    if isinstance(value, dict):
        names = ", ".join(key[:30] for key in list(value)[:3] if isinstance(key, str))
        return f"{kind} of {len(value)}" + f" ({names}{', ...' * (len(value) > 3)})" * bool(names)
    if isinstance(value, list | tuple) and value:
        return f"{kind} of {len(value)}, of which the first is " + (
            f"a {type(value[0]).__name__}" if isinstance(value[0], list | tuple | dict) else _described(value[0])
        )
    return f"an empty {kind[2:]}" if isinstance(value, list | tuple) else kind


class _Scene(NamedTuple):
    """Stands for the converters' named tuple."""

    frames: Any
    cameras: Any


class _DType:
    """Stands for a NumPy dtype in a pickle."""

    def __init__(self, name: str, align: Any = False, copy: Any = True):
        self.name, self.order = name, "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _Array:
    """Stands for a NumPy array in a pickle: NumPy's own `__setstate__` trusts its arguments, this one checks them."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.name in ("O", "O8", "O4"):
            if not isinstance(data, list) or not all(type(item) is bytes for item in data):
                raise ValueError("an array of objects that are not byte strings")
            value = np.empty(len(data), object)
            value[:] = data
        elif dtype.name in DTYPES and dtype.order in ("<", ">", "|") and isinstance(data, bytes):
            value = np.frombuffer(data, dtype.order + dtype.name)
        else:
            raise ValueError(f"an array of another type ({str(dtype.name)[:20]})")
        self.value = value.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*arguments: Any) -> _Array:
    return _Array()


KNOWN: list[Any] = [
    (_Scene, "__main__.Scene"),
    (_DType, "numpy.dtype"),
    (_Array, "numpy.ndarray"),
    (_reconstruct, "numpy.core.multiarray._reconstruct"),
    (_reconstruct, "numpy._core.multiarray._reconstruct"),
]

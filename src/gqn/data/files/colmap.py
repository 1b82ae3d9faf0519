"""Photographs with the cameras that COLMAP found: cameras, images and points3D, each as .bin or .txt.

The formats are described at https://colmap.github.io/format.html. They are read here, and not by COLMAP's own library,
which ends the whole process at a damaged file.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gqn.data.files.photos import Array, Lens, Photo
from gqn.errors import BadInput

MODELS = {  # number, name, number of parameters: focal lengths, principal point, then those of the lens
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
}
MOST_POINTS = 200_000  # read, evenly of all


def photos(model: Path, images: Path) -> tuple[list[Photo], Array]:
    """The photographs of a model's folder, whose files are below `images`, and its points (N, 3), if it has any.

    BadInput, which names the file, if one is missing, damaged, or of a lens that is not known.
    """
    lenses = dict(_read(model, "cameras", _cameras_bin, _cameras_txt))
    found = []
    for name, numbers, camera in _read(model, "images", _images_bin, _images_txt):
        if camera not in lenses:
            raise BadInput(f"{model}: image {name} is of camera {camera}, which is not in the model")
        rotation, shift = _rotation(np.array(numbers[:4])), np.array(numbers[4:])  # world to camera
        if rotation is None or not np.isfinite(shift).all():
            raise BadInput(f"{model}: the pose of image {name} is damaged")
        found.append(Photo(images / name, lenses[camera], rotation.T, -rotation.T @ shift))
    has_points = any((model / f"points3D{suffix}").exists() for suffix in (".bin", ".txt"))
    points = np.array(list(_read(model, "points3D", _points_bin, _points_txt)) if has_points else [], float)
    return sorted(found, key=lambda photo: str(photo.path)), points.reshape(-1, 3)


def _read(model, name, of_binary, of_text):  # type: ignore[no-untyped-def]
    """What one of the reading functions below finds in a file of a model, as a list."""
    path = next((p for p in (model / f"{name}.bin", model / f"{name}.txt") if p.exists()), model / f"{name}.bin")
    try:
        if path.suffix == ".bin":
            return list(of_binary(_Bytes(path.read_bytes())))
        lines = path.read_text(encoding="utf-8").splitlines()
        return list(of_text([line for line in lines if not line.startswith("#")]))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, IndexError, struct.error, OverflowError) as error:
        raise BadInput(f"{path} is damaged, or no file of COLMAP's: {error}") from error


class _Bytes:
    """Reads numbers from bytes, one after the other; struct.error where they end."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, kinds: str) -> tuple:
        values = struct.unpack_from("<" + kinds, self.data, self.at)
        self.at += struct.calcsize("<" + kinds)
        return values

    def name(self) -> str:
        end = self.data.index(b"\0", self.at)
        start, self.at = self.at, end + 1
        return self.data[start:end].decode()

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise ValueError("it is cut short")


def _cameras_bin(data: _Bytes) -> Iterator[tuple[int, Lens]]:
    for _ in range(data.take("Q")[0]):
        camera, model, width, height = data.take("iiQQ")
        name, count = MODELS.get(model, (f"number {model}", 0))
        yield camera, _lens(name, width, height, data.take(f"{count}d"))


def _cameras_txt(lines: list[str]) -> Iterator[tuple[int, Lens]]:
    for camera, model, width, height, *numbers in (line.split() for line in lines if line.strip()):
        yield int(camera), _lens(model, int(width), int(height), tuple(map(float, numbers)))


def _images_bin(data: _Bytes) -> Iterator[tuple[str, tuple, int]]:
    for _ in range(data.take("Q")[0]):
        _, *numbers, camera = data.take("I7dI")
        name = data.name()
        data.skip(24 * data.take("Q")[0])
        yield name, tuple(numbers), camera


def _images_txt(lines: list[str]) -> Iterator[tuple[str, tuple, int]]:
    while lines and not lines[-1].strip():
        lines.pop()
    for line in lines[::2]:  # every other line lists the points that an image sees, and may be empty
        _, *numbers, camera, name = line.split(maxsplit=9)
        yield name, tuple(map(float, numbers)), int(camera)


def _points_bin(data: _Bytes) -> Iterator[tuple]:
    count = data.take("Q")[0]
    for number in range(count):
        _, x, y, z, *_, seen = data.take("Q3d3BdQ")
        data.skip(8 * seen)
        if number % (1 + count // MOST_POINTS) == 0:
            yield x, y, z


def _points_txt(lines: list[str]) -> Iterator[tuple]:
    for line in lines[:: 1 + len(lines) // MOST_POINTS]:
        if line.strip():
            _, x, y, z, *_ = line.split()
            yield float(x), float(y), float(z)


def _lens(model: str, width: int, height: int, numbers: tuple) -> Lens:
    known = dict(MODELS.values())
    if model not in known:
        raise ValueError(f"camera model {model} is not known: colmap image_undistorter makes pinhole cameras of all")
    if len(numbers) != known[model] or not all(map(math.isfinite, numbers)) or numbers[0] <= 0:
        raise ValueError(f"camera model {model} with parameters {numbers}")
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise ValueError(f"an image of {width}x{height} pixels")
    two = model in ("PINHOLE", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV")
    focal, rest = ((numbers[0], numbers[1]), numbers[2:]) if two else ((numbers[0],) * 2, numbers[1:])
    middle, bent = (rest[0], rest[1]), rest[2:]
    if model == "OPENCV":
        return Lens(width, height, focal, middle, bent[:2], (bent[2], bent[3]))
    if model == "FULL_OPENCV":
        return Lens(width, height, focal, middle, bent[:2] + bent[4:], (bent[2], bent[3]))
    return Lens(width, height, focal, middle, bent, fisheye="FISHEYE" in model)


def _rotation(q: Array) -> Array | None:
    """The rotation (3, 3) of a quaternion (w, x, y, z), of any length but 0; None if it is damaged."""
    length = np.linalg.norm(q)
    if not (np.isfinite(length) and length > 1e-6):
        return None
    w, x, y, z = q / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )

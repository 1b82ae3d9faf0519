"""Reading files that may be damaged, or not what their names say.

A reader returns what a file holds or raises BadInput: one line that names the file and says what is wrong with it.
Only a file that is not there raises FileNotFoundError. No file takes more than `MOST` bytes of memory, and nothing in a
file is executed. Tables, the JSON files of the package, carry a checksum of their content.
"""

import io
import json
import math
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO

import numpy as np
from google_crc32c import value as crc32c

from gqn.errors import BadInput, short_of_memory

MOST = 2**30  # bytes of a file, unpacked
CHECKSUM = "checksum"  # the first key of a table
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # ways in which NumPy stores arrays


@contextmanager
def named(path: Path, way: str = "") -> Iterator[None]:
    """Turn an error inside, where a file is read, into BadInput that names it, and says what to do if `way` is given.

    FileNotFoundError, and errors that mean out of memory, stay as they are: the file may be undamaged.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except BadInput as error:
        said = " ".join(str(error).split())
        raise type(error)(said if str(path) in said else f"{path}: {said}") from error
    except Exception as error:
        if short_of_memory(error):
            raise
        if isinstance(error, OSError) and error.strerror:
            raise BadInput(f"cannot read {path}: {error.strerror}") from error
        raise BadInput(f"{path} is damaged ({reason(error)})" + (f": {way}" if way else "")) from error


def reason(error: BaseException) -> str:
    """What an error says, in one line of bounded length."""
    said = str(error).partition("\n")[0].partition(". ")[0]
    return textwrap.shorten(said, 200, placeholder=" ...") or type(error).__name__


def data(path: Path) -> bytes:
    """The bytes of a file."""
    with named(path), open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        if size > MOST:
            raise ValueError(f"it has {size} bytes")
        file.seek(0)
        return file.read(size)


def text(path: Path) -> str:
    """The text of a file, in UTF-8."""
    with named(path):
        return data(path).decode()


def table(path: Path, shape: Any = dict, way: str = "") -> dict[str, Any]:
    """The table in a JSON file, after a check of its checksum, if it has one, and of its `shape` (see `check`)."""
    with named(path, way):
        found = json.loads(text(path))
        if not isinstance(found, dict):
            raise ValueError("it holds no table")
        first = next(iter(found), CHECKSUM)
        if isinstance(shape, dict) and str not in shape and first not in {CHECKSUM, *shape}:
            raise ValueError(f"it begins with {first[:40]!r}")  # such as the checksum under another name
        if found.pop(CHECKSUM, sound := checksum(found)) != sound:
            raise ValueError(f'its content is not that of its "{CHECKSUM}"; if you edited it, remove that entry')
        check(found, shape)
        return found


def checksum(values: dict[str, Any]) -> str:
    """The checksum of a table as it is read again: the CRC-32C of its JSON with sorted keys, in hexadecimal digits."""
    known = {key: value for key, value in values.items() if key != CHECKSUM}
    return f"{crc32c(json.dumps(known, sort_keys=True).encode()):08x}"


def as_json(values: dict[str, Any]) -> str:
    """The text of a JSON file of a table, with its checksum."""
    known = json.loads(json.dumps(finite(values), allow_nan=False))
    return json.dumps({CHECKSUM: checksum(known)} | known, indent=2) + "\n"


def finite(value: Any) -> Any:
    """A value for JSON, in which None replaces each number that is not finite: JSON has no such numbers."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check(value: Any, shape: Any, where: str = "it") -> None:
    """ValueError unless a value is of a shape.

    A shape is a type, or several as in int | None; [shape], a list of values of this shape; {type: shape}, a dict whose
    keys are of this type; or {name: shape, ...}, a dict with values of these shapes, of which some may be missing.
    """
    if isinstance(shape, type | UnionType):
        if not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
            raise ValueError(f"{where} is {textwrap.shorten(repr(value), 60, placeholder=' ...')}")
    elif isinstance(shape, list):
        check(value, list, where)
        for number, each in enumerate(value):
            check(each, shape[0], f"{where}[{number}]")
    else:
        check(value, dict, where)
        for key, each in value.items():
            kind = next(iter(shape))
            if isinstance(kind, type):
                check(key, kind, f"a key of {where}")
                check(each, shape[kind], f"{where}[{key!r}]")
            elif key in shape:
                check(each, shape[key], f"{key} of {where}" if where != "it" else key)


def arrays(path: Path, way: str = "") -> dict[str, np.ndarray]:
    """The arrays in a NumPy archive (.npz), after its checksums were verified."""
    with named(path, way), zipfile.ZipFile(io.BytesIO(stored := data(path))) as archive:
        parts = archive.infolist()
        if len(parts) != int.from_bytes(stored[-12:-10], "little"):  # as the archive's last bytes say
            raise ValueError("some of its arrays are missing")
        if sum(part.file_size for part in parts) > MOST or any(part.compress_type not in PACKED for part in parts):
            raise ValueError("unpacked it is larger than any that was written")
        return {part.filename.removesuffix(".npy"): array(archive.read(part)) for part in parts}


def array(data: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file. ValueError if there is none, or not of just as many bytes as it says."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(file)
    if math.prod(shape) * kind.itemsize != len(data) - file.tell():
        raise ValueError("an array in it has another size than it says")
    return np.frombuffer(data, kind, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def check_archive(file: BinaryIO) -> None:
    """ValueError unless a file is a zip archive as torch.save writes it: not compressed, and as its checksums say."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        if sum(max(part.file_size, part.compress_size) for part in archive.infolist()) > size:
            raise ValueError("a compressed zip archive, which torch.save does not write")
        if bad := archive.testzip():
            raise ValueError(f"{bad[:80]!r} in it does not match its checksum")
    file.seek(0)

"""Recognise the kind of a file by its name and its first bytes, to find data files and to explain wrong ones."""

import codecs
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from google_crc32c import value as crc32c

HEAD = 4096  # bytes that are read
TFRECORD, GZIPPED = "a TFRecord file", "gzip of a TFRecord file"
WEIGHTS = "model weights (safetensors)"
PAGE, REFUSAL = "a web page (HTML)", "a server's answer in XML"
POINTER = "a Git LFS pointer, which only stands for a file"
EMPTY, TEXT, PYTORCH = "an empty file", "a text file", "a PyTorch file (torch.save)"
WAYS = {  # what the user can do, for each kind of wrong file
    PAGE: "the download went wrong, fetch the file again",
    REFUSAL: "the download went wrong, fetch the file again",
    POINTER: "git lfs pull fetches that",
}
JPEG = "a JPEG image"
IMAGES = {b"\xff\xd8\xff": JPEG, b"\x89PNG\r\n\x1a\n": "a PNG image", b"GIF8": "a GIF image"}
STARTS = IMAGES | {
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"%PDF-": "a PDF file",
}
GZIP, ZIP, TAR = b"\x1f\x8b\x08", b"PK\x03\x04", b"ustar"
TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the start of torch.save's files before it wrote zip archives
SCENES = {  # scenes of other GQN ports, by bytes in their pickles
    b"__main__\nScene\n": ", a scene of gqn_datasets_translator or torch-gqn",
    b"core.multiarray\n": ", NumPy arrays, as generative-query-network-pytorch keeps scenes",
}
DATA = re.compile(r"[^.].*\.(tfrecords?|tfrec)(-\d+-of-\d+)?(\.gz)?", re.DOTALL)


def is_data(name: str) -> bool:
    """Whether a file name (without folders) is that of a data file: `*.tfrecord` and the like, but no hidden file.

    So are `*.tfrecords`, `*.tfrec`, shards `*.tfrecord-00000-of-00010`, and all of these with `.gz`.
    """
    return DATA.fullmatch(name) is not None


def data_names(names: Iterable[str]) -> list[str]:
    """The data files among the names in a folder, sorted; a .gz is left out if the same file is there without .gz."""
    data = {name for name in names if is_data(name)}
    return sorted(name for name in data if name.removesuffix(".gz") == name or name.removesuffix(".gz") not in data)


def of(path: Path) -> str:
    """The kind of a file, by its content, in words with an article; "" if unknown or the file cannot be read."""
    try:
        with open(path, "rb") as file:
            return of_bytes(file.read(HEAD))
    except OSError:
        return ""


def of_bytes(head: bytes) -> str:
    """As `of`, from a file's first bytes. With a valid record header it is a TFRecord file, whatever it looks like."""
    if not head.startswith(GZIP) or _is_record(head):
        return _plain(head)
    try:
        inside = zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        inside = b""
    return "gzip of " + ((_plain(inside) or "what gqn does not know") if inside else "nothing that can be unpacked")


def mistaken(path: Path, wanted: str, way: str) -> str:
    """A one-line message: what a file is instead of what was wanted, and what to do; "" if unknown or right.

    `way` says what to do unless WAYS does.
    """
    what = of(path)
    return f"{path} is {what}, not {wanted}: {WAYS.get(what, way)}" if what not in ("", wanted) else ""


def listing(folder: Path, shown: int = 3) -> str:
    """What a folder contains, in words: its first names, how many more there are, and the kind of the first file."""
    try:
        there = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: (p.is_dir(), p.name))
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror})"
    if not there:
        return f"{folder} is empty"
    names = [p.name + "/" * p.is_dir() for p in there[:shown]]
    more = f" and {len(there) - shown} more" if len(there) > shown else ""
    what = "" if there[0].is_dir() else of(there[0])
    return f"{folder} holds {', '.join(names)}{more}" + (f" ({names[0]} is {what})" if what else "")


def masked_crc32c(data: bytes) -> bytes:
    """TFRecord's checksum: the CRC-32C, rotated right by 15 bits, plus a constant, as data may contain CRCs."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _is_record(head: bytes) -> bool:
    return len(head) >= 12 and head[8:12] == masked_crc32c(head[:8])


def _plain(head: bytes) -> str:
    if not head:
        return EMPTY
    if _is_record(head):
        return TFRECORD
    if head.startswith(GZIP):
        return "a gzip file"
    if head.startswith(ZIP):
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        kinds = {b".pkl": PYTORCH, b".npy": "a NumPy archive (.npz)"}
        return next((kind for end, kind in kinds.items() if first.endswith(end)), "a zip archive")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        kind = PYTORCH if head[2:].startswith(TORCH) else "a Python pickle"
        return kind + next((whose for sign, whose in SCENES.items() if sign in head), "")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27:
        return WEIGHTS
    if head[257:262] == TAR:
        return "a tar archive"
    return next((kind for start, kind in STARTS.items() if head.startswith(start)), "") or _text(head)


def _text(head: bytes) -> str:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).lstrip()
    except UnicodeDecodeError:
        return ""
    if any(ord(letter) < 32 and not letter.isspace() for letter in text):
        return ""
    if text.startswith("version https://git-lfs"):
        return POINTER
    if text.startswith("<"):
        return PAGE if re.search(r"<(!doctype html|html|head|body)\b", text, re.IGNORECASE) else REFUSAL
    return "a JSON file" if text.startswith(("{", "[")) else TEXT

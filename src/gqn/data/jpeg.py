"""The released frames' coding: JPEG, quality 95, chroma 4:2:0. simplejpeg, or Pillow where that cannot be had.

Frames smaller than any released one keep their chroma whole: halved, at 32 pixels, its error would be a fifth of what a
trained model's is.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

try:
    import simplejpeg
except ImportError:  # no wheel for the machine
    simplejpeg = None

SMALLEST = 64  # pixels of a side of a released frame
LARGEST = 4096  # pixels of a side: what a damaged header claims is not allocated

Pixels = NDArray[np.uint8]


def encode(frame: Pixels) -> bytes:
    """Code a frame (H, W, 3)."""
    chroma = "420" if len(frame) >= SMALLEST else "444"
    if simplejpeg is None:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=95, subsampling=":".join(chroma))
        return file.getvalue()
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=95, colorsubsampling=chroma)


def encoded(frames: torch.Tensor) -> list[bytes]:
    """Frames (K, 3, H, W) uint8, each coded."""
    return [encode(frame) for frame in frames.permute(0, 2, 3, 1).numpy()]


def decoded(coded: list[bytes]) -> torch.Tensor:
    """Frames of one size, decoded: (K, 3, H, W) uint8; ValueError as `decode`."""
    return torch.from_numpy(np.stack([decode(data) for data in coded])).permute(0, 3, 1, 2)


def decode(data: bytes) -> Pixels:
    """The frame (H, W, 3); ValueError if `data` is not a whole JPEG, or larger than any frame."""
    height, width = size(data)
    if max(height, width) > LARGEST:
        raise ValueError(f"it claims {width}x{height} pixels")
    if simplejpeg is None:
        try:
            return np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB"))
        except OSError as error:
            raise ValueError(str(error)) from error
    return simplejpeg.decode_jpeg(data, "RGB")


def size(data: bytes) -> tuple[int, int]:
    """Height and width that a JPEG's header states; ValueError if it is none."""
    if simplejpeg is None:
        try:
            width, height = Image.open(io.BytesIO(data), formats=["JPEG"]).size
        except OSError as error:
            raise ValueError("no JPEG header") from error
        return height, width
    return simplejpeg.decode_jpeg_header(data)[:2]

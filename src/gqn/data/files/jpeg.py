"""The coding of the released frames: JPEG, quality 95, chroma 4:2:0; by simplejpeg, or Pillow if it is not installed.

Frames smaller than any released one are coded without chroma subsampling (4:4:4): at 32 pixels, subsampling would cause
an error of a fifth of a trained model's.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

try:
    import simplejpeg
except ImportError:  # there is no wheel for this machine
    simplejpeg = None

SMALLEST = 64  # side in pixels of the smallest released frames
LARGEST = 4096  # largest side in pixels that is decoded, so that a damaged header cannot exhaust the memory

Pixels = NDArray[np.uint8]


def encode(frame: Pixels) -> bytes:
    """Encode a frame (H, W, 3) as JPEG."""
    chroma = "420" if len(frame) >= SMALLEST else "444"
    if simplejpeg is None:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=95, subsampling=":".join(chroma))
        return file.getvalue()
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=95, colorsubsampling=chroma)


def encoded(frames: torch.Tensor) -> list[bytes]:
    """Encode frames (K, 3, H, W) uint8, each as a JPEG."""
    return [encode(frame) for frame in frames.permute(0, 2, 3, 1).numpy()]


def decoded(coded: list[bytes]) -> torch.Tensor:
    """Decode K frames of the same size to (K, 3, H, W) uint8. Raises ValueError as `decode` does."""
    return torch.from_numpy(np.stack([decode(data) for data in coded])).permute(0, 3, 1, 2)


def decode(data: bytes) -> Pixels:
    """Decode a frame to (H, W, 3). Raises ValueError if `data` is not a complete JPEG, or a side exceeds `LARGEST`."""
    height, width = size(data)
    if max(height, width) > LARGEST:
        raise ValueError(f"it claims {width}x{height} pixels")
    if simplejpeg is None:
        try:
            return np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB"))
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(str(error)) from error
    return simplejpeg.decode_jpeg(data, "RGB")


def size(data: bytes) -> tuple[int, int]:
    """Height and width from a JPEG's header. Raises ValueError if there is no such header."""
    if simplejpeg is None:
        try:
            width, height = Image.open(io.BytesIO(data), formats=["JPEG"]).size
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError("no JPEG header") from error
        return height, width
    return simplejpeg.decode_jpeg_header(data)[:2]

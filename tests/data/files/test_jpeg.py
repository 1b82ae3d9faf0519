"""A JPEG is whole or refused, whichever library reads it."""

import numpy as np
import pytest

from gqn.data.files import jpeg
from support import made_record


def test_a_jpeg_is_whole_or_refused():
    whole = made_record()[0][0]
    assert jpeg.decode(whole).shape == (16, 16, 3)
    bomb = bytearray(whole)
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = b"\xff\xff\xff\xff"
    for data in (b"", b"no jpeg", whole[:10], whole[: len(whole) // 2], bytes(bomb)):
        with pytest.raises(ValueError):
            jpeg.decode(data)


def test_pillow_stands_in_for_simplejpeg(monkeypatch):
    frame = np.linspace(0, 255, 64 * 64 * 3).astype(np.uint8).reshape(64, 64, 3)
    coded, decoded = jpeg.encode(frame), jpeg.decode(jpeg.encode(frame))
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert np.abs(jpeg.decode(coded).astype(int) - decoded).max() <= 2  # another libjpeg may round otherwise
    assert np.abs(jpeg.decode(jpeg.encode(frame)).astype(int) - decoded).max() <= 2
    for data in (b"", b"no jpeg", coded[:10], coded[: len(coded) // 2]):
        with pytest.raises(ValueError):
            jpeg.decode(data)

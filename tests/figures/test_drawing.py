"""Sheets, heat maps and animations hold the images that they were given."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from gqn.errors import BadInput
from gqn.figures import drawing


def test_a_sheet_holds_its_images_enlarged():
    tiles = np.random.default_rng(0).integers(0, 255, (2, 3, 5, 5, 3)).astype(np.uint8)
    picture = np.asarray(drawing.sheet([drawing.Group("a", tiles[:, :1]), drawing.Group("b", tiles[:, 1:])], side=20))
    for tile in tiles.reshape(-1, 5, 5, 3):
        large = tile.repeat(4, 0).repeat(4, 1)
        windows = np.lib.stride_tricks.sliding_window_view(picture, (20, 20, 3))[:, :, 0]
        assert (windows == large).all((2, 3, 4)).any()


def test_heat_orders_values():
    shades = drawing.heat(np.array([[0.0, 0.5, 1.0, 7.0]]), 1).astype(int).sum(-1)[0]
    assert shades[0] < shades[1] < shades[2] == shades[3]


@pytest.mark.parametrize("suffix", drawing.MOVING)
def test_animations_hold_their_frames(suffix):
    frames = [Image.new("RGB", (31, 20), (40 * i, 0, 255 - 40 * i)) for i in range(5)]
    file = io.BytesIO(drawing.animation(frames, suffix))
    if suffix == ".mp4":
        av = pytest.importorskip("av")
        with av.open(file) as film:
            read = [frame.to_image() for frame in film.decode(video=0)]
    else:
        moving = Image.open(file)
        assert moving.info["loop"] == 0
        read = [(moving.seek(i), moving.convert("RGB"))[1] for i in range(moving.n_frames)]
    assert len(read) == 5
    for got, frame in zip(read, frames, strict=True):
        np.testing.assert_allclose(np.asarray(got)[5, 5], np.asarray(frame)[5, 5], atol=8)


def test_a_film_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadInput, match="pip install 'gqn\\[video\\]'"):
        drawing.animation([Image.new("RGB", (8, 8))], ".mp4")

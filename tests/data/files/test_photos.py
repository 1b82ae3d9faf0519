"""Photographs of a painted sky: what a level camera sees is known, whatever lens and roll the photograph has."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gqn.data.files.photos import ANTICLOCKWISE, Lens, Photo, size_of
from gqn.errors import BadInput
from gqn.views import Cameras

FISHEYE = Lens(220, 160, (120, 122), (112, 78), (0.02, -0.01, 0.003, 0.001), fisheye=True)
LENSES = [
    Lens(200, 150, (180, 180), (100, 75)),
    Lens(150, 200, (160, 190), (80, 90)),
    Lens(200, 150, (180, 180), (100, 75), (-0.1, 0.02), (0.003, -0.002)),
    FISHEYE,
]


def sky(rays):
    """A smooth colour (..., 3), from 0 to 255, of each direction."""
    x, y, z = np.moveaxis(rays / np.linalg.norm(rays, axis=-1, keepdims=True), -1, 0)
    return 127 + 60 * np.stack([np.sin(5 * x + 2 * y), np.sin(4 * y - 3 * z), np.cos(6 * z + x)], -1)


def turned(yaw, pitch, roll):
    """Camera to world, (3, 3)."""
    level = Cameras(torch.tensor([0, 0, 0, yaw, pitch], dtype=torch.float64), 50.0, ANTICLOCKWISE).matrix()[:3, :3]
    c, s = math.cos(roll), math.sin(roll)
    return level.numpy() @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def unprojected(lens):
    """The rays (height, width, 3) of a photograph's pixels, by Newton's method on `Lens.project`."""
    v, u = np.mgrid[: lens.height, : lens.width] + 0.5
    rays = np.stack([(u - lens.middle[0]) / lens.focal[0], (v - lens.middle[1]) / lens.focal[1], np.ones_like(u)], -1)
    for _ in range(60):
        missed = np.stack([u, v], -1) - lens.project(rays)
        rays[..., :2] += missed / lens.focal
    assert np.abs(missed).max() < 1e-4
    return rays


def photographed(folder, lens, rotation):
    path = folder / "photo.png"
    Image.fromarray(sky(unprojected(lens) @ rotation.T).round().astype(np.uint8)).save(path)
    return Photo(path, lens, rotation, np.array([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("lens", LENSES, ids=["pinhole", "portrait", "bent", "fisheye"])
@pytest.mark.parametrize("angles", [(0.3, -0.2, 0.0), (2.0, 0.5, 0.4), (-1.0, -1.2, -1.7), (4.0, -0.4, 3.1)])
def test_a_frame_is_what_the_level_camera_sees(tmp_path, lens, angles):
    photo = photographed(tmp_path, lens, turned(*angles))
    fov = photo.fov()
    assert fov > 20
    frame = photo.frame(fov, 32)
    _, rays = Cameras(torch.from_numpy(photo.pose()), fov, ANTICLOCKWISE).rays(32 * 4, 32 * 4)
    true = sky(rays.numpy()).reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(frame.permute(1, 2, 0).numpy() - true).max() < 2


def test_the_pose_is_where_the_middle_of_the_image_looks():
    photo = Photo(None, LENSES[0], turned(0.3, -0.2, 0.9), np.array([1.0, 2.0, 3.0]))
    assert photo.pose() == pytest.approx([1, 2, 3, 0.3, -0.2])


@pytest.mark.parametrize("pitch", [-math.pi / 2, math.pi / 2])
def test_straight_down_and_up_have_the_yaw_of_the_images_edge(pitch):
    pose = Photo(None, LENSES[0], turned(0.7, pitch, 0.0), np.zeros(3)).pose()
    assert pose == pytest.approx([0, 0, 0, 0.7, pitch], abs=1e-6)


@given(st.floats(-3, 3), st.floats(-1.4, 1.4), st.floats(-3, 3), st.sampled_from(LENSES))
@settings(max_examples=40, deadline=None)
def test_the_widest_frame_just_fits_the_photograph(yaw, pitch, roll, lens):
    photo = Photo(None, lens, turned(yaw, pitch, roll), np.zeros(3))
    fov = photo.fov()
    assert lens.shows(photo.rays(fov, 40)).all()
    assert not lens.shows(photo.rays(fov + 1.5, 400)).all()


def test_a_level_square_photograph_shows_its_own_field_of_view():
    lens = Lens(100, 100, (100, 100), (50, 50))
    assert Photo(None, lens, turned(1.0, 0.3, 0.0), np.zeros(3)).fov() == pytest.approx(53.13, abs=0.02)


def test_a_large_photograph_is_averaged_and_one_of_another_size_is_scaled(tmp_path):
    """A checkerboard finer than a frame's pixels becomes grey; the lens is that of a file four times as large."""
    board = (np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    photo = Photo(tmp_path / "board.png", Lens(300, 300, (300, 300), (150, 150)), turned(0, 0, 0), np.zeros(3))
    frame = photo.frame(40, 16).float()
    assert (frame - 127.5).abs().max() < 3


def test_a_ramp_keeps_its_place_when_it_is_reduced(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 1280), (1280, 1)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    lens = Lens(1280, 1280, (640, 640), (640, 640))
    frame = Photo(tmp_path / "ramp.png", lens, turned(0, 0, 0), np.zeros(3)).frame(90, 16).float()
    across = (torch.arange(16) + 0.5) / 16 * 255
    assert (frame[0] - across).abs().max() < 1.5


def test_transparent_images_are_on_white_and_those_of_16_bits_are_read(tmp_path):
    Image.new("RGBA", (80, 80), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((80, 80), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    lens, way = Lens(80, 80, (100, 100), (40, 40)), turned(0, 0, 0)
    assert (Photo(tmp_path / "clear.png", lens, way, np.zeros(3)).frame(30, 16) == 255).all()
    assert (Photo(tmp_path / "deep.png", lens, way, np.zeros(3)).frame(30, 16) == 100).all()


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_text("text")
    photo = Photo(tmp_path / "a.png", LENSES[0], turned(0, 0, 0), np.zeros(3))
    for use in (lambda: photo.frame(30, 16), lambda: size_of(photo.path)):
        with pytest.raises(BadInput, match="cannot be read as an image"):
            use()
    with pytest.raises(BadInput, match=r"there is no image .*b\.png"):
        size_of(tmp_path / "b.png")


def test_nothing_behind_a_camera_is_shown():
    assert not LENSES[0].shows(np.array([0.0, 0, -1])) and LENSES[0].shows(np.array([0.0, 0, 1]))

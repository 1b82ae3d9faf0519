"""COLMAP's models, of binary and text files; projections against COLMAP's own library."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqn.data.files import colmap
from gqn.errors import BadInput

RAYS = np.array([[0.1, -0.2, 1.0], [-0.3, 0.25, 1.0]])
CAMERAS = {  # number: name, parameters, and where RAYS meet the image, by `Camera.img_from_cam` of pycolmap 4.2.1
    0: ("SIMPLE_PINHOLE", (300, 100, 75), [[130.0, 15.0], [10.0, 150.0]]),
    1: ("PINHOLE", (300, 310, 101, 74), [[131.0, 12.0], [11.0, 151.5]]),
    2: ("SIMPLE_RADIAL", (300, 100, 75, -0.1), [[129.85, 15.3], [11.3725, 148.85625]]),
    3: ("RADIAL", (300, 100, 75, -0.1, 0.02), [[129.8515, 15.297], [11.33063875, 148.891134375]]),
    4: ("OPENCV", (300, 310, 101, 74, -0.1, 0.02, 0.003, -0.002), [[130.7735, 12.4526], [11.99613875, 150.7052471875]]),
    5: (
        "OPENCV_FISHEYE",
        (300, 310, 101, 74, -0.1, 0.02, 0.003, -0.002),
        [[130.3730420086, 13.2957131822], [16.3528794203, 146.8905760547]],
    ),
    6: (
        "FULL_OPENCV",
        (300, 310, 101, 74, -0.1, 0.02, 0.003, -0.002, 0.01, 0.02, 0.03, 0.001),
        [[130.7414778339, 12.5187791433], [12.3243352175, 150.4226335627]],
    ),
    8: (
        "SIMPLE_RADIAL_FISHEYE",
        (300, 100, 75, -0.1),
        [[129.3716498099, 16.2567003802], [15.3864706826, 145.5112744312]],
    ),
    9: (
        "RADIAL_FISHEYE",
        (300, 100, 75, -0.1, 0.02),
        [[129.3730322967, 16.2539354067], [15.3535015469, 145.5387487109]],
    ),
}
POSES = [((0.5, 0.5, -0.5, 0.5), (1.0, 2.0, 3.0)), ((1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.5))]
POINTS = [(0.5, 1.0, -2.0), (3.0, 4.0, 5.0)]


def text(folder):
    lines = [f"{n} {name} 200 150 {' '.join(map(str, p))}" for n, (name, p, _) in CAMERAS.items()]
    (folder / "cameras.txt").write_text("# a comment\n" + "\n".join(lines) + "\n")
    lines = []
    for i, (q, t) in enumerate(POSES):
        lines += [f"{i + 1} {' '.join(map(str, q + t))} {i} photo {i}.png", "" if i else "1.5 2.5 -1 3 4 7"]
    (folder / "images.txt").write_text("# a comment\n" + "\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text(
        "\n".join(f"{i} {x} {y} {z} 1 2 3 0.5 1 0" for i, (x, y, z) in enumerate(POINTS))
    )


def binary(folder):
    data = struct.pack("<Q", len(CAMERAS))
    for n, (_, p, _) in CAMERAS.items():
        data += struct.pack(f"<iiQQ{len(p)}d", n, n, 200, 150, *p)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(POSES))
    for i, (q, t) in enumerate(POSES):
        data += struct.pack("<I7dI", i + 1, *q, *t, i) + f"photo {i}.png".encode() + b"\0"
        data += struct.pack("<Q", i) + i * struct.pack("<ddq", 1, 2, 3)
    (folder / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(POINTS))
    for i, xyz in enumerate(POINTS):
        data += struct.pack("<Q3d3BdQ", i, *xyz, 1, 2, 3, 0.5, 1) + struct.pack("<ii", 1, 2)
    (folder / "points3D.bin").write_bytes(data)


@pytest.mark.parametrize("written", [text, binary])
def test_a_model_is_read(tmp_path, written):
    written(tmp_path)
    photos, points = colmap.photos(tmp_path, tmp_path / "images")
    assert [photo.path for photo in photos] == [tmp_path / "images" / f"photo {i}.png" for i in (0, 1)]
    assert np.allclose(points, POINTS)
    # the first quaternion takes x to z, y to -x and z to -y
    first = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    assert np.allclose(photos[0].rotation.T, first)
    assert np.allclose(first @ photos[0].position + (1, 2, 3), 0)
    assert np.allclose(photos[1].rotation, np.eye(3)) and np.allclose(photos[1].position, (0, 1, -0.5))
    assert [photo.lens.focal for photo in photos] == [(300, 300), (300, 310)]


@pytest.mark.parametrize("written", [text, binary])
@pytest.mark.parametrize("number", CAMERAS)
def test_lenses_project_as_colmap_does(tmp_path, written, number):
    written(tmp_path)
    read = colmap._cameras_txt if written is text else colmap._cameras_bin
    lens = dict(colmap._read(tmp_path, "cameras", colmap._cameras_bin, colmap._cameras_txt))[number]
    assert read and np.allclose(lens.project(RAYS), CAMERAS[number][2], atol=1e-9)


def test_a_model_without_points_is_one(tmp_path):
    binary(tmp_path)
    (tmp_path / "points3D.bin").unlink()
    assert colmap.photos(tmp_path, tmp_path)[1].shape == (0, 3)


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_of_a_damaged_model_one_line_is_said(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("model")
    data.draw(st.sampled_from([text, binary]))(folder)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:at]
    else:
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    try:
        photos, points = colmap.photos(folder, folder)
    except BadInput as error:
        assert "\n" not in str(error) and str(folder) in str(error)
    else:
        assert all(np.isfinite(photo.position).all() for photo in photos) and points.shape[1:] == (3,)


def test_a_point_of_one_number_is_named(tmp_path):
    text(tmp_path)
    (tmp_path / "points3D.txt").write_text("0 1")
    with pytest.raises(BadInput, match=r"points3D\.txt is damaged, or no file of COLMAP's"):
        colmap.photos(tmp_path, tmp_path)


def test_a_lens_that_is_not_known_says_how_to_go_on(tmp_path):
    text(tmp_path)
    (tmp_path / "cameras.txt").write_text("0 FOV 200 150 300 300 100 75 0.1\n")
    with pytest.raises(BadInput, match=r"camera model FOV is not known: colmap image_undistorter"):
        colmap.photos(tmp_path, tmp_path)

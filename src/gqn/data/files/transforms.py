"""Photographs with cameras in a `transforms.json`, as Blender's exporters of NeRF scenes and nerfstudio write it.

camera_angle_x                     full angle across the image, in radians; or
fl_x, fl_y, cx, cy, w, h           in pixels; k1 ... k4, p1, p2, camera_model of the lens; all also of a frame alone
frames                             list of {file_path, transform_matrix}: camera to world, 4 x 4, of a camera with
                                   axes x right, y up, z backward
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from gqn.data.files.photos import Lens, Photo, size_of
from gqn.errors import BadInput
from gqn.runtime import reading

SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".PNG", ".JPG")  # Blender's exporters leave the suffix away
MODELS = {"OPENCV": False, "PINHOLE": False, "SIMPLE_PINHOLE": False, "SIMPLE_RADIAL": False, "RADIAL": False}
MODELS |= {"OPENCV_FISHEYE": True}
OPENGL = np.diag([1.0, -1.0, -1.0])  # axes x right, y up, z backward, from x right, y down, z forward


def photos(path: Path) -> tuple[list[Photo], bool]:
    """The photographs that a transforms.json names, and whether nerfstudio made it of one of COLMAP's models.

    BadInput, which names the file and frame, if one is not usable.
    """
    with reading.named(path):
        said = json.loads(reading.text(path))
    frames = said.get("frames") if isinstance(said, dict) else None
    if not isinstance(frames, list) or not frames:
        raise BadInput(f"{path} has no list `frames` of images with their cameras")
    found = []
    for number, frame in enumerate(frames):
        try:
            found.append(_photo(path.parent, said, frame))
        except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise BadInput(f"{path}: frame {number}: {why}") from error
    return found, "applied_transform" in said


def _photo(folder: Path, said: dict[str, Any], frame: dict[str, Any]) -> Photo:
    name = frame["file_path"]
    if not isinstance(name, str):
        raise ValueError(f"file_path must be a name, not {name!r}")
    named = folder / name.replace("\\", "/")
    path = next((place for s in SUFFIXES if (place := named.with_name(named.name + s)).is_file()), named)
    rotation, position = rigid(np.array(frame["transform_matrix"], float))
    return Photo(path, _lens(said | frame, path), rotation @ OPENGL, position)


def _lens(said: dict[str, Any], path: Path) -> Lens:
    model = said.get("camera_model", "OPENCV")
    if model not in MODELS:
        raise ValueError(f"camera_model {model!r} is not known ({', '.join(MODELS)} are): undistort the images first")
    there = size_of(path)
    width, height = (int(said.get(key, size)) for key, size in zip(("w", "h"), there, strict=True))
    if width < 1 or height < 1 or abs(math.log(there[0] * height / (there[1] * width))) > 0.02:
        raise ValueError(f"{path.name} has {there[0]}x{there[1]} pixels, which is no scaled {width}x{height}")
    x = float(said["fl_x"]) if "fl_x" in said else width / 2 / math.tan(float(said["camera_angle_x"]) / 2)
    default = height / 2 / math.tan(float(said["camera_angle_y"]) / 2) if "camera_angle_y" in said else x
    y = float(said.get("fl_y", default))
    middle = float(said.get("cx", width / 2)), float(said.get("cy", height / 2))
    bent = [float(said.get(f"k{i}", 0)) for i in (1, 2, 3, 4)]
    fisheye = MODELS[model] or bool(said.get("is_fisheye", False))
    tangential = float(said.get("p1", 0)), float(said.get("p2", 0))
    numbers = [x, y, *middle, *bent, *tangential]
    if not all(map(math.isfinite, numbers)) or min(x, y) <= 0:
        raise ValueError(f"the lens is not one: focal lengths {x} and {y}")
    radial = tuple(bent) if fisheye else tuple(bent[:3])
    return Lens(width, height, (x, y), middle, radial, tangential, fisheye)


def rigid(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and position (3,) of a camera-to-world matrix. ValueError if it is none; a scale is taken out."""
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        raise ValueError(f"transform_matrix must be 4 x 4 numbers, not {' x '.join(map(str, matrix.shape))}")
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    rotation = matrix[:3, :3] / np.where(scale > 0, scale, 1)
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 0.01 or np.linalg.det(rotation) < 0:
        raise ValueError("transform_matrix holds no rotation")
    u, _, v = np.linalg.svd(rotation)
    return u @ v, matrix[:3, 3]

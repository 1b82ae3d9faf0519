"""Photographs, or renderings, whose cameras are known, and how each becomes a frame of a level camera.

The images of a dataset have one field of view, are square and have no roll, while photographs have a lens each and any
roll. Two cameras in one place see the same rays, so that the frame of the level camera that looks where a photograph
does is found exactly, by following the rays of its pixels into the photograph.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import avg_pool2d, grid_sample

from gqn.errors import BadInput
from gqn.views import Cameras, Convention

Array = NDArray[np.float64]
ANTICLOCKWISE = Convention(clockwise=False)
WIDEST = 150.0  # degrees, of a level camera
EDGE = 9  # places on each edge of a frame at which it is checked that the photograph shows them
FINE = 8  # a pixel of a frame is the mean of at least FINE x FINE places, if the photograph is so fine
LARGEST = 200_000_000  # pixels of a photograph


@dataclass(frozen=True)
class Lens:
    """How a camera projects, as in COLMAP's and OpenCV's camera models; pixel (0, 0) has its centre at (0.5, 0.5)."""

    width: int  # pixels
    height: int
    focal: tuple[float, float]  # x, y, pixels
    middle: tuple[float, float]  # the principal point, pixels
    radial: tuple[float, ...] = ()  # k1, k2, ... k6 (from k4 on a denominator); of a fisheye lens k1 to k4
    tangential: tuple[float, float] = (0.0, 0.0)  # p1, p2
    fisheye: bool = False  # equidistant

    def project(self, rays: Array) -> Array:
        """Where rays (..., 3), in camera axes (x right, y down, z forward), meet the image: (..., 2); NaN: nowhere."""
        ahead = rays[..., 2] > 1e-6
        x, y = (np.where(ahead, rays[..., i] / np.where(ahead, rays[..., 2], 1), np.nan) for i in (0, 1))
        k = self.radial + (0.0,) * (6 - len(self.radial))
        if self.fisheye:
            r = np.hypot(x, y)
            angle = np.arctan(r)
            a = angle**2
            grown = angle * (1 + a * (k[0] + a * (k[1] + a * (k[2] + a * k[3]))))
            scale = np.where(r > 1e-9, grown / np.where(r > 1e-9, r, 1), 1)
            x, y = x * scale, y * scale
        elif any(k) or any(self.tangential):
            r2, (p1, p2) = x**2 + y**2, self.tangential
            scale = (1 + r2 * (k[0] + r2 * (k[1] + r2 * k[2]))) / (1 + r2 * (k[3] + r2 * (k[4] + r2 * k[5])))
            x, y = (
                x * scale + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
                y * scale + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y,
            )
        return np.stack([x * self.focal[0] + self.middle[0], y * self.focal[1] + self.middle[1]], -1)

    def shows(self, rays: Array) -> NDArray[np.bool_]:
        """Whether rays (..., 3) meet the image."""
        u, v = np.moveaxis(self.project(rays), -1, 0)
        with np.errstate(invalid="ignore"):
            return (u >= 0) & (u <= self.width) & (v >= 0) & (v <= self.height)

    def scaled(self, width: int, height: int) -> "Lens":
        """The lens of the same image at another size."""
        x, y = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            focal=(self.focal[0] * x, self.focal[1] * y),
            middle=(self.middle[0] * x, self.middle[1] * y),
        )


@dataclass(frozen=True)
class Photo:
    """An image file with its camera, in a world with z up once `Capture.aligned` has turned it."""

    path: Path
    lens: Lens
    rotation: Array  # (3, 3): camera to world; camera axes are x right, y down, z forward
    position: Array  # (3,)

    def look(self) -> Array:
        """The direction (3,) of the middle of the image."""
        lens = self.lens
        x = (lens.width / 2 - lens.middle[0]) / lens.focal[0]
        y = (lens.height / 2 - lens.middle[1]) / lens.focal[1]
        ray = self.rotation @ np.array([x, y, 1.0])
        return ray / np.linalg.norm(ray)

    def pose(self) -> Array:
        """The pose (5,) of the level camera that looks where the photograph does."""
        x, y, z = self.look()
        if math.hypot(x, y) < 1e-3:  # straight up or down: the yaw is that of the image's upper or lower edge
            x, y = (-self.rotation[:2, 1]) * (-np.sign(z))
        return np.array([*self.position, ANTICLOCKWISE.yaw(x, y), math.asin(float(np.clip(z, -1, 1)))])

    def rays(self, fov: float, size: int) -> Array:
        """The rays (size, size, 3) of the level camera's pixels, in this photograph's camera axes."""
        _, rays = Cameras(torch.from_numpy(self.pose()), fov, ANTICLOCKWISE).rays(size, size)
        return rays.numpy() @ self.rotation

    def fov(self) -> float:
        """The widest field of view, in degrees, of a level camera all of whose frame the photograph shows; 0: none."""
        matrix = Cameras(torch.from_numpy(self.pose()), 90.0, ANTICLOCKWISE).matrix().numpy()[:3, :3]
        edge = np.linspace(-1, 1, EDGE)
        one = np.ones(EDGE)
        border = np.concatenate([np.stack(p, -1) for p in ((edge, one), (edge, -one), (one, edge), (-one, edge))])
        turn = self.rotation.T @ matrix  # level camera to photograph
        low, high = 0.0, WIDEST
        for _ in range(14):
            middle = (low + high) / 2
            tangent = math.tan(math.radians(middle) / 2)
            rays = np.concatenate([border * tangent, np.ones((len(border), 1))], 1) @ turn.T
            low, high = (middle, high) if self.lens.shows(rays).all() else (low, middle)
        return low

    def frame(self, fov: float, size: int) -> torch.Tensor:
        """The frame (3, size, size), uint8, of the level camera. BadInput if the file cannot be read."""
        image, lens = self._opened()
        across = 2 * math.tan(math.radians(fov) / 2) * max(lens.focal)  # pixels that the frame spans in the middle
        if (smaller := int(across / (FINE * size))) > 1:
            image = image.reduce(smaller)
            focal, middle = ((a / smaller, b / smaller) for a, b in (lens.focal, lens.middle))
            lens = replace(lens, width=image.width, height=image.height, focal=focal, middle=middle)
            across /= smaller
        finer = max(1, math.ceil(across / size))
        places = torch.from_numpy(lens.project(self.rays(fov, size * finer))).float()
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()
        grid = 2 * places / torch.tensor([lens.width, lens.height]) - 1  # of the image's borders, -1 and 1
        seen = grid_sample(pixels[None], grid[None].nan_to_num(2), padding_mode="border", align_corners=False)
        return avg_pool2d(seen, finer)[0].round().clamp(0, 255).byte()

    def _opened(self) -> tuple[Image.Image, Lens]:
        """The image as RGB, on white where it is transparent, and its lens at the size that the file has."""
        try:
            with Image.open(self.path) as file:
                if file.width * file.height > LARGEST:
                    raise BadInput(f"{self.path} claims {file.width}x{file.height} pixels: too large")
                image: Image.Image = file
                if file.mode.startswith("I"):  # 16 bits
                    image = Image.fromarray((np.asarray(file) / 257).round().astype(np.uint8))
                if file.has_transparency_data:
                    image = Image.alpha_composite(Image.new("RGBA", file.size, "white"), file.convert("RGBA"))
                image = image.convert("RGB")
        except BadInput:
            raise
        except Exception as error:  # of Pillow's many readers
            raise BadInput(f"{self.path} cannot be read as an image ({error}): give PNG or JPEG") from error
        return image, self.lens.scaled(*image.size)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its header. BadInput if it cannot be read."""
    try:
        with Image.open(path) as file:
            return file.size
    except FileNotFoundError as error:
        raise BadInput(f"there is no image {path}") from error
    except Exception as error:  # of Pillow's many readers
        raise BadInput(f"{path} cannot be read as an image ({error}): give PNG or JPEG") from error

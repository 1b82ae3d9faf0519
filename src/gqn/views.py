"""Posed images: cameras, views and tasks, the data types that the whole package uses for scenes.

Conventions of all datasets, checked by tests: right-handed world, z up, angles in radians, and no roll. A camera looks
along (cos yaw cos pitch, s sin yaw cos pitch, sin pitch), so that positive pitch looks up. Datasets differ in their
`Convention`: the sign s, and from where z is counted. Nothing else in the package knows about either.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gqn.errors import BadInput

BEYOND = 0.5  # tolerance beyond [0, 1]: samples stay within it, images in 0 to 255 or -1 to 1 do not


@dataclass(frozen=True)
class Convention:
    """What the numbers of a dataset's camera poses mean, as measured on its frames."""

    clockwise: bool = True  # whether yaw turns clockwise, seen from above
    eye: float = 0.0  # height of the eye where z is 0, in units of positions: some datasets leave it away

    def along(self, yaw: Any) -> tuple[Any, Any]:
        """x and y of the horizontal direction that a yaw looks along; a number, an array or a tensor."""
        sin, cos = (yaw.sin(), yaw.cos()) if isinstance(yaw, Tensor) else (np.sin(yaw), np.cos(yaw))
        return cos, -sin if self.clockwise else sin

    def yaw(self, x: Any, y: Any) -> Any:
        """The yaw that looks along a horizontal direction, (x, y): numbers or arrays."""
        return np.arctan2(-np.asarray(y) if self.clockwise else y, x)


CLOCKWISE = Convention()  # as in the released Shepard-Metzler datasets


@dataclass(frozen=True)
class Cameras:
    """Cameras, of any batch shape *B. BadInput if a field has the wrong type, shape or range."""

    pose: Tensor  # (*B, 5): x, y, z, yaw, pitch; float32, as released
    fov: float = 50.0  # full angle across the (square) image, in degrees
    convention: Convention = CLOCKWISE

    def __post_init__(self):
        if not isinstance(self.pose, Tensor):
            raise BadInput(f"poses must be a tensor, not {_kind(self.pose)}: torch.as_tensor makes one of arrays")
        if not self.pose.is_floating_point() or self.pose.shape[-1:] != (5,):
            raise BadInput(
                "a pose is 5 floats, x, y, z, yaw, pitch, with angles in radians: "
                f"poses cannot be {str(self.pose.dtype).removeprefix('torch.')} of shape {tuple(self.pose.shape)}"
            )
        if not 0 < self.fov < 180:
            raise BadInput(f"a field of view is between 0 and 180 degrees, not {self.fov}")

    def __getitem__(self, index: Any) -> Self:
        return replace(self, pose=self.pose[index])

    def float(self) -> Self:
        """The same cameras with poses as float32."""
        return self if self.pose.dtype == torch.float32 else replace(self, pose=self.pose.float())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """A copy on another device."""
        return replace(self, pose=self.pose.to(device, non_blocking=non_blocking))

    def vector(self) -> Tensor:
        """The network input for a camera, (*B, 7): x, y, z, sin yaw, cos yaw, sin pitch, cos pitch.

        This is the order of the official reader (github.com/google-deepmind/gqn-datasets).
        """
        position, yaw, pitch = self.pose.split([3, 1, 1], -1)
        return torch.cat([position, yaw.sin(), yaw.cos(), pitch.sin(), pitch.cos()], -1)

    def matrix(self) -> Tensor:
        """Camera to world, (*B, 4, 4); camera axes are x right, y down, z forward (as OpenCV's)."""
        pitch = self.pose[..., 4]
        (x, y), sp, cp = self.convention.along(self.pose[..., 3]), pitch.sin(), pitch.cos()
        zero = torch.zeros_like(x)
        forward = torch.stack([x * cp, y * cp, sp], -1)
        right = torch.stack([y, -x, zero], -1)  # forward x up
        down = torch.stack([x * sp, y * sp, -cp], -1)  # forward x right
        matrix = torch.zeros(*x.shape, 4, 4, dtype=self.pose.dtype, device=self.pose.device)
        matrix[..., :3, :] = torch.stack([right, down, forward, self.position()], -1)
        matrix[..., 3, 3] = 1
        return matrix

    def position(self) -> Tensor:
        """Where the eyes are, (*B, 3), in units of positions."""
        position = self.pose[..., :3]
        if not self.convention.eye:
            return position
        x, y, z = position.unbind(-1)
        return torch.stack([x, y, z + self.convention.eye], -1)

    def rays(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Origins (*B, 3) and unit directions (*B, height, width, 3) of the rays through the pixel centres."""
        focal = width / 2 / math.tan(math.radians(self.fov) / 2)  # in pixels
        x = (torch.arange(width, device=self.pose.device).to(self.pose.dtype) + 0.5 - width / 2) / focal
        y = (torch.arange(height, device=self.pose.device).to(self.pose.dtype) + 0.5 - height / 2) / focal
        y, x = torch.meshgrid(y, x, indexing="ij")
        in_camera = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], -1), dim=-1)
        rotation = self.matrix()[..., :3, :3]
        return self.position(), (rotation[..., None, None, :, :] @ in_camera[..., None])[..., 0]


@dataclass(frozen=True)
class Views:
    """Images with their cameras, of any batch shape *B. BadInput if a field has the wrong type or shape."""

    frames: Tensor  # (*B, 3, H, W): uint8 in storage and transfer, float in [0, 1] for a model
    cameras: Cameras

    def __post_init__(self):
        check_images(self.frames, "frames")
        if not isinstance(self.cameras, Cameras):
            raise BadInput(f"cameras must be Cameras(pose, fov), not {_kind(self.cameras)}")
        batch, poses = self.frames.shape[:-3], self.cameras.pose.shape[:-1]
        if batch != poses:
            raise BadInput(f"each frame has a pose: these frames are {tuple(batch)} and their poses {tuple(poses)}")

    def __getitem__(self, index: Any) -> Self:
        return replace(self, frames=self.frames[index], cameras=self.cameras[index])

    def float(self) -> Self:
        """The same views with frames as float32 in [0, 1] and poses as float32."""
        frames, cameras = floats(self.frames).float(), self.cameras.float()
        same = frames is self.frames and cameras is self.cameras
        return self if same else replace(self, frames=frames, cameras=cameras)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """A copy on another device."""
        frames = self.frames.to(device, non_blocking=non_blocking)
        return replace(self, frames=frames, cameras=self.cameras.to(device, non_blocking))

    def resized(self, size: int) -> Self:
        """The views at `size` x `size` pixels, resized with antialiasing; BadInput if they are not square."""
        height, width = self.frames.shape[-2:]
        if height != width:
            raise BadInput(f"frames of {width} x {height} pixels are not square: crop them, as cameras see squares")
        return replace(self, frames=resized(self.frames, size))


@dataclass(frozen=True)
class Task:
    """Draw the query views from the context views of the same scene; the two never overlap."""

    context: Views  # (B, M)
    query: Views  # (B, Q)

    def __getitem__(self, scenes: Any) -> Self:
        return replace(self, context=self.context[scenes], query=self.query[scenes])

    def float(self) -> Self:
        """The same task with frames as float32 in [0, 1] and poses as float32."""
        return replace(self, context=self.context.float(), query=self.query.float())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """A copy on another device."""
        return replace(self, context=self.context.to(device, non_blocking), query=self.query.to(device, non_blocking))

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, so that the transfer to a GPU can run in the background."""

        def pinned(v: Views) -> Views:
            return Views(v.frames.pin_memory(), replace(v.cameras, pose=v.cameras.pose.pin_memory()))

        return replace(self, context=pinned(self.context), query=pinned(self.query))


def stack(views: list[Views]) -> Views:
    """Stack views of the same shape along a new first axis."""
    cameras = replace(views[0].cameras, pose=torch.stack([v.cameras.pose for v in views]))
    return Views(torch.stack([v.frames for v in views]), cameras)


def joined(context: Views, more: Views) -> Views:
    """Concatenate views (B, M) and (B, N) of the same scenes to (B, M + N)."""
    cameras = replace(context.cameras, pose=torch.cat([context.cameras.pose, more.cameras.pose], 1))
    return Views(torch.cat([context.frames, more.frames], 1), cameras)


def resized(frames: Tensor, size: int) -> Tensor:
    """Resize frames (*B, 3, H, W) to `size` x `size` pixels, with antialiasing; uint8 frames stay uint8."""
    flat = frames.reshape(-1, *frames.shape[-3:]).float()
    small = interpolate(flat, (size, size), mode="bilinear", antialias=True).view(*frames.shape[:-2], size, size)
    return small if frames.is_floating_point() else small.round_().clamp_(0, 255).to(frames.dtype)


def floats(images: Tensor) -> Tensor:
    """Convert uint8 images (0 to 255) to floats in [0, 1]; float images are returned unchanged."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def check_images(images: Any, what: str) -> None:
    """BadInput, which calls them `what`, unless these are images (*B, 3, H, W), uint8 or float. Reads no values."""
    if not isinstance(images, Tensor):
        raise BadInput(f"{what} must be a tensor of images, not {_kind(images)}: torch.as_tensor makes one of arrays")
    if images.ndim < 3 or images.shape[-3] != 3:
        last = ": .movedim(-1, -3) puts colours first" if images.ndim > 2 and images.shape[-1] == 3 else ""
        raise BadInput(f"{what} must be of shape (..., 3, height, width), not {tuple(images.shape)}{last}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        dtype = str(images.dtype).removeprefix("torch.")
        raise BadInput(f"{what} must be uint8, 0 to 255, or float, 0 to 1, not {dtype}")


def check_range(images: Tensor, what: str) -> None:
    """BadInput, which calls them `what`, if float images are NaN or leave [0, 1] by more than BEYOND.

    Reads the values, so it synchronises with the images' device.
    """
    if not images.is_floating_point() or not images.numel():
        return
    low, high = (x.item() for x in images.aminmax())
    if math.isnan(low):
        raise BadInput(f"{what}: some values are not numbers (NaN)")
    if low < -BEYOND or high > 1 + BEYOND:
        raise BadInput(
            f"{what}: values are from {low:.3g} to {high:.3g}, and floats must be in [0, 1]: scale them, "
            "or give uint8 of 0 to 255"
        )


def _kind(thing: Any) -> str:
    return type(thing).__name__

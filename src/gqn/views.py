"""Posed images: what a scene is to everything in this package.

Conventions, shared by all datasets and pinned by tests: right-handed world, z up, angles in radians. Yaw turns
clockwise seen from above and positive pitch looks up, so that a camera looks along
(cos yaw cos pitch, -sin yaw cos pitch, sin pitch); there is no roll. These are the released files' conventions,
measured on Shepard-Metzler, whose cameras stand at -10/3 times that direction and so face the origin. In genuine scenes
of rooms_ring_camera and mazes yaw turns the other way, which nothing here takes into account.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """Where views are taken from; any batch shape *B."""

    pose: Tensor  # (*B, 5): x, y, z, yaw, pitch; float32, as released
    fov: float = 50.0  # full angle across the (square) image, in degrees

    def __getitem__(self, index: Any) -> Self:
        return replace(self, pose=self.pose[index])

    def vector(self) -> Tensor:
        """What a network sees of a camera, (*B, 7): x, y, z, sin yaw, cos yaw, sin pitch, cos pitch.

        The order of the official reader (github.com/google-deepmind/gqn-datasets).
        """
        position, yaw, pitch = self.pose.split([3, 1, 1], -1)
        return torch.cat([position, yaw.sin(), yaw.cos(), pitch.sin(), pitch.cos()], -1)

    def matrix(self) -> Tensor:
        """Camera to world, (*B, 4, 4); camera axes are x right, y down, z forward (as OpenCV's)."""
        yaw, pitch = self.pose[..., 3], self.pose[..., 4]
        sy, cy, sp, cp = yaw.sin(), yaw.cos(), pitch.sin(), pitch.cos()
        zero = torch.zeros_like(yaw)
        forward = torch.stack([cy * cp, -sy * cp, sp], -1)
        right = torch.stack([-sy, -cy, zero], -1)  # forward x up
        down = torch.stack([cy * sp, -sy * sp, -cp], -1)  # forward x right
        matrix = torch.zeros(*yaw.shape, 4, 4, dtype=self.pose.dtype, device=self.pose.device)
        matrix[..., :3, :] = torch.stack([right, down, forward, self.pose[..., :3]], -1)
        matrix[..., 3, 3] = 1
        return matrix

    def rays(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Origins (*B, 3) and unit directions (*B, height, width, 3) of the rays through the pixel centres."""
        focal = width / 2 / math.tan(math.radians(self.fov) / 2)  # in pixels
        x = (torch.arange(width).to(self.pose) + 0.5 - width / 2) / focal
        y = (torch.arange(height).to(self.pose) + 0.5 - height / 2) / focal
        y, x = torch.meshgrid(y, x, indexing="ij")
        in_camera = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], -1), dim=-1)
        rotation = self.matrix()[..., :3, :3]
        return self.pose[..., :3], (rotation[..., None, None, :, :] @ in_camera[..., None])[..., 0]


@dataclass(frozen=True)
class Views:
    """Images with their cameras; any batch shape *B."""

    frames: Tensor  # (*B, 3, H, W): uint8 in storage and on the way, float in [0, 1] for a model
    cameras: Cameras

    def __getitem__(self, index: Any) -> Self:
        return replace(self, frames=self.frames[index], cameras=self.cameras[index])

    def float(self) -> Self:
        """Frames as float32 in [0, 1]."""
        return self if self.frames.is_floating_point() else replace(self, frames=self.frames.float() / 255)


@dataclass(frozen=True)
class Task:
    """Draw the query views from the context views of the same scene; the two never overlap."""

    context: Views  # (B, M)
    query: Views  # (B, Q)

    def __getitem__(self, scenes: Any) -> Self:
        return replace(self, context=self.context[scenes], query=self.query[scenes])

    def float(self) -> Self:
        """Frames of both as float32 in [0, 1]."""
        return replace(self, context=self.context.float(), query=self.query.float())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """A copy on another device."""
        return _map(lambda t: t.to(device, non_blocking=non_blocking), self)

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, from which a GPU copies in the background."""
        return _map(Tensor.pin_memory, self)


def _map(function: Callable[[Tensor], Tensor], task: Task) -> Any:
    def views(v: Views) -> Views:
        return Views(function(v.frames), replace(v.cameras, pose=function(v.cameras.pose)))

    return replace(task, context=views(task.context), query=views(task.query))


def stack(views: list[Views]) -> Views:
    """Views of one shape, joined along a new first axis."""
    cameras = replace(views[0].cameras, pose=torch.stack([v.cameras.pose for v in views]))
    return Views(torch.stack([v.frames for v in views]), cameras)

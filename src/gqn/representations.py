"""Representation networks: posed images to codes, and a scene's code to what a query camera is told of it.

The first three are the paper's (Eslami et al. 2018, supplement, figure S1). Each is built as
Network(image_size, width, activation, region) and has

    forward(frames, cameras)   frames (N, 3, S, S) and their cameras (N,) to codes (N, ...), to be summed over views
    seen(code, cameras)        a scene's code (B, ...) and query cameras (B, Q) to what the generator is given, features
                               (B Q, width, S/4, S/4); B if they suit all queries, 1 x 1 if they are the same everywhere
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn.layers import tile, with_vector
from gqn.views import Cameras

Activation = Callable[[Tensor], Tensor]
Region = tuple[float, float, float]  # half the extents, along x, y, z, of a box around the origin that holds the scene


def _as_it_is(self, code: Tensor, cameras: Cameras) -> Tensor:
    """The code, the same for every query."""
    return code


class Pyramid(nn.Module):
    """Four strided convolutions over the image and the tiled camera; a code of width x 1 x 1."""

    def __init__(self, image_size: int, width: int, activation: Activation, region: Region):
        super().__init__()
        self.size, self.activation = image_size // 4, activation
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(10, width // 8, 2, 2),
                nn.Conv2d(width // 8, width // 4, 2, 2),
                nn.Conv2d(width // 4, width // 2, 2, 2),
                nn.Conv2d(width // 2, width, image_size // 8),  # covers what is left: 8 x 8 at 64 px
            ]
        )

    seen = _as_it_is

    def forward(self, frames: Tensor, cameras: Cameras) -> Tensor:
        x = torch.cat([frames, tile(cameras.vector(), *frames.shape[2:]).to(frames)], 1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class Tower(nn.Module):
    """Two residual blocks, the camera joining at a quarter of the image's size; a code of width x S/4 x S/4.

    The activation follows every convolution, hence each branch before its sum, and not the sum.
    """

    def __init__(self, image_size: int, width: int, activation: Activation, region: Region):
        super().__init__()
        self.size, self.activation = image_size // 4, activation
        half = width // 2
        self.enter = nn.Conv2d(3, width, 2, 2)
        self.skip1 = nn.Conv2d(width, width, 2, 2)
        self.main1a = nn.Conv2d(width, half, 3, padding=1)
        self.main1b = nn.Conv2d(half, width, 2, 2)
        self.skip2 = nn.Conv2d(width + 7, width, 3, padding=1)
        self.main2a = nn.Conv2d(width + 7, half, 3, padding=1)
        self.main2b = nn.Conv2d(half, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    seen = _as_it_is

    def forward(self, frames: Tensor, cameras: Cameras) -> Tensor:
        a = self.activation
        x = a(self.enter(frames))
        x = a(self.skip1(x)) + a(self.main1b(a(self.main1a(x))))
        v = cameras.vector()
        x = a(with_vector(self.skip2, x, v)) + a(self.main2b(a(with_vector(self.main2a, x, v))))
        return a(self.leave(x))


class Pool(Tower):
    """The tower's code averaged over space: width x 1 x 1, the factorised code that scene algebra uses."""

    def forward(self, frames: Tensor, cameras: Cameras) -> Tensor:
        return super().forward(frames, cameras).mean((2, 3), keepdim=True)


class IdentityTower(nn.Module):
    """The founding program's tower: half the width and then all of it, with identity skips."""

    def __init__(self, image_size: int, width: int, activation: Activation, region: Region):
        super().__init__()
        self.size, self.activation = image_size // 4, activation
        half = width // 2
        self.enter = nn.Conv2d(3, half, 2, 2)
        self.block1 = nn.Conv2d(half, half, 3, padding=1)
        self.down = nn.Conv2d(half, width, 2, 2)
        self.camera = nn.Conv2d(width + 7, width, 3, padding=1)
        self.block2 = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    seen = _as_it_is

    def forward(self, frames: Tensor, cameras: Cameras) -> Tensor:
        a = self.activation
        x = a(self.enter(frames))
        x = x + a(self.block1(x))
        x = a(self.down(x))
        x = a(with_vector(self.camera, x, cameras.vector()))
        x = x + a(self.block2(x))
        return a(self.leave(x))


class Lattice(nn.Module):
    """Features at the points of a lattice in the world: not the paper's, as it is told what those learn, geometry.

    A view's features are read where each point projects to; the code holds their first and second moments and whether
    the point is in view, so that after the mean over views a point knows what colour it has and whether views agree
    about it. A query reads the lattice along its rays, front to back.
    """

    points, depths = 8, 8  # per side of the lattice, along a ray
    region: Tensor
    lattice: Tensor  # (P, P, P, 3), in z, y, x

    def __init__(self, image_size: int, width: int, activation: Activation, region: Region):
        super().__init__()
        self.size, self.activation = image_size // 4, activation
        features = width // 4
        self.enter = nn.Conv2d(3, features, 3, padding=1)
        self.down = nn.Conv2d(features, 2 * features, 4, 2, padding=1)
        self.block = nn.Conv2d(2 * features, 2 * features, 3, padding=1)
        self.leave = nn.Conv2d(2 * features, features, 1)
        self.mix = nn.Conv3d(2 * features + 1, 2 * features, 3, padding=1)
        self.agree = nn.Conv3d(2 * features, features, 1)
        self.project = nn.Conv2d(features * self.depths, width, 1)
        side = (torch.arange(self.points) + 0.5) * (2 / self.points) - 1
        z, y, x = torch.meshgrid(side, side, side, indexing="ij")
        self.register_buffer("region", torch.tensor(region), persistent=False)
        self.register_buffer("lattice", torch.stack([x, y, z], -1) * self.region, persistent=False)

    def forward(self, frames: Tensor, cameras: Cameras) -> Tensor:
        a = self.activation
        x = self.leave(a(self.block(a(self.down(a(self.enter(frames)))))))
        with torch.autocast(frames.device.type, enabled=False):  # positions need float32
            where, in_view = self._project(cameras)
            x = F.grid_sample(x.float(), where, align_corners=False) * in_view
        x = torch.cat([x, x.square(), in_view], 1)
        return x.unflatten(2, (self.points, self.points))

    def _project(self, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Where lattice points fall in the images, (N, P P, P, 2) in -1..1, and whether they do, (N, 1, P P, P)."""
        offset = self.lattice.flatten(0, 1) - cameras.pose[:, None, None, :3]
        right, down, forward = (offset @ cameras.matrix()[:, None, :3, :3]).unbind(-1)  # R^T (point - place)
        where = torch.stack([right, down], -1) / forward.clamp(min=1e-3)[..., None]
        where = where / math.tan(math.radians(cameras.fov) / 2)
        in_view = (forward > 1e-3) & (where.abs() < 1).all(-1)
        return where, in_view[:, None].to(where)

    def seen(self, code: Tensor, cameras: Cameras) -> Tensor:
        queries = cameras.pose.shape[1]
        code = self.agree(self.activation(self.mix(code)))
        with torch.autocast(code.device.type, enabled=False):
            along = self._along(cameras).flatten(0, 1)  # (B Q, D, h, w, 3)
            x = F.grid_sample(code.float().repeat_interleave(queries, 0), along, align_corners=False)
        return self.project(x.flatten(1, 2))

    def _along(self, cameras: Cameras) -> Tensor:
        """Places along the rays inside the region, in its coordinates (-1..1): (B, Q, D, h, w, 3)."""
        origin, direction = cameras.rays(self.size, self.size)
        origin, direction = origin[..., None, None, :] / self.region, direction / self.region
        direction = direction.where(direction.abs() > 1e-6, 1e-6)  # no division by zero along a face
        enters, leaves = ((s - origin) / direction for s in (-direction.sign(), direction.sign()))  # slabs
        near = enters.amax(-1).clamp(min=0)
        far = torch.maximum(leaves.amin(-1), near)
        steps = (torch.arange(self.depths, device=near.device) + 0.5) / self.depths
        depth = near[:, :, None] + (far - near)[:, :, None] * steps[:, None, None]
        return origin[:, :, None] + direction[:, :, None] * depth[..., None]


REPRESENTATIONS = {
    "pyramid": Pyramid,
    "tower": Tower,
    "pool": Pool,
    "identity_tower": IdentityTower,
    "lattice": Lattice,
}

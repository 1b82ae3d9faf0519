"""Representation networks: posed images to codes, and a scene's code to what a query camera is told of it.

The first three are the paper's (Eslami et al. 2018, supplement, figure S1). Each is built as
Network(image_size, width, activation, region) and has

    forward(frames, cameras)   frames (N, 3, S, S) and their cameras (N,) to codes (N, ...), to be summed over views
    seen(code, cameras)        a scene's code (B, ...) and query cameras (B, Q) to what the generator is given: features
                               (B Q, width, S/4, S/4), B if they suit all queries, 1 x 1 if they are the same all over;
                               and the images (B Q, 3, S, S) that it starts from, or None
"""

import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn.layers import tile, with_vector
from gqn.views import Cameras

Activation = Callable[[Tensor], Tensor]
Region = tuple[float, float, float]  # half the extents, along x, y, z, of a box around the origin that holds the scene
Seen = tuple[Tensor, Tensor | None]


def _as_it_is(self, code: Tensor, cameras: Cameras) -> Seen:
    """The code, the same for every query, and nothing drawn yet."""
    return code, None


class Pyramid(nn.Module):
    """Four strided convolutions over the image and the tiled camera; a code of width x 1 x 1."""

    def __init__(self, image_size: int, width: int, activation: Activation, region: Region):
        super().__init__()
        self.activation = activation
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
        self.activation = activation
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
        self.activation = activation
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

    A view's features and colours are read where each point projects to; the code holds their first and second moments
    and whether the point is in view, so that after the mean over views a point knows what colour it has and whether
    views agree about it. A query reads the lattice along its rays, front to back, and starts from the lattice's own
    picture: colours and densities along the rays, composited (Max 1995, Optical models for direct volume rendering).
    """

    points = 10  # per side of the lattice
    depths, picture_depths = 10, 16  # along a ray, where features are read, and for the picture
    fine = 2  # rays for features per side of a generator's cell
    mixed = 3  # channels of a point after mixing, as a multiple of a view's features
    region: Tensor
    lattice: Tensor  # (P, P, P, 3), in z, y, x

    def __init__(self, image_size: int, width: int, activation: Activation, region: Region):
        super().__init__()
        self.size, self.activation = image_size, activation
        features = width // 8
        self.enter = nn.Conv2d(3, 2 * features, 3, padding=1)
        self.down = nn.Conv2d(2 * features, 4 * features, 4, 2, padding=1)
        self.block = nn.Conv2d(4 * features, 4 * features, 3, padding=1)
        self.leave = nn.Conv2d(4 * features, features, 1)
        mixed = self.mixed * features
        self.mix, self.refine = self._mixing(2 * (features + 3) + 1, mixed)
        self.agree = nn.Conv3d(mixed, features, 1)
        self.paint = nn.Conv3d(mixed, 4, 1)  # colour and density
        self.project = nn.Conv2d(features * self.depths, width, self.fine, self.fine)
        side = (torch.arange(self.points) + 0.5) * (2 / self.points) - 1
        z, y, x = torch.meshgrid(side, side, side, indexing="ij")
        self.register_buffer("region", torch.tensor(region), persistent=False)
        self.register_buffer("lattice", torch.stack([x, y, z], -1) * self.region, persistent=False)

    def _mixing(self, enter: int, leave: int) -> tuple[nn.Module, nn.Module]:
        """The layers by which points learn from their neighbours: the first one, and what follows it."""
        return nn.Conv3d(enter, leave, 3, padding=1), nn.Conv3d(leave, leave, 3, padding=1)

    def _refined(self, x: Tensor) -> Tensor:
        return x + self.activation(self.refine(x))

    def forward(self, frames: Tensor, cameras: Cameras) -> Tensor:
        a = self.activation
        x = self.leave(a(self.block(a(self.down(a(self.enter(frames)))))))
        with torch.autocast(frames.device.type, enabled=False):  # positions need float32
            where, in_view = self._project(cameras)
            read = [F.grid_sample(image, where, align_corners=False) * in_view for image in (x.float(), frames)]
        x = torch.cat([*read, *(entry.square() for entry in read), in_view], 1)
        return x.unflatten(2, (self.points, self.points))

    def _project(self, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Where lattice points fall in the images, (N, P P, P, 2) in -1..1, and whether they do, (N, 1, P P, P)."""
        offset = self.lattice.flatten(0, 1) - cameras.pose[:, None, None, :3]
        right, down, forward = (offset @ cameras.matrix()[:, None, :3, :3]).unbind(-1)  # R^T (point - place)
        where = torch.stack([right, down], -1) / forward.clamp(min=1e-3)[..., None]
        where = where / math.tan(math.radians(cameras.fov) / 2)
        in_view = (forward > 1e-3) & (where.abs() < 1).all(-1)
        return where, in_view[:, None].to(where)

    def seen(self, code: Tensor, cameras: Cameras) -> Seen:
        queries, a = cameras.pose.shape[1], self.activation
        x = a(self.mix(code.contiguous(memory_format=torch.channels_last_3d)))  # faster on CPUs
        x = self._refined(x)
        features, paint = (head(x).float().repeat_interleave(queries, 0) for head in (self.agree, self.paint))
        with torch.autocast(code.device.type, enabled=False):
            along, _ = self._along(cameras, self.size // 4 * self.fine, self.depths)
            features = F.grid_sample(features, along, align_corners=False)
            along, length = self._along(cameras, self.size, self.picture_depths)
            *colour, density = F.grid_sample(paint, along, align_corners=False).unbind(1)  # each (B Q, D, S, S)
            spacings = length * self.points / (2 * self.region[0] * self.picture_depths)  # of the lattice, to a place
            through = (-F.softplus(density - 1) * spacings[:, None]).cumsum(1).exp()
            weight = torch.cat([torch.ones_like(through[:, :1]), through], 1).diff(dim=1).neg()
            picture = (torch.stack(colour, 1).sigmoid() * weight[:, None]).sum(2)
        return self.project(features.flatten(1, 2)), picture

    def _along(self, cameras: Cameras, size: int, depths: int) -> tuple[Tensor, Tensor]:
        """Of the rays of a size x size image: places on them, in the region's coordinates (-1..1), (B Q, D, h, w, 3).

        And the rays' lengths inside the region, (B Q, h, w), in the world.
        """
        origin, direction = cameras.rays(size, size)
        origin, direction = origin[..., None, None, :] / self.region, direction / self.region
        direction = direction.where(direction.abs() > 1e-6, 1e-6)  # no division by zero along a face
        enters, leaves = ((s - origin) / direction for s in (-direction.sign(), direction.sign()))  # slabs
        near = enters.amax(-1).clamp(min=0)
        far = torch.maximum(leaves.amin(-1), near)
        steps = (torch.arange(depths, device=near.device) + 0.5) / depths
        depth = near[:, :, None] + (far - near)[:, :, None] * steps[:, None, None]
        along = origin[:, :, None] + direction[:, :, None] * depth[..., None]
        return along.flatten(0, 1), (far - near).flatten(0, 1)


class SeparableLattice(Lattice):
    """The lattice with more and narrower mixing layers, each split into one within the levels and one across them.

    A split as that of space and time by Tran et al. 2018 (R(2+1)D): less work, and twice as many activations.
    """

    mixed, layers = 2, 8

    def _mixing(self, enter: int, leave: int) -> tuple[nn.Module, nn.Module]:
        first, *others = (Separable(enter if i == 0 else leave, leave, self.activation) for i in range(self.layers))
        return first, nn.ModuleList(others)

    def _refined(self, x: Tensor) -> Tensor:
        for layer in cast(nn.ModuleList, self.refine):
            x = x + self.activation(layer(x))
        return x


class Separable(nn.Module):
    """A 1 x 3 x 3 convolution, the activation, a 3 x 1 x 1 convolution: of volumes (N, C, z, y, x)."""

    def __init__(self, enter: int, leave: int, activation: Activation):
        super().__init__()
        self.activation = activation
        self.within = nn.Conv3d(enter, leave, (1, 3, 3), padding=(0, 1, 1))
        self.across = nn.Conv3d(leave, leave, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.across(self.activation(self.within(x)))


REPRESENTATIONS = {
    "pyramid": Pyramid,
    "tower": Tower,
    "pool": Pool,
    "identity_tower": IdentityTower,
    "lattice": Lattice,
    "separable_lattice": SeparableLattice,
}

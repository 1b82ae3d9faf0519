"""Representation networks: they encode posed images, and give the generator the features for a query camera.

The first three are the paper's (Eslami et al. 2018, supplement, figure S1). Each keeps the protocol
`gqn.models.Representation`. To add one, write a class and add it to the table at the end.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn.models.layers import tile, with_vector
from gqn.views import Cameras

Activation = Callable[[Tensor], Tensor]
Told = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Setting:
    """Settings that a representation network is built with."""

    image_size: int  # pixels of a side
    width: int  # channels of the features that the generator gets
    activation: Activation
    aggregate: str  # "sum" or "mean" over the views' codes
    region: tuple[float, float, float]  # `gqn.models.Region`
    lattice_points: int = 10  # per side of the lattice


def _aggregated(self, codes: Tensor) -> Tensor:
    """`join`: the sum or the mean of the views' codes."""
    return codes.sum(1) if self.aggregate == "sum" else codes.mean(1)


def _the_same_for_all(self, representation: Tensor, cameras: Cameras) -> Told:
    """`answer`: the representation, the same for every query, and no image to start from."""
    return representation, None


class Pyramid(nn.Module):
    """Four strided convolutions over the image and the tiled camera; a code of width x 1 x 1."""

    def __init__(self, setting: Setting):
        super().__init__()
        self.activation, self.aggregate, width = setting.activation, setting.aggregate, setting.width
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(10, width // 8, 2, 2),
                nn.Conv2d(width // 8, width // 4, 2, 2),
                nn.Conv2d(width // 4, width // 2, 2, 2),
                nn.Conv2d(width // 2, width, setting.image_size // 8),  # covers what is left: 8 x 8 at 64 px
            ]
        )

    join, answer = _aggregated, _the_same_for_all

    def encode(self, frames: Tensor, cameras: Cameras) -> Tensor:
        """As of `gqn.models.Representation`."""
        x = torch.cat([frames, tile(cameras.vector(), *frames.shape[2:]).to(frames)], 1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class Tower(nn.Module):
    """Two residual blocks; the camera enters at a quarter of the image's size S; a code of width x S/4 x S/4.

    The activation follows every convolution, so it is applied to each branch before the sum, and not to the sum.
    """

    def __init__(self, setting: Setting):
        super().__init__()
        self.activation, self.aggregate, width = setting.activation, setting.aggregate, setting.width
        half = width // 2
        self.enter = nn.Conv2d(3, width, 2, 2)
        self.skip1 = nn.Conv2d(width, width, 2, 2)
        self.main1a = nn.Conv2d(width, half, 3, padding=1)
        self.main1b = nn.Conv2d(half, width, 2, 2)
        self.skip2 = nn.Conv2d(width + 7, width, 3, padding=1)
        self.main2a = nn.Conv2d(width + 7, half, 3, padding=1)
        self.main2b = nn.Conv2d(half, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    join, answer = _aggregated, _the_same_for_all

    def encode(self, frames: Tensor, cameras: Cameras) -> Tensor:
        """As of `gqn.models.Representation`."""
        a = self.activation
        x = a(self.enter(frames))
        x = a(self.skip1(x)) + a(self.main1b(a(self.main1a(x))))
        v = cameras.vector()
        x = a(with_vector(self.skip2, x, v)) + a(self.main2b(a(with_vector(self.main2a, x, v))))
        return a(self.leave(x))


class Pool(Tower):
    """The tower's code averaged over space: width x 1 x 1, the factorised code that scene algebra uses."""

    def encode(self, frames: Tensor, cameras: Cameras) -> Tensor:
        """As of `gqn.models.Representation`."""
        return super().encode(frames, cameras).mean((2, 3), keepdim=True)


class IdentityTower(nn.Module):
    """The founding program's tower: a residual block at half the width, then one at full width, with identity skips."""

    def __init__(self, setting: Setting):
        super().__init__()
        self.activation, self.aggregate, width = setting.activation, setting.aggregate, setting.width
        half = width // 2
        self.enter = nn.Conv2d(3, half, 2, 2)
        self.block1 = nn.Conv2d(half, half, 3, padding=1)
        self.down = nn.Conv2d(half, width, 2, 2)
        self.camera = nn.Conv2d(width + 7, width, 3, padding=1)
        self.block2 = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    join, answer = _aggregated, _the_same_for_all

    def encode(self, frames: Tensor, cameras: Cameras) -> Tensor:
        """As of `gqn.models.Representation`."""
        a = self.activation
        x = a(self.enter(frames))
        x = x + a(self.block1(x))
        x = a(self.down(x))
        x = a(with_vector(self.camera, x, cameras.vector()))
        x = x + a(self.block2(x))
        return a(self.leave(x))


class Lattice(nn.Module):
    """Features at the points of a lattice in the world. Not the paper's: it uses the known camera geometry.

    Each point is projected into each view, and the view's features and colours are read there. The code of a view holds
    them, their squares, and whether the point is in view, so the mean over views tells a point's colour and whether the
    views agree about it. 3-D convolutions then mix neighbouring points. The result, a feature volume with colours and
    densities, is the representation. A query reads the feature volume along its rays, front to back. The canvas starts
    from a picture that is rendered from the colours and densities (Max 1995, Optical models for direct volume
    rendering).
    """

    fine = 2  # rays for features, per side of a cell of the generator's states
    mixed = 3  # channels of the 3-D convolutions, as a multiple of a view's features
    region: Tensor
    lattice: Tensor  # (P, P, P, 3): axes z, y, x; the positions are x, y, z

    def __init__(self, setting: Setting):
        super().__init__()
        self.size, self.activation, self.aggregate = setting.image_size, setting.activation, setting.aggregate
        self.points = setting.lattice_points
        self.depths, self.picture_depths = self.points, round(1.6 * self.points)  # places read along a ray
        features = setting.width // 8
        self.enter = nn.Conv2d(3, 2 * features, 3, padding=1)
        self.down = nn.Conv2d(2 * features, 4 * features, 4, 2, padding=1)
        self.block = nn.Conv2d(4 * features, 4 * features, 3, padding=1)
        self.leave = nn.Conv2d(4 * features, features, 1)
        mixed = self.mixed * features
        self.mix, self.refine = self._mixing(2 * (features + 3) + 1, mixed)
        self.agree = nn.Conv3d(mixed, features, 1)
        self.paint = nn.Conv3d(mixed, 4, 1)  # colour and density
        self.project = nn.Conv2d(features * self.depths, setting.width, self.fine, self.fine)
        side = (torch.arange(self.points) + 0.5) * (2 / self.points) - 1
        z, y, x = torch.meshgrid(side, side, side, indexing="ij")
        self.register_buffer("region", torch.tensor(setting.region), persistent=False)
        self.register_buffer("lattice", torch.stack([x, y, z], -1) * self.region, persistent=False)

    def _mixing(self, enter: int, leave: int) -> tuple[nn.Module, nn.Module]:
        """The 3-D convolutions that mix neighbouring points: the first one, and those that follow."""
        return nn.Conv3d(enter, leave, 3, padding=1), nn.Conv3d(leave, leave, 3, padding=1)

    def _refined(self, x: Tensor) -> Tensor:
        return x + self.activation(self.refine(x))

    def encode(self, frames: Tensor, cameras: Cameras) -> Tensor:
        """As of `gqn.models.Representation`."""
        a = self.activation
        x = self.leave(a(self.block(a(self.down(a(self.enter(frames)))))))
        with torch.autocast(frames.device.type, enabled=False):  # positions need float32
            where, in_view = self._project(cameras)
            read = [F.grid_sample(image, where, align_corners=False) * in_view for image in (x.float(), frames)]
        x = torch.cat([*read, *(entry.square() for entry in read), in_view], 1)
        return x.unflatten(2, (self.points, self.points))

    def _project(self, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Image positions of lattice points, (N, P P, P, 2) in -1..1, and whether they are in view, (N, 1, P P, P)."""
        offset = self.lattice.flatten(0, 1) - cameras.position()[:, None, None]
        right, down, forward = (offset @ cameras.matrix()[:, None, :3, :3]).unbind(-1)  # R^T (point - place)
        where = torch.stack([right, down], -1) / forward.clamp(min=1e-3)[..., None]
        where = where / math.tan(math.radians(cameras.fov) / 2)
        in_view = (forward > 1e-3) & (where.abs() < 1).all(-1)
        return where, in_view[:, None].to(where)

    def join(self, codes: Tensor) -> Tensor:
        """The feature volume, (B, features + 4, P, P, P): the last four channels are colour and density."""
        code = _aggregated(self, codes).contiguous(memory_format=torch.channels_last_3d)  # faster on CPUs
        x = self._refined(self.activation(self.mix(code)))
        return torch.cat([self.agree(x), self.paint(x)], 1).float()

    def answer(self, representation: Tensor, cameras: Cameras) -> Told:
        """As of `gqn.models.Representation`."""
        queries = cameras.pose.shape[1]
        features, paint = (
            part.repeat_interleave(queries, 0) for part in representation.split([self.agree.out_channels, 4], 1)
        )
        with torch.autocast(representation.device.type, enabled=False):
            along, _ = self._along(cameras, self.size // 4 * self.fine, self.depths)
            features = F.grid_sample(features, along, align_corners=False)
            along, length = self._along(cameras, self.size, self.picture_depths)
            *colour, density = F.grid_sample(paint, along, align_corners=False).unbind(1)  # each (B Q, D, S, S)
            spacings = length * self.points / (2 * self.region[0] * self.picture_depths)  # steps in lattice spacings
            through = (-F.softplus(density - 1) * spacings[:, None]).cumsum(1).exp()
            weight = torch.cat([torch.ones_like(through[:, :1]), through], 1).diff(dim=1).neg()
            picture = (torch.stack(colour, 1).sigmoid() * weight[:, None]).sum(2)
        return self.project(features.flatten(1, 2)), picture

    def _along(self, cameras: Cameras, size: int, depths: int) -> tuple[Tensor, Tensor]:
        """Places along the rays of a size x size image, (B Q, D, h, w, 3), in the region's coordinates (-1..1).

        And the length of each ray inside the region, (B Q, h, w), in world units.
        """
        origin, direction = cameras.rays(size, size)
        origin, direction = origin[..., None, None, :] / self.region, direction / self.region
        direction = direction.where(direction.abs() > 1e-6, 1e-6)  # avoids division by zero for rays parallel to a face
        enters, leaves = ((s - origin) / direction for s in (-direction.sign(), direction.sign()))  # slab method
        near = enters.amax(-1).clamp(min=0)
        far = torch.maximum(leaves.amin(-1), near)
        steps = (torch.arange(depths, device=near.device) + 0.5) / depths
        depth = near[:, :, None] + (far - near)[:, :, None] * steps[:, None, None]
        along = origin[:, :, None] + direction[:, :, None] * depth[..., None]
        return along.flatten(0, 1), (far - near).flatten(0, 1)


class SeparableLattice(Lattice):
    """The lattice with more and narrower 3-D convolutions, each split into one within the levels and one across them.

    Tran et al. 2018 (R(2+1)D) split space and time in this way: it needs less work and doubles the activations.
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
    """A 1 x 3 x 3 convolution, the activation and a 3 x 1 x 1 convolution, for volumes (N, C, z, y, x)."""

    def __init__(self, enter: int, leave: int, activation: Activation):
        super().__init__()
        self.activation = activation
        self.within = nn.Conv3d(enter, leave, (1, 3, 3), padding=(0, 1, 1))
        self.across = nn.Conv3d(leave, leave, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Volumes (N, enter, z, y, x) to (N, leave, z, y, x)."""
        return self.across(self.activation(self.within(x)))


REPRESENTATIONS = {
    "pyramid": Pyramid,
    "tower": Tower,
    "pool": Pool,
    "identity_tower": IdentityTower,
    "lattice": Lattice,
    "separable_lattice": SeparableLattice,
}

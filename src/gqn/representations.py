"""Representation networks: one posed image to one code (Eslami et al. 2018, supplement, figure S1).

Each is built as Network(image_size, width, activation), where `width` is the number of channels of the code, and maps
frames (N, 3, S, S) and cameras (N, 7) to codes (N, channels, h, w) with the sizes it states as `.channels` and `.size`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gqn.layers import tile

Activation = Callable[[Tensor], Tensor]


class Pyramid(nn.Module):
    """Four strided convolutions over the image and the tiled camera; a code of width x 1 x 1."""

    def __init__(self, image_size: int, width: int, activation: Activation):
        super().__init__()
        self.channels, self.size, self.activation = width, 1, activation
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(10, width // 8, 2, 2),
                nn.Conv2d(width // 8, width // 4, 2, 2),
                nn.Conv2d(width // 4, width // 2, 2, 2),
                nn.Conv2d(width // 2, width, image_size // 8),  # covers what is left: 8 x 8 at 64 px
            ]
        )

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        x = torch.cat([frames, tile(cameras, *frames.shape[2:]).to(frames)], 1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class Tower(nn.Module):
    """Two residual blocks, the camera joining at a quarter of the image's size; a code of width x S/4 x S/4.

    The activation follows every convolution, hence each branch before its sum, and not the sum.
    """

    def __init__(self, image_size: int, width: int, activation: Activation):
        super().__init__()
        self.channels, self.size, self.activation = width, image_size // 4, activation
        half = width // 2
        self.enter = nn.Conv2d(3, width, 2, 2)
        self.skip1 = nn.Conv2d(width, width, 2, 2)
        self.main1a = nn.Conv2d(width, half, 3, padding=1)
        self.main1b = nn.Conv2d(half, width, 2, 2)
        self.skip2 = nn.Conv2d(width + 7, width, 3, padding=1)
        self.main2a = nn.Conv2d(width + 7, half, 3, padding=1)
        self.main2b = nn.Conv2d(half, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        a = self.activation
        x = a(self.enter(frames))
        x = a(self.skip1(x)) + a(self.main1b(a(self.main1a(x))))
        x = torch.cat([x, tile(cameras, *x.shape[2:]).to(x)], 1)
        x = a(self.skip2(x)) + a(self.main2b(a(self.main2a(x))))
        return a(self.leave(x))


class Pool(Tower):
    """The tower's code averaged over space: width x 1 x 1, the factorised code that scene algebra uses."""

    def __init__(self, image_size: int, width: int, activation: Activation):
        super().__init__(image_size, width, activation)
        self.size = 1

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        return super().forward(frames, cameras).mean((2, 3), keepdim=True)


class IdentityTower(nn.Module):
    """The founding program's tower: half the width and then all of it, with identity skips."""

    def __init__(self, image_size: int, width: int, activation: Activation):
        super().__init__()
        self.channels, self.size, self.activation = width, image_size // 4, activation
        half = width // 2
        self.enter = nn.Conv2d(3, half, 2, 2)
        self.block1 = nn.Conv2d(half, half, 3, padding=1)
        self.down = nn.Conv2d(half, width, 2, 2)
        self.camera = nn.Conv2d(width + 7, width, 3, padding=1)
        self.block2 = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        a = self.activation
        x = a(self.enter(frames))
        x = x + a(self.block1(x))
        x = a(self.down(x))
        x = a(self.camera(torch.cat([x, tile(cameras, *x.shape[2:]).to(x)], 1)))
        x = x + a(self.block2(x))
        return a(self.leave(x))


REPRESENTATIONS = {"pyramid": Pyramid, "tower": Tower, "pool": Pool, "identity_tower": IdentityTower}

"""Baselines: models that learn nothing. They are in every table, and a model must beat them.

They are deterministic and keep the protocol `gqn.models.Model`; their representation is the context itself.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gqn.models import checks
from gqn.objective import Gaussian, Prediction
from gqn.views import Cameras, Views


class Baseline(nn.Module):
    """A baseline that predicts with `draw`: context (B, M) and query cameras (B, Q) to images (B, Q, 3, H, W)."""

    def __init__(self, draw: Callable[[Views, Cameras], Tensor]):
        super().__init__()
        self.draw = draw

    def represent(self, context: Views) -> Views:
        """The context itself, checked."""
        return checks.context(self, context)

    def noise(
        self,
        scenes: int,
        queries: int,
        generator: torch.Generator | None = None,
        samples: int = 1,
        share: bool = False,
    ) -> Tensor:
        """Empty noise, (S, B, 0)."""
        return torch.zeros(samples, scenes, 0)

    def forward(
        self, context: Views, query: Views, pixel_std: float | Tensor, noise: Tensor | None = None
    ) -> Prediction:
        """As of `gqn.models.Model`, without latents: L = 0."""
        representation = self.represent(context)
        query = checks.query(self, query, representation)
        mean = self.sample(representation, query.cameras, noise=noise)
        none = mean.new_zeros(*mean.shape[:3], 0)
        return Prediction(Gaussian(mean, pixel_std), none, none)

    def sample(
        self,
        representation: Views,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        samples: int = 1,
        share_noise: bool = False,
        noise: Tensor | None = None,
    ) -> Tensor:
        """As of `gqn.models.Model`; all samples are equal."""
        cameras = checks.cameras(self, cameras, representation)
        images = self.draw(representation, cameras)
        return images.expand(samples if noise is None else len(noise), *images.shape)


def nearest() -> Baseline:
    """The baseline that predicts the nearest context view, by Euclidean distance of the cameras' 7-vectors."""

    def draw(context: Views, cameras: Cameras) -> Tensor:
        distance = torch.cdist(cameras.vector(), context.cameras.vector())  # (B, Q, M)
        scenes = torch.arange(len(distance), device=distance.device)[:, None]
        return context.frames[scenes, distance.argmin(2)]

    return Baseline(draw)


def constant(image: Tensor) -> Baseline:
    """The baseline that always predicts one image (3, H, W), such as the mean image of a dataset."""

    def draw(context: Views, cameras: Cameras) -> Tensor:
        return image.to(cameras.pose.device).expand(*cameras.pose.shape[:2], *image.shape)

    return Baseline(draw)

"""Models that learn nothing: the floors that stand in every table, and that a model must beat.

Deterministic, with the three verbs of every model; their representation is the context itself.
"""

import torch
from torch import Tensor, nn

from gqn import checks
from gqn.objective import Prediction
from gqn.views import Cameras, Views


class Nearest(nn.Module):
    """Answers with the nearest context view, by Euclidean distance of the cameras' 7-vectors."""

    def represent(self, context: Views) -> Views:
        return checks.context(self, context)

    def forward(
        self,
        context: Views,
        query: Views,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Prediction:
        representation = self.represent(context)
        query = checks.query(self, query, representation)
        return _certain(self.sample(representation, query.cameras))

    def sample(
        self,
        representation: Views,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        share_noise: bool = False,
    ) -> Tensor:
        cameras = checks.cameras(self, cameras, representation)
        distance = torch.cdist(cameras.vector(), representation.cameras.vector())  # (B, Q, M)
        scenes = torch.arange(len(distance), device=distance.device)[:, None]
        return representation.frames[scenes, distance.argmin(2)]


class MeanImage(nn.Module):
    """Answers with one image (3, H, W), the mean of many: what is known before looking."""

    image: Tensor

    def __init__(self, image: Tensor):
        super().__init__()
        self.register_buffer("image", image)

    def represent(self, context: Views) -> Views:
        return checks.context(self, context)

    def forward(
        self,
        context: Views,
        query: Views,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Prediction:
        representation = self.represent(context)
        query = checks.query(self, query, representation)
        return _certain(self.sample(representation, query.cameras))

    def sample(
        self,
        representation: Views,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        share_noise: bool = False,
    ) -> Tensor:
        cameras = checks.cameras(self, cameras, representation)
        return self.image.expand(*cameras.pose.shape[:2], -1, -1, -1)


def _certain(mean: Tensor) -> Prediction:
    none = mean.new_zeros(*mean.shape[:2], 0)
    return Prediction(mean, none, none)

"""A model as a user writes one: it blends the context views, weighted by where their cameras are. Deterministic."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from gqn.models import checks
from gqn.objective import Gaussian, Prediction
from gqn.runtime.options import check, short


@dataclass(frozen=True)
class Options:
    hidden: Annotated[int, short("-y")] = 16
    """Width of the layer that weighs cameras."""

    def __post_init__(self):
        check(self)

    def build(self, image_size, region):
        return Blend(image_size, self.hidden)


class Blend(nn.Module):
    def __init__(self, image_size, hidden):
        super().__init__()
        self.image_size = image_size
        self.weigh = nn.Sequential(nn.Linear(14, hidden), nn.ELU(), nn.Linear(hidden, 1))
        self.shade = nn.Parameter(torch.zeros(3, 1, 1))

    def represent(self, context):
        context = checks.context(self, context)
        return torch.cat([context.frames.flatten(2), context.cameras.vector()], 2)

    def noise(self, scenes, queries, generator=None, samples=1, share=False):
        return torch.zeros(samples, scenes, 0, device=self.shade.device)

    def forward(self, context, query, pixel_std, noise=None):
        r = self.represent(context)
        query = checks.query(self, query, r)
        mean = self.sample(r, query.cameras, noise=noise)
        none = mean.new_zeros(*mean.shape[:3], 0)  # a KL of no steps
        return Prediction(Gaussian(mean, pixel_std), none, none)

    def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
        cameras = checks.cameras(self, cameras, representation)
        frames, seen_from = representation.split([representation.shape[2] - 7, 7], 2)  # (B, M, 3 H W), (B, M, 7)
        asked = cameras.vector()[:, :, None].expand(-1, -1, seen_from.shape[1], -1)  # (B, Q, M, 7)
        pairs = torch.cat([asked, seen_from[:, None].expand_as(asked)], -1)
        weight = self.weigh(pairs)[..., 0].softmax(2)  # (B, Q, M)
        images = (weight @ frames).unflatten(2, (3, self.image_size, self.image_size)) + self.shade
        return images.expand(samples if noise is None else noise.shape[0], *images.shape)

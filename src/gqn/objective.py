"""The distribution that a model predicts for an image, and its score, the ELBO: pure functions, in nats per image."""

import math
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from gqn.errors import BadInput


class Distribution(Protocol):
    """A distribution of images (S, B, Q, 3, H, W): S samples of the latents, B scenes, Q queries."""

    mean: Tensor  # (S, B, Q, 3, H, W)

    @property
    def floor(self) -> float | Tensor | None:
        """The loss of a perfect image: -log_likelihood when the mean equals the image. None if there is no such bound,
        as when the model predicts the std itself."""
        ...

    def log_likelihood(self, images: Tensor) -> Tensor:
        """The log-likelihood of images (B, Q, 3, H, W) in [0, 1] under each sample: (S, B, Q), nats per image."""
        ...


@dataclass  # not frozen, and neither is Prediction: lightning-fabric rebuilds what a wrapped model returns
class Gaussian:
    """Independent Gaussians, one for each value of an image."""

    mean: Tensor  # (S, B, Q, 3, H, W)
    std: float | Tensor  # one std for all values (number or 0-d tensor), or one per value, of the mean's shape

    @property
    def floor(self) -> float | Tensor | None:
        """`Distribution.floor`; None for a std per value. It is negative for a small std."""
        if isinstance(self.std, Tensor) and self.std.ndim:
            return None
        log_std = self.std.log() if isinstance(self.std, Tensor) else math.log(self.std)
        return math.prod(self.mean.shape[-3:]) * (log_std + 0.5 * math.log(2 * math.pi))

    def log_likelihood(self, images: Tensor) -> Tensor:
        """`Distribution.log_likelihood`, computed in float32."""
        error = (images - self.mean.float()).square()
        if (floor := self.floor) is not None:
            return -0.5 * math.prod(self.mean.shape[-3:]) * error.flatten(-3).mean(-1) / self.std**2 - floor
        std = cast(Tensor, self.std).float()
        values = 0.5 * error / std.square() + std.log() + 0.5 * math.log(2 * math.pi)
        return -values.flatten(-3).sum(-1)


@dataclass
class Prediction:
    """A model's answer to Q queries of each of B scenes, for S draws of its latents."""

    image: Distribution  # of images (S, B, Q, 3, H, W)
    kl: Tensor  # (S, B, Q, L): KL(posterior || prior) of each generation step, nats per image; L = 0 if deterministic
    log_ratio: Tensor  # (S, B, Q, L): log q(z) - log p(z) of the drawn z, nats per image; its expectation is kl


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound and its parts, each (S, B, Q), nats per image."""

    log_likelihood: Tensor  # log p(image | z), summed over pixels
    kl: Tensor  # summed over generation steps
    mse: Tensor  # of the distribution's mean, per value; detached
    floor: float | Tensor | None  # `Distribution.floor`

    @property
    def elbo(self) -> Tensor:
        """The evidence lower bound, log_likelihood - kl."""
        return self.log_likelihood - self.kl

    @property
    def excess(self) -> Tensor | None:
        """The loss minus its floor: -ELBO - floor. Zero for a perfect and certain model at any pixel std.

        None if the loss has no floor.
        """
        return None if self.floor is None else -self.elbo - self.floor


def elbo(prediction: Prediction, target: Tensor) -> Elbo:
    """Score a prediction against the true images `target`, (B, Q, 3, H, W) in [0, 1].

    ELBO = log p(x | z) - sum_l KL(q_l || p_l), where p(x | z) is the prediction's distribution. With the paper's, a
    Gaussian of pixel std 0.7, no model exceeds -6909.1 nats on a 64 px image: read `excess`, not the raw loss.
    BadInput if the target is not float or has another shape than the prediction.
    """
    mean = prediction.image.mean
    if target.shape != mean.shape[1:] or not target.is_floating_point():
        raise BadInput(
            f"the target must be float images of the prediction's shape {tuple(mean.shape[1:])}, "
            f"not {str(target.dtype).removeprefix('torch.')} of {tuple(target.shape)}"
        )
    mse = (target - mean.detach().float()).square().flatten(-3).mean(-1)
    return Elbo(prediction.image.log_likelihood(target), prediction.kl.float().sum(-1), mse, prediction.image.floor)


def gaussian_kl(mean_q: Tensor, log_std_q: Tensor, mean_p: Tensor, log_std_p: Tensor) -> Tensor:
    """KL(q || p) of diagonal Gaussians, per element, in nats; computed in float32."""
    mean_q, log_std_q, mean_p, log_std_p = (t.float() for t in (mean_q, log_std_q, mean_p, log_std_p))
    ratio = torch.exp(2 * (log_std_q - log_std_p))
    return log_std_p - log_std_q + 0.5 * (ratio + (mean_q - mean_p).square() * torch.exp(-2 * log_std_p) - 1)


def gaussian_log_ratio(z: Tensor, mean_q: Tensor, log_std_q: Tensor, mean_p: Tensor, log_std_p: Tensor) -> Tensor:
    """log q(z) - log p(z) of diagonal Gaussians, per element, in nats; computed in float32."""
    z, mean_q, log_std_q, mean_p, log_std_p = (t.float() for t in (z, mean_q, log_std_q, mean_p, log_std_p))
    distance_q, distance_p = (z - mean_q) * torch.exp(-log_std_q), (z - mean_p) * torch.exp(-log_std_p)
    return log_std_p - log_std_q + 0.5 * (distance_p.square() - distance_q.square())

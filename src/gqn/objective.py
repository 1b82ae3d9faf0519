"""What a model answers and how it is scored: pure functions, in nats per image."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gqn.errors import BadInput
from gqn.views import Cameras, Views


@dataclass  # not frozen: lightning-fabric rebuilds what a wrapped model returns
class Prediction:
    """A model's answer to Q queries for each of B scenes."""

    mean: Tensor  # (B, Q, 3, H, W): the mean of the Gaussian that the image is drawn from
    kl: Tensor  # (B, Q, L): KL(posterior || prior) of each generation step, nats per image; L = 0 if deterministic
    log_ratio: Tensor  # (B, Q, L): log q(z) - log p(z) of the z that was drawn, nats per image; kl is its expectation


class Model(Protocol):
    """What metrics, figures and viewer may ask of any model: three verbs. Frames are float in [0, 1].

    Each verb begins with its function of `gqn.checks`, and so refuses what all others do, in the same words.
    """

    def represent(self, context: Views) -> Any:
        """What the model keeps of context views (B, M); opaque to callers."""

    def __call__(
        self,
        context: Views,
        query: Views,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Prediction:
        """Score known query views (B, Q). As part i of n of a batch it takes its share of the noise of that batch."""
        ...

    def sample(
        self,
        representation: Any,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        share_noise: bool = False,
    ) -> Tensor:
        """Draw the views of cameras (B, Q): image means (B, Q, 3, H, W). A scene's views may share their noise."""
        ...


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound and its parts, each (B, Q), nats per image."""

    log_likelihood: Tensor  # sum over pixels of log Normal(image; mean, pixel_std)
    kl: Tensor  # summed over generation steps
    mse: Tensor  # of the mean, per value
    floor: float  # the loss of a perfect image, -log_likelihood at mse = 0; negative for a small pixel_std

    @property
    def elbo(self) -> Tensor:
        return self.log_likelihood - self.kl

    @property
    def excess(self) -> Tensor:
        """The loss minus its floor: -ELBO - floor. Zero for a perfect and certain model at any pixel_std."""
        return -self.elbo - self.floor


def elbo(prediction: Prediction, target: Tensor, pixel_std: float) -> Elbo:
    """Score a prediction against the true images `target`, (B, Q, 3, H, W) in [0, 1].

    ELBO = sum_pixels log Normal(x; mean, pixel_std) - sum_l KL(q_l || p_l). At pixel_std 0.7 its best value for a
    64 px image is -6909.1 nats, whatever the model: read `excess`, not the raw loss.
    """
    mean, kl = prediction.mean.float(), prediction.kl.float()
    if target.shape != mean.shape or not target.is_floating_point():
        raise BadInput(
            f"the target must be float images of the prediction's shape {tuple(mean.shape)}, "
            f"not {str(target.dtype).removeprefix('torch.')} of {tuple(target.shape)}"
        )
    dims = target[0, 0].numel()
    mse = (target - mean).square().flatten(2).mean(2)
    floor = dims * (math.log(pixel_std) + 0.5 * math.log(2 * math.pi))
    log_likelihood = -0.5 * dims * mse / pixel_std**2 - floor
    return Elbo(log_likelihood, kl.sum(2), mse, floor)


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


def anneal(samples: int, initial: float, final: float, over: int) -> float:
    """Linear from `initial` to `final` over the first `over` training samples, then constant."""
    return final if samples >= over else initial + (final - initial) * samples / over

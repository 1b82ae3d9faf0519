"""Information measures of images and views, in nats or bits: `docs/evaluation.md` has the formulas."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gqn.models import Model
from gqn.views import BEYOND, Cameras, Views, joined


def importance_bound(log_likelihood: Tensor, log_ratio: Tensor) -> Tensor:
    """The importance-weighted bound of Burda et al. 2016, log 1/K sum_k p(x | z_k) p(z_k) / q(z_k): (B,), nats.

    `log_likelihood` log p(x | z_k) and `log_ratio` log q(z_k) - log p(z_k) are (K, B).
    """
    weight = log_likelihood - log_ratio
    return weight.logsumexp(0) - math.log(len(weight))


def bits_per_dimension(log_density: Tensor, dims: int) -> Tensor:
    """Bits for each of an image's `dims` 8-bit values, from its log density in nats.

    The density is over values in [0, 1], and 8-bit values are 1/255 apart there. The density is nearly constant between
    neighbours, so the probability of a value is its density times 1/255. Hence -log2(density) / dims + log2 255.
    """
    return -log_density / (dims * math.log(2)) + math.log2(255)


def surprise(model: Model, context: Views, query: Views, generator: torch.Generator | None = None) -> Tensor:
    """How much query views (B, Q) surprise the model: (B, Q, L), nats for each generation step.

    KL(q_l(z | x, context) || p_l(z | context)), given one draw of the latents of the earlier steps.
    """
    noise = model.noise(query.frames.shape[0], query.frames.shape[1], generator)
    return model(context, query, 1.0, noise).kl[0].float()  # the KL does not depend on the pixel std


def gain(
    model: Model, context: Views, candidates: Cameras, probes: Cameras, pixel_std: float, imagined: int, seed: int
) -> Tensor:
    """The predicted information gain (B, N) of a view from candidates (B, N), about probes (B, P); nats per probe.

    For each candidate c, the model draws `imagined` views x_c, and each is added to the context in turn. The gain
    measures how much the predictions f(p) of the probes p, all drawn with the same noise, vary between the x_c:

        gain(c) = mean over p of sum over values of 1/2 log(1 + Var over x_c of f(p | context, x_c) / pixel_std^2)
    """
    *_, found = gain_in_parts(model, context, candidates, probes, pixel_std, imagined, seed)
    assert found is not None
    return found


def gain_in_parts(
    model: Model, context: Views, candidates: Cameras, probes: Cameras, pixel_std: float, imagined: int, seed: int
) -> Iterator[Tensor | None]:
    """As `gain`, which comes last; before that, None comes whenever the work can be put aside for other work."""

    def noise() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    generator, representation = noise(), model.represent(context)
    dreams, gains = [], []
    for _ in range(imagined):  # each (B, N, 3, H, W); all candidates get the same noise, so that gains compare better
        dreams.append(model.sample(representation, candidates, generator, share_noise=True)[0])
        yield None
    for n in range(candidates.pose.shape[1]):
        at = slice(n, n + 1)
        predicted = []
        for dream in dreams:
            image = dream[:, at].clamp(-BEYOND, 1 + BEYOND)  # refused if farther off
            extended = joined(context, Views(image, candidates[:, at]))
            predicted.append(model.sample(model.represent(extended), probes, noise())[0])
            yield None
        gains.append(0.5 * (torch.stack(predicted).var(0) / pixel_std**2).log1p().sum((2, 3, 4)).mean(1))
    yield torch.stack(gains, 1)

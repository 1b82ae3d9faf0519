"""How near images are to the truth, and how a model's samples lie about it: `docs/evaluation.md` has the formulas.

Image metrics take answer and truth, of one shape (*B, 3, H, W), to one number per image, (*B,). Images are float in
[0, 1] or uint8 of 0 to 255; BadInput if they are something else, though an answer may leave [0, 1].
"""

import math
from functools import cache

import torch
from torch import Tensor

from gqn.errors import BadInput
from gqn.views import check_images, check_range, floats

WINDOW, WINDOW_STD = 11, 1.5  # of SSIM, in pixels
K1, K2 = 0.01, 0.03


def mse(answer: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error per value, images in [0, 1]."""
    answer, truth = _pair(answer, truth)
    return (answer - truth).square().flatten(-3).mean(-1)


def rmse(answer: Tensor, truth: Tensor) -> Tensor:
    """Root mean squared error on the 0-255 scale, as the literature reports it."""
    return 255 * mse(answer, truth).sqrt()


def mae(answer: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error on the 0-255 scale."""
    answer, truth = _pair(answer, truth)
    return 255 * (answer - truth).abs().flatten(-3).mean(-1)


def psnr(answer: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB; of one image, so that a mean of it is a mean over images."""
    return -10 * torch.log10(mse(answer, truth).clamp(min=1e-10))  # equal images: 100 dB


def ssim(answer: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of 11 x 11 pixels, mean over channels and pixels.

    Images go on as their mirror image beyond the border, as torchmetrics has it, so that one may be smaller than the
    window; the paper leaves a border out.
    """
    answer, truth = _pair(answer, truth)
    rows, columns = (_gaussian(side).to(truth) for side in truth.shape[-2:])

    def mean(x: Tensor) -> Tensor:
        return rows @ x @ columns.T

    a, t = mean(answer), mean(truth)
    var_a, var_t = mean(answer.square()) - a.square(), mean(truth.square()) - t.square()
    covariance = mean(answer * truth) - a * t
    luminance = (2 * a * t + K1**2) / (a.square() + t.square() + K1**2)
    structure = (2 * covariance + K2**2) / (var_a + var_t + K2**2)
    return (luminance * structure).flatten(-3).mean(-1)


def _pair(answer: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Answer and truth as floats in [0, 1]; BadInput if they are no images, not of one shape, or the truth is not."""
    check_images(answer, "the answer")
    check_images(truth, "the truth")
    if answer.shape != truth.shape:
        raise BadInput(f"answer and truth are of one shape, not of {tuple(answer.shape)} and {tuple(truth.shape)}")
    check_range(truth, "the truth")
    return floats(answer), floats(truth)


@cache
def _gaussian(side: int) -> Tensor:
    """The window's means along an axis as a matrix, (side, side)."""
    offset = torch.arange(WINDOW) - WINDOW // 2
    weight = torch.exp(-0.5 * (offset / WINDOW_STD).square())
    place = (torch.arange(side)[:, None] + offset).abs() % (2 * side - 2)
    place = torch.minimum(place, 2 * side - 2 - place)  # mirrored, the border pixel once
    return torch.zeros(side, side).scatter_add(1, place, (weight / weight.sum()).expand(side, -1))


METRICS = {"mse": mse, "rmse": rmse, "mae": mae, "psnr": psnr, "ssim": ssim}
HIGHER_IS_BETTER = {"psnr", "ssim"}

# Metrics that are a ratio of two means over scenes: their numerator and denominator.
RATIOS = {
    "calibration": ("truth_to_mean", "variance"),
    "mse_seen": ("error_seen", "share_seen"),
    "mse_hidden": ("error_hidden", "share_hidden"),
    "mse_background": ("error_background", "share_background"),
}


def of_samples(samples: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Metrics of S samples (B, S, 3, H, W) of images whose truth is (B, 3, H, W); each (B,).

    `mse` and so on are means over samples; `mse_of_best` is that of the sample which is best by this metric, and
    `mse_of_mean` that of the mean of the samples. These, and `diversity`, are there if S > 1.
    """
    values = {}
    for name, metric in METRICS.items():
        each = metric(samples, truth[:, None].expand_as(samples))
        values[name] = each.mean(1)
        if samples.shape[1] > 1:
            values[f"{name}_of_best"] = each.amax(1) if name in HIGHER_IS_BETTER else each.amin(1)
            values[f"{name}_of_mean"] = metric(samples.mean(1), truth)
    return values if samples.shape[1] == 1 else values | diversity(samples, truth)


def diversity(samples: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """How far S > 1 samples (B, S, 3, H, W) are apart, and the truth (B, 3, H, W) from them; each (B,).

    `pairwise_rmse`: mean over pairs of samples, 0-255. `pixel_std`: standard deviation, mean over pixels, 0-255.

    `truth_to_mean` and `variance`: mean squared distance of the truth to the mean of the distribution that samples
    come from, and of that distribution to its mean; `calibration` is their ratio, 1 if the truth is one more draw. The
    distribution's mean is not known, only the mean m of S samples, and the truth is farther from m than from it, by
    v / S on average (v: the unbiased variance). Hence, without bias at any S,

        truth_to_mean = |truth - m|^2 - v / S        variance = v.

    Samples are image means, without the noise that the likelihood adds to a pixel.
    """
    s = samples.shape[1]
    flat = samples.flatten(2)
    distance = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(flat.shape[2])
    variance = samples.var(1)
    v = variance.flatten(1).mean(1)
    return {
        "pairwise_rmse": 255 * distance.sum((1, 2)) / (s * (s - 1)),
        "pixel_std": 255 * variance.sqrt().flatten(1).mean(1),
        "truth_to_mean": mse(samples.mean(1), truth) - v / s,
        "variance": v,
    }


def importance_bound(log_likelihood: Tensor, log_ratio: Tensor) -> Tensor:
    """log 1/K sum_k p(x | z_k) p(z_k) / q(z_k), the bound of Burda et al. 2016, from (B, K) terms in nats: (B,)."""
    weight = log_likelihood - log_ratio
    return weight.logsumexp(1) - math.log(weight.shape[1])


def bits_per_dimension(log_density: Tensor, dims: int) -> Tensor:
    """Bits for each of an image's `dims` 8-bit values, from its log density in nats.

    The density is over values in [0, 1] that are 1/255 apart; that of a value times 1/255 is its probability, the
    density being all but constant between neighbours. Hence -log2(density) / dims + log2 255.
    """
    return -log_density / (dims * math.log(2)) + math.log2(255)

"""Metrics of predicted images, and of the diversity of a model's samples: `docs/evaluation.md` has the formulas.

An image metric takes answer and truth, both of shape (*B, 3, H, W), and returns one number per image, (*B,). Images are
float in [0, 1] or uint8 in 0 to 255; anything else is BadInput, except that an answer may have values outside [0, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from gqn.errors import BadInput
from gqn.metrics.statistics import spread
from gqn.views import check_images, check_range, floats

WINDOW, WINDOW_STD = 11, 1.5  # of SSIM, in pixels
K1, K2 = 0.01, 0.03  # constants of SSIM


def mse(answer: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error per value, on the 0-1 scale."""
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
    """Peak signal-to-noise ratio of each image, in dB; at most 100."""
    return -10 * torch.log10(mse(answer, truth).clamp(min=1e-10))  # finite for equal images: 100 dB


def ssim(answer: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of 11 x 11 pixels, mean over channels and pixels.

    Images are padded by reflection, as in torchmetrics, so that they may be smaller than the window; the paper leaves
    out a border instead.
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
    """Answer and truth as floats. BadInput if they are not images of one shape, or the truth is not in [0, 1]."""
    check_images(answer, "the answer")
    check_images(truth, "the truth")
    if answer.shape != truth.shape:
        raise BadInput(f"answer and truth are of one shape, not of {tuple(answer.shape)} and {tuple(truth.shape)}")
    check_range(truth, "the truth")
    return floats(answer), floats(truth)


@cache
def _gaussian(side: int) -> Tensor:
    """The matrix (side, side) that filters an axis with the Gaussian window."""
    offset = torch.arange(WINDOW) - WINDOW // 2
    weight = torch.exp(-0.5 * (offset / WINDOW_STD).square())
    place = (torch.arange(side)[:, None] + offset).abs() % (2 * side - 2)
    place = torch.minimum(place, 2 * side - 2 - place)  # reflected, without repeating the border pixel
    return torch.zeros(side, side).scatter_add(1, place, (weight / weight.sum()).expand(side, -1))


@dataclass(frozen=True)
class Metric:
    """A metric of images, and its format in tables."""

    of: Callable[[Tensor, Tensor], Tensor]  # answer and truth (*B, 3, H, W) to (*B,)
    title: str
    form: str  # number format of its mean and standard error
    higher_is_better: bool = False


METRICS = {
    "mse": Metric(mse, "MSE", ".5f"),
    "rmse": Metric(rmse, "RMSE, 0-255", ".2f"),
    "mae": Metric(mae, "MAE, 0-255", ".2f"),
    "psnr": Metric(psnr, "PSNR, dB", ".2f", higher_is_better=True),
    "ssim": Metric(ssim, "SSIM", ".4f", higher_is_better=True),
}

# Metrics that are the ratio of two means over scenes, with their numerator and denominator.
RATIOS = {
    "calibration": ("truth_to_mean", "variance"),
    "mse_seen": ("error_seen", "share_seen"),
    "mse_hidden": ("error_hidden", "share_hidden"),
    "mse_background": ("error_background", "share_background"),
}


def of_samples(samples: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Metrics of S samples (S, B, 3, H, W) of images whose truth is (B, 3, H, W); each (B,).

    `mse` and so on are means over samples. If S > 1, there are also `mse_of_best`, that of the sample which is best by
    this metric, `mse_of_mean`, that of the mean of the samples, and the values of `diversity`.
    """
    values = {}
    for name, metric in METRICS.items():
        each = metric.of(samples, truth.expand_as(samples))
        values[name] = each.mean(0)
        if len(samples) > 1:
            values[f"{name}_of_best"] = each.amax(0) if metric.higher_is_better else each.amin(0)
            values[f"{name}_of_mean"] = metric.of(samples.mean(0), truth)
    return values if len(samples) == 1 else values | diversity(samples, truth)


def diversity(samples: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """How far S > 1 samples (S, B, 3, H, W) are from each other and from the truth (B, 3, H, W); each (B,).

    `pairwise_rmse`: RMSE between two samples, mean over pairs, 0-255. `spread` (`gqn.metrics.statistics`): mean over
    pixels, 0-255.

    `truth_to_mean` is the mean squared distance from the truth to the mean of the distribution that the samples come
    from, and `variance` is the variance of that distribution. `calibration` is their ratio: 1 if the truth is like one
    more draw. The mean of the distribution is unknown; the mean m of S samples stands for it. The squared distance from
    the truth to m is larger by v / S on average (v: the unbiased variance). Hence, without bias at any S,

        truth_to_mean = |truth - m|^2 - v / S        variance = v.

    Samples are image means: they do not contain the pixel noise of the likelihood.
    """
    s = len(samples)
    flat = samples.flatten(2).transpose(0, 1)
    distance = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(flat.shape[2])
    variance = samples.var(0)
    v = variance.flatten(1).mean(1)
    return {
        "pairwise_rmse": 255 * distance.sum((1, 2)) / (s * (s - 1)),
        "spread": 255 * spread(samples).flatten(1).mean(1),
        "truth_to_mean": mse(samples.mean(0), truth) - v / s,
        "variance": v,
    }

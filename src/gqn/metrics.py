"""Image metrics: truth and answer (*B, 3, H, W) in [0, 1] to one number per image, (*B,)."""

import torch
from torch import Tensor


def mse(answer: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error per value, images in [0, 1]."""
    return (answer - truth).square().flatten(-3).mean(-1)


def rmse(answer: Tensor, truth: Tensor) -> Tensor:
    """Root mean squared error on the 0-255 scale, as the literature reports it."""
    return 255 * mse(answer, truth).sqrt()


def mae(answer: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error on the 0-255 scale."""
    return 255 * (answer - truth).abs().flatten(-3).mean(-1)


def psnr(answer: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB; of one image, so that a mean of it is a mean over images."""
    return -10 * torch.log10(mse(answer, truth).clamp(min=1e-10))  # equal images: 100 dB


METRICS = {"mse": mse, "rmse": rmse, "mae": mae, "psnr": psnr}

"""Metrics against torchmetrics, closed forms and plain references; what they say of models that are known."""

import itertools
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from gqn.errors import BadInput
from gqn.metrics.images import METRICS, RATIOS, of_samples, psnr, ssim
from gqn.metrics.information import bits_per_dimension, importance_bound


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (21, 40)])
def test_psnr_and_ssim_are_torchmetrics(size):
    truth = images(4, 3, *size)
    for noise in (0.01, 0.3):
        answer = truth + noise * (images(4, 3, *size, seed=1) - 0.5)
        expected = structural_similarity_index_measure(answer, truth, data_range=1.0, reduction="none")
        torch.testing.assert_close(ssim(answer, truth), expected, atol=1e-5, rtol=1e-5)
        expected = peak_signal_noise_ratio(answer, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))
        torch.testing.assert_close(psnr(answer, truth), expected)


def test_ssim_of_images_smaller_than_the_window():
    """4 x 5, as the definition has it: the window over the image and its mirror images, at each pixel."""
    a, t = (images(1, 4, 5, seed=s).double().numpy()[0] for s in (0, 1))
    y, x = np.mgrid[-5:6, -5:6]
    w = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    w /= w.sum()
    wide_a, wide_t = (np.pad(image, 5, mode="reflect") for image in (a, t))
    expected = []
    for row, column in np.ndindex(4, 5):
        p, q = (wide[row : row + 11, column : column + 11] for wide in (wide_a, wide_t))
        mp, mq = (w * p).sum(), (w * q).sum()
        vp, vq, vpq = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
        expected.append((2 * mp * mq + 1e-4) * (2 * vpq + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    got = ssim(*(torch.from_numpy(image).expand(3, -1, -1) for image in (a, t)))
    assert got.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_truth_scores_best():
    truth = images(2, 3, 16, 16)
    values = of_samples(truth.expand(4, -1, -1, -1, -1), truth)
    best = {"mse": 0.0, "rmse": 0.0, "mae": 0.0, "psnr": 100.0, "ssim": 1.0}
    for name, suffix in itertools.product(METRICS, ("", "_of_best", "_of_mean")):
        assert values[name + suffix].tolist() == pytest.approx([best[name]] * 2, abs=1e-4), name + suffix
    assert all((values[name] < 1e-9).all() for name in ("pairwise_rmse", "spread", "variance"))


def test_more_samples_never_make_the_best_one_worse():
    samples, truth = images(6, 3, 3, 16, 16), images(3, 3, 16, 16, seed=1)
    for name in METRICS:
        sign = -1 if name in ("psnr", "ssim") else 1
        best = [sign * of_samples(samples[:s], truth)[f"{name}_of_best"] for s in range(2, 7)]
        assert all((more <= fewer).all() for fewer, more in itertools.pairwise(best))
        assert (best[-1] < sign * of_samples(samples, truth)[name]).all()


def test_diversity_by_hand():
    samples, truth = images(4, 2, 3, 8, 8), images(2, 3, 8, 8, seed=1)
    values = of_samples(samples, truth)
    pairs = [(a - b).square().mean((1, 2, 3)).sqrt() for a, b in itertools.combinations(samples.unbind(0), 2)]
    torch.testing.assert_close(values["pairwise_rmse"], 255 * torch.stack(pairs).mean(0))
    torch.testing.assert_close(values["spread"], 255 * samples.std(0).mean((1, 2, 3)))


@pytest.mark.parametrize("samples", [2, 5])
@pytest.mark.parametrize(("spread", "offset", "expected"), [(1, 0, 1), (2, 0, 1 / 4), (0.5, 0, 4), (1, 1, 2)])
def test_calibration_of_known_models(samples, spread, offset, expected):
    """The truth is N(0, 0.05) about what is known; samples are N(offset, spread), in units of 0.05, about the same."""
    g = torch.Generator().manual_seed(0)
    scenes, known = 2000, torch.rand(2000, 3, 4, 4, generator=g)
    truth = known + 0.05 * torch.randn(scenes, 3, 4, 4, generator=g)
    drawn = known + 0.05 * (offset + spread * torch.randn(samples, scenes, 3, 4, 4, generator=g))
    values = of_samples(drawn, truth)
    above, below = (values[name].mean() for name in RATIOS["calibration"])
    assert above / below == pytest.approx(expected, rel=0.03)


def test_importance_bound_is_at_least_the_elbo_and_grows():
    """Of the same draws exactly: log-mean-exp over all subsets of size k, on average, never falls with k."""
    g = torch.Generator().manual_seed(0)
    likelihood, ratio = 3 * torch.randn(6, 5, generator=g), 2 * torch.randn(6, 5, generator=g)
    torch.testing.assert_close(importance_bound(likelihood[:1], ratio[:1]), (likelihood - ratio)[0])
    means = []
    for k in range(1, 7):
        subsets = [list(s) for s in itertools.combinations(range(6), k)]
        means.append(torch.stack([importance_bound(likelihood[s], ratio[s]) for s in subsets]).mean(0))
    torch.testing.assert_close(means[0], (likelihood - ratio).mean(0))
    assert all((more > fewer).all() for fewer, more in itertools.pairwise(means))


def test_importance_bound_tends_to_the_evidence():
    """z ~ N(0, 1), x | z ~ N(z, 1), so that x ~ N(0, sqrt 2); q is neither prior nor posterior."""
    from torch.distributions import Normal

    x, q, p = torch.tensor(1.3), Normal(0.2, 1.1), Normal(0.0, 1.0)
    torch.manual_seed(0)
    z = q.sample((200_000, 1))
    bound = importance_bound(Normal(z, 1.0).log_prob(x), q.log_prob(z) - p.log_prob(z))
    assert bound.item() == pytest.approx(Normal(0.0, math.sqrt(2)).log_prob(x).item(), abs=0.01)


def test_bits_are_those_of_8_bit_values():
    """Of a Gaussian of a few grey levels: the mean code length of the cells that its values fall into."""
    from torch.distributions import Normal

    density = Normal(torch.tensor(0.4, dtype=torch.float64), 0.05)
    value = torch.arange(256, dtype=torch.float64) / 255
    probability = density.cdf(value + 0.5 / 255) - density.cdf(value - 0.5 / 255)
    expected = -(probability * probability.clamp(min=1e-300).log2()).sum()
    bits = (probability * bits_per_dimension(density.log_prob(value), 1)).sum()
    assert bits.item() == pytest.approx(expected.item(), abs=1e-3)
    assert bits_per_dimension(torch.tensor(0.0), 7).item() == pytest.approx(math.log2(255))


@pytest.mark.parametrize("metric", [metric.of for metric in METRICS.values()], ids=METRICS)
def test_what_does_not_compare(metric):
    """Shapes are not broadcast; uint8 is of 0 to 255; an answer may be as wrong as it likes."""
    answer, truth = images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1)
    stored = [(255 * x).byte() for x in (answer, truth)]
    torch.testing.assert_close(metric(*stored), metric(*(x / 255 for x in stored)))
    torch.testing.assert_close(metric(stored[0] / 255, stored[1]), metric(*stored))
    assert metric(300 * answer, truth).isfinite().all() and metric(math.nan * answer, truth).isnan().all()
    for one, other, says in (
        (answer, truth[:1], r"of one shape, not of \(2, 3, 16, 16\) and \(1, 3, 16, 16\)"),
        (answer, truth[0], "of one shape"),
        (answer[:, None], truth[None], "of one shape"),
        (answer, truth[..., :1, :1], "of one shape"),
        (answer, 255 * truth, "the truth: values are from 0"),
        (answer, math.nan * truth, "the truth: some values are not numbers"),
        (answer.movedim(1, -1), truth.movedim(1, -1), "movedim"),
        (answer.numpy(), truth.numpy(), "the answer must be a tensor of images, not ndarray"),
        (answer, truth.long(), "the truth must be uint8"),
    ):
        with pytest.raises(BadInput, match=says):
            metric(one, other)

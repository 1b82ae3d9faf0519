"""The objective against closed forms and torch.distributions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gqn.errors import BadInput
from gqn.objective import Gaussian, Prediction, elbo, gaussian_kl, gaussian_log_ratio
from gqn.training.schedules import anneal


@pytest.mark.parametrize(("pixel_std", "loss"), [(0.7, 6909.1), (2.0, 19809.3)])
def test_mistake_13_a_perfect_image_has_a_loss(pixel_std, loss):
    """At 64 px; and its excess over that floor is zero."""
    image = torch.rand(2, 1, 3, 64, 64)
    score = elbo(Prediction(Gaussian(image[None], pixel_std), *torch.zeros(2, 1, 2, 1, 0)), image)
    torch.testing.assert_close(-score.elbo, torch.full((1, 2, 1), loss), atol=0.1, rtol=0)
    assert score.excess.abs().max() < 1e-2


def test_elbo_terms():
    """Of four samples, for one pixel std as a number and as a tensor."""
    mean, image, kl = torch.rand(4, 2, 3, 3, 8, 8), torch.rand(2, 3, 3, 8, 8), torch.rand(4, 2, 3, 5)
    likelihood = torch.distributions.Normal(mean, 0.4).log_prob(image).sum((3, 4, 5))
    for std in (0.4, torch.tensor(0.4, dtype=torch.float64)):
        score = elbo(Prediction(Gaussian(mean, std), kl, kl), image)
        torch.testing.assert_close(score.log_likelihood, likelihood, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(score.elbo, likelihood - kl.sum(3), rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(score.mse, (mean - image).square().mean((3, 4, 5)))
        assert score.log_likelihood.dtype == score.excess.dtype == torch.float32


def test_a_std_of_every_value_has_no_floor():
    """That a model chooses itself: scored as any Gaussian, and the loss has no least value to be compared with."""
    mean, image, none = torch.rand(4, 2, 3, 3, 8, 8), torch.rand(2, 3, 3, 8, 8), torch.zeros(4, 2, 3, 0)
    std = 0.1 + torch.rand(4, 2, 3, 3, 8, 8)
    score = elbo(Prediction(Gaussian(mean, std), none, none), image)
    likelihood = torch.distributions.Normal(mean, std).log_prob(image).sum((3, 4, 5))
    torch.testing.assert_close(score.elbo, likelihood, rtol=1e-5, atol=1e-3)
    assert score.floor is None and score.excess is None
    for same in (0.4, torch.tensor(0.4)):  # for all values it is as with a std of each
        alike = elbo(Prediction(Gaussian(mean, torch.full_like(mean, 0.4)), none, none), image)
        torch.testing.assert_close(
            alike.elbo, elbo(Prediction(Gaussian(mean, same), none, none), image).elbo, rtol=1e-5, atol=1e-3
        )


def test_mistake_3_kl_is_of_standard_deviations():
    q_mean, q_log, p_mean, p_log = torch.randn(4, 7, 5).unbind()
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(q_mean, q_log.exp()), normal(p_mean, p_log.exp()))
    torch.testing.assert_close(gaussian_kl(q_mean, q_log, p_mean, p_log), expected, rtol=1e-5, atol=1e-5)


def test_log_ratio_is_of_the_densities():
    z, q_mean, q_log, p_mean, p_log = torch.randn(5, 7, 5).unbind()
    q, p = torch.distributions.Normal(q_mean, q_log.exp()), torch.distributions.Normal(p_mean, p_log.exp())
    expected = q.log_prob(z) - p.log_prob(z)
    torch.testing.assert_close(gaussian_log_ratio(z, q_mean, q_log, p_mean, p_log), expected, rtol=1e-5, atol=1e-4)


@given(st.integers(0, 10**9), st.floats(0.1, 5), st.floats(0.1, 5), st.integers(1, 10**8))
def test_anneal(samples, initial, final, over):
    value = anneal(samples, initial, final, over)
    assert min(initial, final) - 1e-9 <= value <= max(initial, final) + 1e-9
    assert anneal(0, initial, final, over) == initial
    assert anneal(over, initial, final, over) == final


def test_anneal_is_linear():
    assert anneal(25, 2.0, 1.0, 100) == 1.75
    assert anneal(10**9, 2.0, 1.0, 100) == 1.0


def test_a_target_is_an_image_of_the_predictions_shape():
    mean, none = torch.rand(1, 2, 3, 3, 8, 8), torch.zeros(1, 2, 3, 0)
    for target in (mean, mean[0, :, :1], mean[0, 0], (255 * mean[0]).byte()):
        with pytest.raises(BadInput, match="the target must be float images"):
            elbo(Prediction(Gaussian(mean, 0.7), none, none), target)

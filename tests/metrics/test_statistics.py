"""RMSE, spread and standard error against their definitions in NumPy, of arrays and of tensors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gqn.metrics import statistics


def both(*shape, seed=0):
    array = np.random.default_rng(seed).random(shape)
    return array, torch.from_numpy(array)


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_rmse_is_the_root_of_the_mean_square(keep):
    for a, b in zip(both(3, 4, 5, 6), both(3, 4, 5, 6, seed=1), strict=True):
        expected = np.sqrt(((np.asarray(a) - np.asarray(b)) ** 2).mean(tuple(range(keep, 4))))
        np.testing.assert_allclose(np.asarray(statistics.rmse(a, b, keep)), expected)
        assert type(statistics.rmse(a, b, 2)) is type(a)


def test_rmse_broadcasts():
    for a, b in zip(both(3, 4, 5), both(5, seed=1), strict=True):
        expected = np.sqrt(((np.asarray(a) - np.asarray(b)) ** 2).mean((1, 2)))
        np.testing.assert_allclose(np.asarray(statistics.rmse(a, b)), expected)


def test_a_weighted_rmse_is_that_of_the_values_that_count():
    for a, b, w in zip(both(2, 8, 3), both(2, 8, 3, seed=1), both(2, 8, 1, seed=2), strict=True):
        mask = w > 0.5
        weight = mask + 0.0 * a[..., :1]
        found = np.asarray(statistics.rmse(a, b, 1, weight))
        for i in range(2):
            kept = np.asarray(mask)[i, :, 0]
            square = (np.asarray(a) - np.asarray(b))[i][kept] ** 2
            assert found[i] == pytest.approx(math.sqrt(square.mean()))
        assert (np.asarray(statistics.rmse(a, b, 1, 0 * weight)) == 0).all()


@given(st.integers(2, 9), st.integers(0, 2))
def test_the_spread_has_the_divisor_of_a_sample(count, axis):
    shape = [3, 3, 3]
    shape[axis] = count
    for x in both(*shape):
        np.testing.assert_allclose(np.asarray(statistics.spread(x, axis)), np.asarray(x).std(axis, ddof=1))


def test_one_sample_has_no_spread_and_one_scene_no_error():
    for x in both(1, 4):
        assert (np.asarray(statistics.spread(x)) == 0).all()
        assert (np.asarray(statistics.standard_error(x)) == 0).all()


def test_the_standard_error_is_of_the_mean():
    """As it comes out when the mean is taken of other scenes, many times."""
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (20_000, 25))
    for x in (values[0], torch.from_numpy(values[0])):
        found = statistics.estimate(x)
        assert found == {"mean": pytest.approx(values[0].mean()), "stderr": pytest.approx(values[0].std(ddof=1) / 5)}
        assert type(found["mean"]) is type(found["stderr"]) is float
    errors = np.sqrt(np.mean([statistics.standard_error(v) ** 2 for v in values[:2000]]))
    assert values.mean(1).std() == pytest.approx(errors, rel=0.03)

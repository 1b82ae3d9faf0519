"""RMSE, spread and standard error. In this package these words mean:

RMSE             the root of the mean squared difference between an answer and the truth
spread           the standard deviation of a pixel's value over a model's samples: what the context leaves uncertain
pixel std        the standard deviation of a pixel around a model's image mean, in the likelihood (`gqn.objective`)
standard error   the standard error of a mean over scenes

Functions take NumPy arrays as well as tensors.
"""

import math
from typing import Any

Values = Any  # a NumPy array or a tensor


def rmse(answer: Values, truth: Values, keep: int = 1, weight: Values | None = None) -> Values:
    """The RMSE over all axes but the first `keep`, weighted if there is a `weight` for each value.

    The arguments are broadcast against each other. If all weights are zero, the RMSE is 0.
    """
    square = (answer - truth) ** 2
    if weight is None:
        return square.reshape(*square.shape[:keep], -1).mean(-1) ** 0.5
    weight = weight + 0 * square
    total = weight.reshape(*square.shape[:keep], -1).sum(-1)
    return ((square * weight).reshape(*square.shape[:keep], -1).sum(-1) / (total + (total == 0))) ** 0.5


def spread(samples: Values, axis: int = 0) -> Values:
    """The standard deviation of S samples along an axis, with the divisor S - 1; 0 if S is 1."""
    count = samples.shape[axis]
    square = (samples - samples.mean(axis, keepdims=True)) ** 2
    return (square.sum(axis) / max(1, count - 1)) ** 0.5


def standard_error(values: Values) -> Values:
    """The standard error of the mean of values (N, ...) over their first axis; 0 if N is 1."""
    return spread(values) / math.sqrt(len(values))


def estimate(values: Values) -> dict[str, float]:
    """Mean and standard error of values (N,) over scenes, in the form that results are stored in."""
    return {"mean": float(values.mean()), "stderr": float(standard_error(values))}

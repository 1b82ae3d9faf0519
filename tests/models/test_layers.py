"""Convolutions of images that are the same all over, against PyTorch's."""

import pytest
import torch

from gqn.models.layers import uniform


@pytest.mark.parametrize("size", [2, 4, 5, 6, 9])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_an_image_that_is_the_same_all_over_is_convolved_at_its_border(size, kernel):
    x, weight = torch.randn(2, 3, 1, 1), torch.randn(4, 3, kernel, kernel)
    whole = torch.nn.functional.conv2d(x.expand(-1, -1, size, size), weight, padding=kernel // 2)
    torch.testing.assert_close(uniform(x, weight, size), whole, rtol=1e-5, atol=1e-5)

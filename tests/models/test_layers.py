"""Convolutions of images that are the same all over, against PyTorch's."""

import pytest
import torch

from gqn.models.layers import Fixed, cell, laid_out, repeated, uniform


@pytest.mark.parametrize("size", [2, 4, 5, 6, 9])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_an_image_that_is_the_same_all_over_is_convolved_at_its_border(size, kernel):
    x, weight = torch.randn(2, 3, 1, 1), torch.randn(4, 3, kernel, kernel)
    whole = torch.nn.functional.conv2d(x.expand(-1, -1, size, size), weight, padding=kernel // 2)
    torch.testing.assert_close(uniform(x, weight, size), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [2, 5, 9])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_its_gradient(size, kernel):
    x, weight = torch.randn(2, 3, 1, 1, requires_grad=True), torch.randn(4, 3, kernel, kernel, requires_grad=True)
    whole = torch.nn.functional.conv2d(x.expand(-1, -1, size, size), weight, padding=kernel // 2)
    given = torch.randn_like(whole)
    expected = torch.autograd.grad(whole, (x, weight), given)
    torch.testing.assert_close(
        torch.autograd.grad(uniform(x, weight, size), (x, weight), given), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("missing", ["", "share", "previous", "share previous"])
def test_an_lstm_cell_is_pytorchs(missing):
    """`torch.nn.LSTMCell` has its gates in another order, and no space."""
    fixed, share, before = torch.randn(6, 20, 1, 1), torch.randn(6, 20, 1, 1), torch.randn(6, 5, 1, 1)
    share, before = (None if name in missing else x for name, x in (("share", share), ("previous", before)))
    whole = fixed if share is None else fixed + share
    i, f, o, g = whole[:, :, 0, 0].chunk(4, 1)
    theirs = torch.nn.LSTMCell(20, 5, bias=False)
    with torch.no_grad():
        theirs.weight_ih.copy_(torch.eye(20))
        theirs.weight_hh.zero_()
    old = torch.zeros(6, 5) if before is None else before[:, :, 0, 0]
    expected = theirs(torch.cat([i, f, g, o], 1), (torch.zeros(6, 5), old))
    ours = cell(fixed, share, before)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a[:, :, 0, 0], b)


def test_in_half_precision_an_lstm_cell_computes_in_float32():
    fixed, share = torch.randn(2, 2, 8, 3, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        h, c = cell(fixed, share, None)
    assert (h.dtype, c.dtype) == (torch.bfloat16, torch.float32)
    exact, its = cell(fixed.float(), share.float(), None)
    assert torch.equal(c, its) and torch.equal(h, exact.bfloat16())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_gradients_of_what_is_repeated_add_up(dtype, layout):
    x = torch.randn(2, 3, 4, 4).to(dtype).contiguous(memory_format=layout).requires_grad_()
    given = torch.randn(100, 2, 3, 4, 4).to(dtype).mul(0.01)
    uses = repeated(Fixed(x, None), 100)
    assert all(torch.equal(use.gates, x) and use.gates.stride() == x.stride() and use.kernel is None for use in uses)
    torch.autograd.backward([use.gates for use in uses], list(given))
    assert x.grad.is_contiguous(memory_format=layout)
    exact = given.double().sum(0)
    roundings = 1 if dtype == torch.bfloat16 else 100
    assert (x.grad - exact).abs().max() <= exact.abs().max() * torch.finfo(dtype).eps * roundings


def test_laid_out_keeps_what_fits():
    x = torch.randn(2, 3, 4, 4)
    assert laid_out(x) is x

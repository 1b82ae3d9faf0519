"""Layers that models share.

A convolution is linear in its input channels, so its output is a sum of *shares*: each input is convolved with its own
slice of the kernel. The share of an input that is the same in all steps is computed once. The share of an input that is
the same at every pixel is computed only at the few places where zero padding makes a difference.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn.models import kernels

State = tuple[Tensor, Tensor]


class Fixed(NamedTuple):
    """The parts of a ConvLSTM's computation that are the same in all steps."""

    gates: Tensor  # (N, 4 hidden, h, w): the sum of the constant inputs' shares and the bias
    kernel: Tensor  # slice for the changing inputs and the hidden state


class ConvLSTM(nn.Module):
    """A convolutional LSTM cell (Shi et al. 2015, without peepholes): one convolution gives all four gates.

    `constant` and `changing` are the channels of its inputs: first those that are the same in all steps, then those
    that change; the hidden state comes last. Call `fixed` once, then the cell itself in every step.
    """

    def __init__(self, constant: Sequence[int], changing: Sequence[int], hidden: int, kernel: int):
        super().__init__()
        self.constant, self.changing = list(constant), [*changing, hidden]
        channels = sum(self.constant) + sum(self.changing)
        self.gates = nn.Conv2d(channels, 4 * hidden, kernel, padding=kernel // 2)

    def fixed(self, constant: Sequence[Tensor], n: int, size: int) -> Fixed:
        """Precompute the share of the constant inputs, each (B, channels, size, size), or 1 x 1 if the same everywhere.

        n is a multiple of B, which may differ between inputs: each entry of an input is repeated n / B times in a row.
        """
        *kernels, changing = self.gates.weight.split([*self.constant, sum(self.changing)], 1)
        gates = cast(Tensor, self.gates.bias)[:, None, None]
        for x, kernel in zip(constant, kernels, strict=True):
            one = x.shape[-1] == 1
            share = uniform(x, kernel, size) if one else F.conv2d(laid_out(x), laid_out(kernel), padding="same")
            gates = gates + share.repeat_interleave(n // share.shape[0], 0)  # len() is a constant in an exported graph
        return Fixed(laid_out(gates), laid_out(changing))

    def forward(self, fixed: Fixed, changing: Sequence[Tensor | None], state: State | None) -> State:
        """One step from state (h, c), each (N, hidden, h, w); gates in the order input, forget, output, candidate.

        Pass None for an input or state that is zero everywhere; it is skipped.
        """
        kernel, share = fixed.kernel, None
        inputs = [*changing, state[0] if state else None]
        if present := [laid_out(x) for x in inputs if x is not None]:
            if len(present) < len(inputs):
                parts = zip(inputs, kernel.split(self.changing, 1), strict=True)
                kernel = laid_out(torch.cat([part for x, part in parts if x is not None], 1))
            share = F.conv2d(torch.cat(present, 1), kernel, padding="same")
        return cell(fixed.gates, share, state[1] if state else None)


def cell(fixed: Tensor, share: Tensor | None, previous: Tensor | None) -> State:
    """An LSTM cell, (h, c), each (N, hidden, h, w): gates are the sum of `fixed` and `share`, (N, 4 hidden, h, w).

    The gates are input, forget, output and candidate. A `share` or a `previous` c of None is zero everywhere. All is
    computed in float32; h has the type of `laid_out`. On CUDA it is one kernel, and one for the gradient.
    """
    if kernels.usable(fixed):
        return kernels.cell(fixed, share, previous)
    gates = fixed.to(torch.promote_types(fixed.dtype, torch.float32))
    if share is not None:
        gates = gates + share
    i, f, o, g = gates.chunk(4, 1)
    c = i.sigmoid() * g.tanh()
    if previous is not None:
        c = c + f.sigmoid() * previous
    return laid_out(o.sigmoid() * c.tanh()), c


def repeated(x: Any, times: int) -> list[Any]:
    """A tensor, to be used so many times: in half precision its gradients are summed at once, and in float32.

    One by one they would be rounded after each sum, and take a GPU many launches. In float32 that is left to autograd,
    which adds in place. Of a NamedTuple of tensors the list has such tuples, and of None it has Nones.
    """
    if isinstance(x, tuple):
        return [type(x)(*parts) for parts in zip(*(repeated(part, times) for part in x), strict=True)]
    if x is None or times == 1 or torch.finfo(x.dtype).bits > 16:
        return [x] * times
    if x.ndim == 4 and not x.is_contiguous():  # channels last: gradients are stacked as they lie in memory
        return [each.movedim(-1, 1) for each in x.movedim(1, -1).expand(times, -1, -1, -1, -1).unbind()]
    return list(x.expand(times, *x.shape).unbind())


def laid_out(x: Tensor) -> Tensor:
    """Cast to autocast's type if it is on, and lay out for convolutions: channels last on GPU, else contiguous."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    layout = torch.channels_last if x.is_cuda else torch.contiguous_format
    return x.to(dtype).contiguous(memory_format=layout)


def uniform(x: Tensor, kernel: Tensor, size: int) -> Tensor:
    """The padded convolution of an image that has the value `x` (N, C, 1, 1) at every pixel: (N, D, size, size).

    The kernel is (D, C, k, k), k odd. The output has only k x k different values, those for an image of k x k pixels.
    """
    k = kernel.shape[-1]
    with torch.autocast(x.device.type, enabled=False):  # keep cameras in float32
        few = F.conv2d(x.to(kernel).expand(-1, -1, min(k, size), min(k, size)), kernel, padding="same")
    if size <= k:
        return few
    for dim in (2, 3):  # repeat the middle; an index would do it too, but its gradient is slow on GPUs
        first, middle, last = few.split([k // 2, 1, k // 2], dim)
        repeats = [size - k + 1 if d == dim else -1 for d in range(4)]
        few = torch.cat([first, middle.expand(repeats), last], dim)
    return few


def with_vector(conv: nn.Conv2d, x: Tensor, vector: Tensor) -> Tensor:
    """A padded convolution of an image (N, C, h, h) with a vector (N, V) tiled and appended to its channels."""
    of_image, of_vector = conv.weight.split([x.shape[1], vector.shape[1]], 1)
    share = F.conv2d(x, laid_out(of_image), conv.bias, padding="same")
    return share + uniform(vector[:, :, None, None], of_vector, x.shape[-1]).to(share)


def tile(x: Tensor, height: int, width: int) -> Tensor:
    """Repeat vectors (B, C) over an image: (B, C, height, width)."""
    return x[:, :, None, None].expand(-1, -1, height, width)

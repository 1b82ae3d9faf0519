"""Blocks that models share.

Convolutions are linear in their input channels: an input has a *share* in a convolution's output, by the slice of the
kernel that is its own. So what does not change over the steps of a sequence is computed once, and what is the same all
over an image is computed at the few places where zero padding makes a difference.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class Fixed(NamedTuple):
    """What the steps of a ConvLSTM have in common."""

    gates: Tensor  # (N, 4 hidden, h, w): the shares of the constant inputs, biases included
    kernel: Tensor  # of the changing inputs and the hidden state


class ConvLSTM(nn.Module):
    """A convolutional LSTM cell (Shi et al. 2015, without peepholes): one convolution gives all four gates.

    Its inputs are groups of channels: `constant` ones, which stay the same over all steps, then `changing` ones, then
    the hidden state. `fixed` is called once, then the cell itself for every step.
    """

    def __init__(self, constant: Sequence[int], changing: Sequence[int], hidden: int, kernel: int):
        super().__init__()
        self.constant, self.changing = list(constant), [*changing, hidden]
        channels = sum(self.constant) + sum(self.changing)
        self.gates = nn.Conv2d(channels, 4 * hidden, kernel, padding=kernel // 2)

    def fixed(self, constant: Sequence[Tensor], n: int, size: int) -> Fixed:
        """Given the constant inputs, each (B, channels, size, size), or 1 x 1 if it is the same everywhere.

        B divides n: each of an input's B stands for n / B in a row.
        """
        *kernels, changing = self.gates.weight.split([*self.constant, sum(self.changing)], 1)
        gates = cast(Tensor, self.gates.bias)[:, None, None]
        for x, kernel in zip(constant, kernels, strict=True):
            one = x.shape[-1] == 1
            share = uniform(x, kernel, size) if one else F.conv2d(laid_out(x), laid_out(kernel), padding="same")
            gates = gates + share.repeat_interleave(n // share.shape[0], 0)  # len() would fix it in an exported graph
        return Fixed(gates, laid_out(changing))

    def forward(self, fixed: Fixed, changing: Sequence[Tensor | None], state: State | None) -> State:
        """One step from state (h, c), each (N, hidden, h, w); gates in the order input, forget, output, candidate.

        None is what is zero everywhere: it is left out.
        """
        gates, kernel = fixed.gates, fixed.kernel
        inputs = [*changing, state[0] if state else None]
        if present := [laid_out(x) for x in inputs if x is not None]:
            if len(present) < len(inputs):
                parts = zip(inputs, kernel.split(self.changing, 1), strict=True)
                kernel = laid_out(torch.cat([part for x, part in parts if x is not None], 1))
            gates = gates + F.conv2d(torch.cat(present, 1), kernel, padding="same")
        i, f, o, g = gates.chunk(4, 1)
        cell = i.sigmoid() * g.tanh()
        if state:
            cell = cell + f.sigmoid() * state[1]
        return laid_out(o.sigmoid() * cell.tanh()), cell


def laid_out(x: Tensor) -> Tensor:
    """Images or a kernel as convolutions want them: of autocast's type where that is on, on a GPU channels last."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    layout = torch.channels_last if x.is_cuda else torch.contiguous_format
    return x.to(dtype).contiguous(memory_format=layout)


def uniform(x: Tensor, kernel: Tensor, size: int) -> Tensor:
    """The padded convolution of an image that is `x` (N, C, 1, 1) all over: (N, D, size, size), for an odd kernel.

    With a kernel of (D, C, k, k) the outputs take only k x k values: those of an image of k x k.
    """
    k = kernel.shape[-1]
    with torch.autocast(x.device.type, enabled=False):  # cameras are not rounded
        few = F.conv2d(x.to(kernel).expand(-1, -1, min(k, size), min(k, size)), kernel, padding="same")
    if size <= k:
        return few
    place = torch.arange(size, device=x.device)
    place = place.clamp(max=k // 2) + (place - (size - 1 - k // 2)).clamp(min=0)
    return few[:, :, place[:, None], place]


def with_vector(conv: nn.Conv2d, x: Tensor, vector: Tensor) -> Tensor:
    """A padded convolution of an image (N, C, h, h) behind whose channels a vector (N, V) is repeated all over."""
    of_image, of_vector = conv.weight.split([x.shape[1], vector.shape[1]], 1)
    share = F.conv2d(x, laid_out(of_image), conv.bias, padding="same")
    return share + uniform(vector[:, :, None, None], of_vector, x.shape[-1]).to(share)


def tile(x: Tensor, height: int, width: int) -> Tensor:
    """Repeat vectors (B, C) over an image: (B, C, height, width)."""
    return x[:, :, None, None].expand(-1, -1, height, width)

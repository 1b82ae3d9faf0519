"""Blocks that models share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class ConvLSTM(nn.Module):
    """A convolutional LSTM cell (Shi et al. 2015, without peepholes): one convolution gives all four gates.

    Inputs come in two parts: the *constant* ones stay the same over all steps of a sequence, the *changing* ones do
    not. A convolution is linear in its input channels, so the share of the constant ones is computed once, by
    `constant`, and handed to every step.
    """

    def __init__(self, constant: int, changing: int, hidden: int, kernel: int):
        super().__init__()
        self.split = constant
        self.gates = nn.Conv2d(constant + changing + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def constant(self, x: Tensor) -> Tensor:
        """The share of the constant inputs (B, constant, h, w) in the gates, biases included: (B, 4 hidden, h, w)."""
        return F.conv2d(x, self.gates.weight[:, : self.split], self.gates.bias, padding=self.gates.padding)

    def forward(self, constant: Tensor, changing: list[Tensor], state: State) -> State:
        """One step from state (h, c), each (B, hidden, h, w); gates in the order input, forget, output, candidate."""
        hidden, cell = state
        x = torch.cat([*changing, hidden], 1)
        gates = constant + F.conv2d(x, self.gates.weight[:, self.split :], padding=self.gates.padding)
        i, f, o, g = gates.chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


def tile(x: Tensor, height: int, width: int) -> Tensor:
    """Repeat vectors (B, C) over an image: (B, C, height, width)."""
    return x[:, :, None, None].expand(-1, -1, height, width)

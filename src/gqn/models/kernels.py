"""The LSTM cell on CUDA: one kernel, and one for its gradients, in Triton, which comes with PyTorch's builds for CUDA.

`gqn.models.layers.cell` says what they compute. Its dozen elementwise operations would each read and write images of
all channels, which takes a GPU longer than the convolutions between them.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from gqn.runtime import console

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

BLOCK = 1024  # elements of the state that one program of a kernel works on


def usable(x: Tensor) -> bool:
    """Whether the kernels can work on tensors like this one."""
    return x.is_cuda and x.dtype != torch.float64 and not torch.compiler.is_compiling() and _works(x.device)


@functools.cache
def _works(device: torch.device) -> bool:
    """Whether Triton has all that it needs, such as a C compiler: it is tried once. If not, says so."""
    try:
        if triton is None:
            raise ImportError("it is not installed")
        with torch.autocast("cuda", enabled=False):
            cell(torch.zeros(1, 4, 1, 1, device=device), None, None)
    except Exception as error:  # of any kind: compilers and drivers have their own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        console.note(f"no fused LSTM cell, so that training takes longer: Triton fails ({reason})")
        return False
    return True


def cell(fixed: Tensor, share: Tensor | None, previous: Tensor | None) -> tuple[Tensor, Tensor]:
    """As of `gqn.models.layers.cell`."""
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else fixed.dtype
    return _Cell.apply(fixed, share, previous, dtype)  # type: ignore[no-any-return]


class _Cell(torch.autograd.Function):
    """Keeps its inputs for the gradient, which computes the gates again: that is less work than reading them."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        *inputs, dtype = given
        fixed, share, previous = (_channels_last(x) for x in inputs)
        n, gates, height, width = fixed.shape
        shape, layout = (n, gates // 4, height, width), torch.channels_last
        h = torch.empty(shape, dtype=dtype, device=fixed.device, memory_format=layout)
        c = torch.empty(shape, dtype=torch.float32, device=fixed.device, memory_format=layout)
        _launch(_forward, fixed, share, previous, h, c)
        ctx.save_for_backward(fixed, share, previous)
        ctx.set_materialize_grads(False)
        return h, c

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None):
        fixed, share, previous = ctx.saved_tensors
        of_gates = torch.empty_like(fixed if share is None else share)
        of_previous = None if previous is None else torch.empty_like(previous)
        of_h, of_c = (_channels_last(x) for x in given)
        _launch(_backward, fixed, share, previous, of_h, of_c, of_gates, of_previous)
        return of_gates, None if share is None else of_gates, of_previous, None


def _channels_last(x: Any) -> Any:
    return None if x is None else x.contiguous(memory_format=torch.channels_last)


def _launch(kernel: Any, fixed: Tensor, *others: Tensor | None) -> None:
    """Run a kernel on all elements of the state. Tensors are laid out channels last; None is zero."""
    size = fixed.numel() // 4
    kernel[(triton.cdiv(size, BLOCK),)](fixed, *others, size, HIDDEN=fixed.shape[1] // 4, BLOCK=BLOCK)


if triton is not None:

    @triton.jit
    def _load(pointer, at, inside):
        """Values in float32; zero if there are none."""
        if pointer is None:
            return tl.full(at.shape, 0.0, tl.float32)
        else:
            return tl.load(pointer + at, mask=inside, other=0.0).to(tl.float32)

    @triton.jit
    def _sigmoid(x):
        return 1 / (1 + tl.exp(-x))

    @triton.jit
    def _tanh(x):
        return 2 * _sigmoid(2 * x) - 1

    @triton.jit
    def _cell_of(fixed, share, previous, element, inside, HIDDEN: tl.constexpr):
        """Where an element's input gate lies, the four gates, and c before and after."""
        at = element // HIDDEN * (4 * HIDDEN) + element % HIDDEN
        i = _sigmoid(_load(fixed, at, inside) + _load(share, at, inside))
        f = _sigmoid(_load(fixed, at + HIDDEN, inside) + _load(share, at + HIDDEN, inside))
        o = _sigmoid(_load(fixed, at + 2 * HIDDEN, inside) + _load(share, at + 2 * HIDDEN, inside))
        g = _tanh(_load(fixed, at + 3 * HIDDEN, inside) + _load(share, at + 3 * HIDDEN, inside))
        before = _load(previous, element, inside)
        return at, i, f, o, g, before, i * g + f * before

    @triton.jit
    def _forward(fixed, share, previous, h, c, size, HIDDEN: tl.constexpr, BLOCK: tl.constexpr):
        element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = element < size
        _, _, _, o, _, _, after = _cell_of(fixed, share, previous, element, inside, HIDDEN)
        tl.store(h + element, o * _tanh(after), mask=inside)
        tl.store(c + element, after, mask=inside)

    @triton.jit
    def _backward(
        fixed, share, previous, of_h, of_c, of_gates, of_previous, size, HIDDEN: tl.constexpr, BLOCK: tl.constexpr
    ):
        element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = element < size
        at, i, f, o, g, before, after = _cell_of(fixed, share, previous, element, inside, HIDDEN)
        tanh = _tanh(after)
        to_h = _load(of_h, element, inside)
        to_c = _load(of_c, element, inside) + to_h * o * (1 - tanh * tanh)
        tl.store(of_gates + at, to_c * g * i * (1 - i), mask=inside)
        tl.store(of_gates + at + HIDDEN, to_c * before * f * (1 - f), mask=inside)
        tl.store(of_gates + at + 2 * HIDDEN, to_h * tanh * o * (1 - o), mask=inside)
        tl.store(of_gates + at + 3 * HIDDEN, to_c * i * (1 - g * g), mask=inside)
        if of_previous is not None:
            tl.store(of_previous + element, to_c * f, mask=inside)

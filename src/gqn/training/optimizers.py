"""The optimizers: Adam, and Muon for hidden kernels."""

from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of an odd quintic polynomial; its iteration moves singular values towards 1
ITERATIONS = 5


def optimizers(model: nn.Module, name: str, learning_rate: float, part: tuple[int, int] = (0, 1)) -> list[Optimizer]:
    """Adam for all parameters or, with "muon", Muon for hidden kernels and Adam for the others.

    The others are biases, and kernels with at most three input or output channels, such as those that read or write
    images. Processes that train one model together share Muon's work; `part` (i, n): this is process i of n.
    """
    kernels = [p for p in model.parameters() if name == "muon" and p.ndim > 1 and min(p.shape[:2]) > 3]
    chosen = set(kernels)
    adam = Adam([p for p in model.parameters() if p not in chosen], lr=learning_rate, fused=True)
    return [adam, Muon(kernels, learning_rate, part)] if kernels else [adam]


def check_states(optimizers: list[Optimizer], states: list[dict[str, Any]]) -> None:
    """ValueError unless stored states have what these optimizers keep of each parameter, in tensors of its shape.

    Fewer states or parameters are not missed here: they are of another version.
    """
    for optimizer, stored in zip(optimizers, states, strict=False):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, kept in stored["state"].items():
            if not 0 <= number < len(parameters):
                continue
            shapes = {name: () if name == "step" else parameters[number].shape for name in KEPT[type(optimizer)]}
            if {name: tensor.shape for name, tensor in kept.items()} != shapes:
                raise ValueError(f"what an optimizer keeps of parameter {number} is not what it needs")


def update(optimizers: list[Optimizer], learning_rate: float | Tensor) -> None:
    """Take a step of each optimizer, with this learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()


class Muon(Optimizer):
    """Muon (Jordan 2024): the update of a kernel is a nearly orthogonal matrix, equally large in all directions.

    A kernel is treated as a matrix, its first dimension by all others. Newton-Schulz iterations replace its Nesterov
    momentum (0.95) by a matrix close to the nearest orthogonal one. This is scaled to the size of Adam's steps (Liu et
    al. 2025, Muon is scalable for LLM training, equation 4), so that one learning rate suits both.

    With `part` (i, n), this is process i of n: it does so for its share of the kernels, sends the results to the other
    processes and receives theirs. Each process keeps the momentum of all kernels, so that any number can resume.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, part: tuple[int, int] = (0, 1)):
        super().__init__(parameters, {"lr": lr})
        self.part = part
        self.shares = shares(parameters, part[1])

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        """Update the kernels that have gradients; `closure` is not called."""
        momenta = self._momenta([p for share in self.shares for p in share if p.grad is not None])
        rank, ranks = self.part
        found = []  # per process, the entries of its kernels' orthogonal matrices
        for number, share in enumerate(self.shares):
            matrices = [momenta[p].flatten(1) for p in share if p in momenta]
            if number == rank:
                matrices = orthogonal_each(matrices)
            found.append(torch.cat([matrix.flatten() for matrix in matrices]) if matrices else None)
        for number, entries in enumerate(found):
            if ranks > 1 and entries is not None:
                torch.distributed.broadcast(entries, number)
        lr = self.param_groups[0]["lr"]
        for share, entries in zip(self.shares, found, strict=True):
            kernels = [p for p in share if p in momenta]
            if entries is None:
                continue
            for p, towards in zip(kernels, entries.split([p.numel() for p in kernels]), strict=True):
                p.sub_(towards.view(p.shape) * (0.2 * max(p.flatten(1).shape) ** 0.5 * lr))

    def _momenta(self, kernels: list[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
        """Update the momenta of kernels by their gradients; returns Nesterov's momenta."""
        for p in kernels:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients, momenta = [cast(Tensor, p.grad) for p in kernels], [self.state[p]["momentum"] for p in kernels]
        torch._foreach_lerp_(momenta, gradients, 0.05)
        return dict(zip(kernels, torch._foreach_lerp(gradients, momenta, 0.95), strict=True))


def shares(kernels: list[nn.Parameter], parts: int) -> list[list[nn.Parameter]]:
    """Kernels in `parts` lists of about equal work: the largest first, each to the list with the least work so far."""
    made: list[list[nn.Parameter]] = [[] for _ in range(parts)]
    busy = [0] * parts
    for p in sorted(kernels, key=work, reverse=True):
        least = busy.index(min(busy))
        made[least].append(p)
        busy[least] += work(p)
    return made


def work(kernel: Tensor) -> int:
    """Number of multiplications in `orthogonal` of a kernel."""
    short, long = sorted(kernel.flatten(1).shape)
    return 2 * short**2 * long + (4 * ITERATIONS - 3) * short**3


def orthogonal_each(matrices: list[Tensor]) -> list[Tensor]:
    """`orthogonal` of each matrix; matrices of the same shape are stacked, which takes fewer and larger products."""
    alike: dict[torch.Size, list[int]] = {}
    for i, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(i)
    found = list(matrices)
    for places in alike.values():
        stacked = orthogonal(torch.stack([matrices[i] for i in places]))
        for i, matrix in zip(places, stacked, strict=True):
            found[i] = matrix
    return found


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (..., r, s) with the singular vectors of `matrices` and singular values of about 1 (0.7 to 1.2).

    Newton-Schulz iterations x <- (a + b x x' + c (x x')²) x, where x (r, s) is the matrix, transposed if r would exceed
    s. Each iteration multiplies x from the left by a polynomial of the r x r matrix x x'. The product of these factors
    is computed first, without x, which takes a fifth of the work where x is long. All in float32: bfloat16 and TF32 are
    not precise enough for x x' here (dev/LOG.md), and bfloat16 takes a hundred times as long on processors without it.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).float().reshape(-1, *sorted(matrices.shape[-2:]))
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)

    def polynomial(square: Tensor) -> Tensor:
        """a + b x x' + c (x x')²."""
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        return factor

    square = x @ x.mT
    product = factor = polynomial(square)
    for _ in range(ITERATIONS - 1):
        square = factor @ square @ factor
        factor = polynomial(square)
        product = factor @ product
    x = product @ x
    return (x.mT if tall else x).reshape(matrices.shape).to(matrices)


KEPT: dict[type[Optimizer], tuple[str, ...]] = {Adam: ("step", "exp_avg", "exp_avg_sq"), Muon: ("momentum",)}

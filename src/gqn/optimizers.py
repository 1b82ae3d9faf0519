"""What turns gradients into steps."""

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd quintic whose iteration takes singular values near to 1
ITERATIONS = 5


def optimizers(model: nn.Module, name: str, learning_rate: float) -> list[Optimizer]:
    """Adam for all parameters or, with "muon", Muon for the kernels between features and Adam for the others.

    Those are biases, and kernels with at most three channels on a side, as those that read or write images.
    """
    kernels = [p for p in model.parameters() if name == "muon" and p.ndim > 1 and min(p.shape[:2]) > 3]
    chosen = set(kernels)
    adam = Adam([p for p in model.parameters() if p not in chosen], lr=learning_rate, fused=True)
    return [adam, Muon(kernels, learning_rate)] if kernels else [adam]


class Muon(Optimizer):
    """Steps of orthogonal matrices: all directions that a kernel's gradients agree on are taken alike (Jordan 2024).

    A kernel is the matrix of its first dimension by all others. Its momentum (0.95, Nesterov's) is brought near to the
    closest orthogonal matrix by Newton-Schulz iterations, and scaled to the size that Adam's steps have (Liu et al.
    2025, Muon is scalable for LLM training, equation 4), so that one learning rate suits both.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not (state := self.state[p]):
                    state["momentum"] = torch.zeros_like(p.grad)
                momentum = state["momentum"].lerp_(p.grad, 0.05)
                towards = orthogonal(p.grad.lerp(momentum, 0.95).flatten(1))
                p.add_(towards.view(p.shape), alpha=-0.2 * max(towards.shape) ** 0.5 * group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the singular vectors of `matrix` and singular values of about 1 (0.7 to 1.2)."""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix)

"""Muon's work: kernels made orthogonal on their Gram matrices, beside the iteration on the kernels themselves.

`gqn bench muon [flags]`, or `python bench/muon.py`. Seconds for all kernels that Muon has in a preset, and the largest
relative difference from the iteration in float64.
"""

import torch

import forms
from gqn.runtime import devices
from gqn.training.optimizers import COEFFICIENTS, ITERATIONS, optimizers, orthogonal


def textbook(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Newton-Schulz iterations on the matrix itself (Jordan 2024)."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


if __name__ == "__main__":
    parser = forms.parser(__doc__.splitlines()[0])
    parser.set_defaults(preset="demo")
    given = parser.parse_args()
    subject = forms.Subject(given, 1)
    _, muon = optimizers(subject.model, "muon", 0.0)
    kernels = [torch.randn_like(p).flatten(1) for group in muon.param_groups for p in group["params"]]
    exact = [textbook(kernel.double(), torch.float64) for kernel in kernels]
    ways = {"gram": orthogonal, "float32": lambda kernel: textbook(kernel, torch.float32)}
    if devices.has_bfloat16(given.gpu):
        ways["bf16"] = lambda kernel: textbook(kernel, torch.bfloat16)
    seconds = subject.medians(
        {name: lambda way=way: [way(k) for k in kernels] for name, way in ways.items()}, given.rounds
    )
    figures = {
        name: {
            "milliseconds": round(1e3 * seconds[name], 1),
            "difference": max(((way(k) - x).norm() / x.norm()).item() for k, x in zip(kernels, exact, strict=True)),
        }
        for name, way in ways.items()
    }
    forms.tell(
        forms.described(given) | {"kernels": ", ".join(f"{len(k)} x {k.shape[1]}" for k in kernels)} | figures,
        given.json,
    )

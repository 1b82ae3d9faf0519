"""Checks that loss and weights are finite: else a run stops and names the step, before it stores such weights."""

from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from gqn.artifacts import checkpoint
from gqn.errors import BadInput
from gqn.runtime import devices
from gqn.training.step import Recorded


class NotFinite(BadInput):
    """A term of the loss, or a weight, became infinite or not a number."""


def check_terms(fabric: Fabric, recent: list[tuple[int, Recorded]], steps: int, folder: Path) -> None:
    """Raise NotFinite on every rank if a term of the loss was not finite at a recent step; it names step and term."""
    worst = 0
    finite = torch.stack([torch.stack([values["mse"], values["kl"]]).isfinite() for _, values in recent]).tolist()
    for (step, _), terms in zip(recent, finite, strict=True):
        if not all(terms):
            worst = max(worst, 2 * (steps - step) + terms[0])
    if worst := devices.agreed(fabric, worst):
        raise _not_finite(("log_likelihood", "kl")[worst % 2], steps - worst // 2, folder)


def check_weights(model: nn.Module, step: int, folder: Path) -> None:
    """Raise NotFinite if a weight is not finite. Call it before storing weights; all ranks have the same ones."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise _not_finite(f"weight {name}", step, folder)


def _not_finite(what: str, step: int, folder: Path) -> NotFinite:
    """The error, naming the step, what broke, the last good checkpoint and the way out."""
    good = folder / checkpoint.LATEST
    return NotFinite(
        f"{what} is not finite at step {step}: "
        + (f"the last good checkpoint is {good}" if good.exists() else "there is no checkpoint yet")
        + "; try a lower learning rate or `precision=32-true`, with another `run_suffix`"
    )

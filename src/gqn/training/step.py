"""One training step: forward, backward, update. Training loop, benchmarks and tests share it."""

from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from gqn.objective import elbo
from gqn.runtime import devices
from gqn.training.optimizers import update
from gqn.views import Task

Recorded = dict[str, Tensor]


class Step:
    """Trains a model, one batch per call. Fabric wraps model and optimizers for one or several devices.

    The arguments of a call lie on the device. A call neither waits for the device nor reads from it, so that a whole
    step can be captured (CUDA graphs).
    """

    def __init__(self, fabric: Fabric, model: nn.Module, optimizers: list[Optimizer], accumulate: int = 1):
        self.fabric, self.accumulate = fabric, accumulate
        self.model, *self.optimizers = fabric.setup(model, *optimizers)

    def __call__(self, task: Task, noise: Tensor, pixel_std: float | Tensor, learning_rate: float | Tensor) -> Recorded:
        """Train on this device's share (B, ...) of a batch: maximise its ELBO, with noise (S, B, ...) of `Model.noise`.

        The batch is processed in `accumulate` parts, one after the other; their gradients add up to that of the batch.
        Returns means over the batch: loss, excess (where the loss has a floor), kl and kl_steps (L,), in nats per
        image, and mse.
        """
        with devices.searching():
            return self._step(task, noise, pixel_std, learning_rate)

    def _step(self, task: Task, noise: Tensor, pixel_std: float | Tensor, learning_rate: float | Tensor) -> Recorded:
        size = len(task.query.frames) // self.accumulate
        cast(nn.Module, self.model).zero_grad()
        parts = []
        for part in range(self.accumulate):
            share = slice(part * size, (part + 1) * size)
            with self.fabric.no_backward_sync(cast(Any, self.model), enabled=part + 1 < self.accumulate):
                parts.append(self._backward(task[share].float(), noise[:, share], pixel_std))
        update(self.optimizers, learning_rate)
        return {name: torch.stack([recorded[name] for recorded in parts]).mean(0) for name in parts[0]}

    def _backward(self, task: Task, noise: Tensor, pixel_std: float | Tensor) -> Recorded:
        prediction = self.model(task.context, task.query, pixel_std, noise)
        score = elbo(prediction, task.query.frames)
        self.fabric.backward(-score.elbo.mean() / self.accumulate)
        terms = {"loss": -score.elbo, "excess": score.excess, "kl": score.kl, "mse": score.mse}
        recorded = {name: term.detach().mean() for name, term in terms.items() if term is not None}
        return recorded | {"kl_steps": prediction.kl.detach().flatten(0, -2).mean(0)}

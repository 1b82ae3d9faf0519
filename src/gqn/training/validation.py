"""Validation during training, on the same held-out tasks every time."""

import math
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from gqn.config import Config
from gqn.data import Source
from gqn.data.tasks import Sampler, batches
from gqn.evaluation.evaluate import measure, noise
from gqn.models import Model
from gqn.views import Task

SEED = 1  # of the tasks, which are the same for every run, and of the noise for answering them
TOGETHER = 8  # tasks in a batch


def validation_tasks(config: Config, scenes: Source) -> list[Task]:
    """At least `num_val_samples` tasks of held-out scenes, always the same ones, in batches of a few."""
    wanted = config.run.num_val_samples
    size = min(TOGETHER, wanted)
    sampler = Sampler(scenes.order, scenes.num_views, size, 1, config.data.max_context_size, seed=SEED)
    return [t.float() for t in batches(scenes, sampler, range(math.ceil(wanted / size)))]


def validate(fabric: Fabric, model: Model, tasks: list[Task], pixel_std: float) -> dict[str, float]:
    """Means of `gqn.evaluation.evaluate.measure` over the tasks.

    `pixel_std` is the final one, whatever that of training is at the moment. Each rank answers its share of the
    batches; all ranks get the same means.
    """
    mine = list(range(fabric.global_rank, len(tasks), fabric.world_size))
    sums: dict[str, Tensor] = {}
    for i in mine or [0]:
        values = measure(model, tasks[i], pixel_std, noise(fabric.device, SEED, i))
        sums = {name: sums.get(name, 0) + value.sum() * bool(mine) for name, value in values.items()}
    whole = sum(len(task.query.frames) for task in tasks)
    totals = cast(Tensor, fabric.all_reduce(torch.stack(list(sums.values())), reduce_op="sum")) / whole
    return dict(zip(sums, totals.tolist(), strict=True))

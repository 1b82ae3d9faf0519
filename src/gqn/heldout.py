"""The held-out scenes that figures show: number I is the same scene, with the same views, in all of them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gqn.config import Config
from gqn.data.sources import Rendered, source
from gqn.data.tasks import Sampler, Source, batches
from gqn.logs import console
from gqn.views import Task, Views, stack

SEED = 3  # of the scenes, views and noise shown


def tasks(scenes: Source, first: int, count: int, context: int, queries: int = 1) -> Task:
    """Scenes number `first` and on, as one task (count,) of float frames; a smaller context is the larger one's start.

    BadInput if the views do not suffice.
    """
    sampler = replace(_order(scenes), min_context=context, max_context=context, queries=queries)
    parts = list(batches(scenes, sampler, range(first, first + count)))
    return Task(stack([t.context[0] for t in parts]), stack([t.query[0] for t in parts])).float()


def views(scenes: Source, number: int, count: int) -> Views:
    """Views of scene `number`, frames uint8: `count` or as many as there are, at least two.

    They come in the order in which tasks take them: `tasks` with M context views has the first M.
    """
    context = min(count, scenes.num_views) - 1
    request = replace(_order(scenes), min_context=context, max_context=context).requests(number)[0]
    return scenes.views(request.scene, np.concatenate([request.context, request.query]))


def described(scenes: Rendered, number: int) -> Any:
    """The description of scene `number`, for its family and `scenes.render`."""
    return scenes.scene(_order(scenes).requests(number)[0].scene)[0]


def rendered(config: Config) -> Rendered:
    """A run's held-out scenes where the camera can go anywhere; says so if they are not those of the run's files."""
    if config.data:
        console.print(f"the camera moves freely: scenes are rendered, and not those in {config.data}")
    scenes = source(**(config.scenes("test") | {"data": None}))
    assert isinstance(scenes, Rendered)
    return scenes


def estimate(values: NDArray[Any]) -> dict[str, float]:
    """Mean and standard error over scenes, of values (B,): the form of a figure's numbers."""
    error = values.std(ddof=min(1, len(values) - 1)) / len(values) ** 0.5
    return {"mean": float(values.mean()), "stderr": float(error)}


def _order(scenes: Source) -> Sampler:
    return Sampler(scenes.order, scenes.num_views, 1, 1, 1, seed=SEED)

"""The held-out scenes that figures show: number I is the same scene, with the same views, in all of them."""

from dataclasses import replace
from typing import Any

import numpy as np

from gqn.config import Config
from gqn.data import Source
from gqn.data.sources import Rendered, source
from gqn.data.tasks import Sampler, batches
from gqn.errors import BadInput
from gqn.runtime.console import say
from gqn.views import Task, Views, stack

SEED = 3  # of the scenes, views and noise shown


def tasks(scenes: Source, first: int, count: int, context: int, queries: int = 1) -> Task:
    """The `count` scenes from number `first` on, as one task (count,) with float frames.

    A smaller context is the start of a larger one. BadInput if the scenes have too few views.
    """
    sampler = replace(_order(scenes), min_context=context, max_context=context, queries=queries)
    parts = list(batches(scenes, sampler, range(first, first + count)))
    return Task(stack([t.context[0] for t in parts]), stack([t.query[0] for t in parts])).float()


def views(scenes: Source, number: int, count: int) -> Views:
    """Views of scene `number`, frames uint8: `count`, at least two, or as many as there are.

    Their order is that of `tasks`: M context views there are the first M here.
    """
    context = min(count, scenes.num_views) - 1
    request = replace(_order(scenes), min_context=context, max_context=context).requests(number)[0]
    return scenes.views(request.scene, np.concatenate([request.context, request.query]))


def described(scenes: Rendered, number: int) -> Any:
    """The description of scene `number`, for its family and `scenes.render`."""
    return scenes.scene(_order(scenes).requests(number)[0].scene)[0]


def rendered(config: Config) -> Rendered:
    """A run's held-out scenes, rendered, so that the camera can go anywhere; prints a note if the run uses files.

    BadInput if nothing renders scenes of its dataset.
    """
    if config.data.own:
        raise BadInput(
            f"here the camera moves freely, and nothing renders {config.data.dataset_name}: "
            "of scenes of your own, only their views are known"
        )
    if config.origin.data:
        say(f"the camera moves freely: scenes are rendered, and not those in {config.origin.data}")
    scenes = source(**(config.scenes("test") | {"data": None}))
    assert isinstance(scenes, Rendered)
    return scenes


def _order(scenes: Source) -> Sampler:
    return Sampler(scenes.order, scenes.num_views, 1, 1, 1, seed=SEED)

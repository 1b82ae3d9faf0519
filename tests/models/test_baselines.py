"""The nearest view is the query itself where the context holds it."""

import torch

from gqn.models.baselines import nearest
from support import made_up


def test_nearest_answers_with_the_query_if_it_is_in_the_context():
    task = made_up(context=3, queries=3)
    drawn = nearest().sample(task.query, task.query.cameras)
    assert torch.equal(drawn[0], task.query.frames)

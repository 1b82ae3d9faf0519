"""Validation is on the same tasks, at the final pixel std, each time."""

import pytest
from lightning_fabric import Fabric

from gqn.artifacts import checkpoint
from gqn.data.sources import source
from gqn.training import loop as training
from support import BRIEF as TOY
from support import records


def test_mistake_5_validation_is_at_the_final_std_on_fixed_tasks(straight):
    _, model = checkpoint.load(straight)
    tasks = training.validation_tasks(TOY, source(**TOY.scenes("test")))
    assert sum(len(t.query.frames) for t in tasks) == 8
    again = training.validate(Fabric(accelerator="cpu"), model, tasks, TOY.objective.pixel_std_final)
    recorded = records(straight, "val")[-1]
    for name, value in again.items():
        assert value == pytest.approx(recorded[name], rel=1e-5), name

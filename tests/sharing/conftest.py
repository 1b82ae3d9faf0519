"""What the tests of sharing share."""

import pytest

from gqn.artifacts import checkpoint
from gqn.evaluation.evaluate import Settings, evaluate
from support import TOOK, TOY, made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was trained somewhere, on files, and evaluated."""
    folder = made_run(tmp_path_factory.mktemp("run") / "toy", TOY.having(data_digest="0123"))
    checkpoint.save_known(folder / checkpoint.ORIGIN, {"data": "/home/me/secret", "files": {"train": {"a": [1, "b"]}}})
    checkpoint.save_training(folder, TOOK)
    evaluate(folder, Settings(context=(1, 4), scenes=3, samples=2, importance_samples=2, data=""))
    return folder

"""What the tests of evaluation share."""

import pytest

from gqn.evaluation.evaluate import Settings, evaluate
from support import made_run

SMALL = Settings(context=(1, 2, 4), scenes=7, samples=3, importance_samples=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, evaluated."""
    folder = made_run(tmp_path_factory.mktemp("evaluated") / "run")
    evaluate(folder, SMALL)
    return folder

"""What the tests of artifacts share."""

import pytest

from support import made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("run") / "toy")

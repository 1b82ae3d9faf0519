"""What the tests of data share."""

import pytest

from gqn.data.files.export import export

NAME = "shepard_metzler_5_parts"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A folder with a small dataset: 10 training scenes in files of 4, 4 and 2, and 3 held-out scenes."""
    out = tmp_path_factory.mktemp("data")
    export(NAME, out, 10, test_scenes=3, scenes_per_file=4)
    return out

"""What the tests of remote files share."""

import pytest

from bucket import NAME, SIZES, serving
from gqn.data.remote import fetch
from support import made_files


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No pauses between tries, and a cache of the test's own."""
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bucket(tmp_path):
    """A server of 10 + 2 files of 2, 3 or 4 scenes of noise; scene i of training is made_record(3, i)."""
    folder = tmp_path / "served" / NAME
    made_files(folder / "train", SIZES)
    made_files(folder / "test", (2, 3))
    with serving(tmp_path / "served") as bucket:
        bucket.lists = True
        yield bucket

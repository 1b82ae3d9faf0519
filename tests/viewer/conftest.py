"""What the tests of the viewer share."""

import pytest

from gqn.artifacts import checkpoint
from gqn.viewer import session as viewer_session
from gqn.viewer.session import Session
from support import SHOWN as TINY


@pytest.fixture(scope="module")
def model():
    """As it is loaded, so that a camera that goes where no model knows its way would fail."""
    model = checkpoint.build(TINY).eval()
    model.trained_on = checkpoint.trained_on("tiny", TINY)
    return model


@pytest.fixture(scope="module")
def answers(model):
    return Session("tiny", TINY, model)


@pytest.fixture
def little_work(monkeypatch):
    monkeypatch.setattr(viewer_session, "PLACES", 3)
    monkeypatch.setattr(viewer_session, "CIRCLE", 4)

"""What the tests of the viewer share."""

import pytest

from gqn.viewer import session as viewer_session
from gqn.viewer.session import Session
from support import SHOWN as TINY
from support import loaded


@pytest.fixture(scope="module")
def model():
    return loaded(TINY)


@pytest.fixture(scope="module")
def answers(model):
    return Session("tiny", TINY, model)


@pytest.fixture
def little_work(monkeypatch):
    monkeypatch.setattr(viewer_session, "PLACES", 3)
    monkeypatch.setattr(viewer_session, "CIRCLE", 4)

"""Bad questions are refused, and answers survive the wire."""

import json
import math

import numpy as np
import pytest

from gqn.errors import BadInput
from gqn.viewer import protocol
from support import ASKED, unpacked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 4000,
        "{}",
        '{"about": "view"}',
        *(
            json.dumps(ASKED | change)
            for change in [
                dict(about="__class__"),
                dict(about=[]),
                dict(id=-1),
                dict(id=True),
                dict(dataset=None),
                dict(scene=1.5),
                dict(scene=10**6),
                dict(seed=2**31),
                dict(step=-1),
                dict(context=[]),
                dict(context=[0] * 17),
                dict(context=["above"]),
                dict(context=[[0, 0, 0, 0]]),
                dict(context=[-1]),
                dict(camera=None),
                dict(camera=True),
                dict(camera=[0, 0, 0, 0, "0"]),
                dict(camera=[0, 0, 0, 0, False]),
                dict(camera=[0, 0, 0, 0, 1e9]),
                dict(camera=[math.nan, 0, 0, 0, 0]),
                dict(camera=[0, 0, 0, math.inf, 0]),
                dict(camera={}),
            ]
        ),
        json.dumps(ASKED).replace("0.5", "1e999"),
        json.dumps(ASKED).replace("0.5", "9" * 400),
    ],
)
def test_a_bad_question_is_refused(text):
    with pytest.raises(BadInput):
        protocol.question(text)


def test_answers_survive_the_wire():
    parts = {"a": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "b": np.zeros(5, np.uint8)}
    header, got = unpacked(protocol.answer({"é": 1.5}, parts))
    assert header == {"é": 1.5} and got.keys() == parts.keys()
    assert all(np.array_equal(got[name], parts[name]) for name in parts)

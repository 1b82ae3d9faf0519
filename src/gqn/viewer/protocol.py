"""The format of messages on the socket: questions are JSON text, each part of an answer is one binary message.

A question is complete: it holds the scene, what the network has seen of it, the camera and the noise's seed, so that
the answer does not depend on earlier questions. A binary message is the length of its header (uint32, little endian),
the header (JSON, with `parts`: name and shape of each array), and the arrays' bytes, uint8.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gqn.errors import BadInput

ABOUT = {"scene": False, "view": False, "samples": False, "gain": True, "orbit": True}
"""What can be asked for, and whether it is computed in the background."""
LONGEST = 4096  # bytes of a question
CONTEXT = 16  # most context views
ABOVE = "above"

Pose = tuple[float, ...]  # x, y, z, yaw, pitch
Where = int | str | Pose  # a view of the scene by its number, straight ABOVE it, or any pose


@dataclass(frozen=True)
class Question:
    """A client's question."""

    about: str  # a key of ABOUT
    id: int  # returned with the answers
    dataset: str
    scene: int
    context: tuple[Where, ...]  # the views that the network has seen
    camera: Where
    seed: int  # of the noise
    step: int  # generation step after which the canvas is shown; 0: the last

    @property
    def background(self) -> bool:
        """Whether it is answered in the background."""
        return ABOUT[self.about]


def question(text: str) -> Question:
    """Parse a client's message; BadInput unless every value is of the right type and within bounds."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("this is not JSON") from error
    if not isinstance(given, dict):
        raise BadInput("a question is a JSON object")
    about, dataset = given.get("about"), given.get("dataset")
    if not isinstance(about, str) or about not in ABOUT:
        raise BadInput(f"about must be one of {', '.join(ABOUT)}")
    if not isinstance(dataset, str):
        raise BadInput("dataset must be a name")
    context = given.get("context")
    if not isinstance(context, list) or not 1 <= len(context) <= CONTEXT:
        raise BadInput(f"context must be a list of 1 to {CONTEXT} views")
    return Question(
        about=about,
        id=_whole("id", given.get("id"), 2**53),
        dataset=dataset,
        scene=_whole("scene", given.get("scene"), 10**6),
        context=tuple(_where("context", view) for view in context),
        camera=ABOVE if given.get("camera") == ABOVE else _where("camera", given.get("camera")),
        seed=_whole("seed", given.get("seed"), 2**31),
        step=_whole("step", given.get("step"), 10**6),
    )


def answer(header: dict[str, Any], parts: dict[str, NDArray[np.uint8]]) -> bytes:
    """The binary message for a part of an answer: its header, and its arrays by name."""
    shapes = [[name, list(part.shape)] for name, part in parts.items()]
    text = json.dumps(header | {"parts": shapes}, allow_nan=False).encode()
    return b"".join([struct.pack("<I", len(text)), text, *(part.tobytes() for part in parts.values())])


def _whole(name: str, value: Any, end: int) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise BadInput(f"{name} must be a whole number from 0 to {end - 1}")
    return value


def _where(name: str, value: Any) -> int | Pose:
    """The number of a view, or a pose with values of plausible size."""
    if type(value) is int:
        return _whole(name, value, CONTEXT)
    if not isinstance(value, list) or len(value) != 5 or not all(type(x) in (int, float) for x in value):
        raise BadInput(f"{name}: a camera is the number of a view, or x, y, z, yaw, pitch")
    if not all(abs(x) <= 1000 for x in value):  # NaN fails this too
        raise BadInput(f"{name}: a camera's numbers must be finite, and at most 1000")
    return tuple(map(float, value))

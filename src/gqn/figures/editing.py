"""Rooms that differ in one property, and a model's representations of them (codes).

A base scene has one object, of a shape whose size may vary. Editing the scene's description changes one property
between two values that look clearly different; everything else stays the same, cameras included.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn.config import Config
from gqn.data.sources import Rendered
from gqn.errors import BadInput
from gqn.figures.heldout import rendered
from gqn.models import Model
from gqn.scenes import raycast, rooms, textures
from gqn.views import Cameras, Views, stack

SIZES = {"box": 0.8, "sphere": 0.8, "cylinder": 1.0, "capsule": 1.0}  # shapes of a base scene's object: height, metres
RADIUS = 0.4  # of the object, metres
BATCH = 100  # contexts that a model represents at a time

Generator = np.random.Generator


@dataclass(frozen=True)
class Property:
    """A property of a scene: `pair` draws two values to change it between, `edit` sets one of them."""

    pair: Callable[[Generator], tuple[Any, Any]]
    edit: Callable[[rooms.Scene, Any], rooms.Scene]


def scenes(config: Config) -> Rendered:
    """A run's held-out scenes, rendered; BadInput if they are not rooms, which alone can be edited."""
    held_out = rendered(config)
    if not isinstance(held_out.family, rooms.Family):
        raise BadInput(f"this figure edits rooms and their objects, and {config.data.dataset_name} has none")
    return held_out


def base(rng: Generator) -> rooms.Scene:
    """A random room with one object of one of SIZES."""
    scene = rooms.Family(max_objects=1).sample(rng)
    return _shaped(scene, str(rng.choice(list(SIZES))))


def around(held_out: Rendered, k: int) -> tuple[Cameras, Cameras]:
    """Context and query cameras, (k,) each, that alternate on the family's orbit, which is clear of objects."""
    circle = held_out.family.orbit(None, 2 * k)
    return circle[::2], circle[1::2]


def codes(model: Model, context: Views) -> Tensor:
    """Representations (B, ...) of contexts (B, M) with float frames; BadInput if the model's are not tensors."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(context.frames), BATCH):
            r = model.represent(context[start : start + BATCH])
            if not isinstance(r, Tensor):
                raise BadInput("this figure calculates with representations: it needs a model whose are tensors")
            parts.append(r)
    return torch.cat(parts)


def seen(held_out: Rendered, variants: Sequence[rooms.Scene], where: Cameras) -> Views:
    """What the same cameras (K,) see of several scenes: Views (len(variants), K) with float frames."""
    return stack([held_out.render(scene, where) for scene in variants]).float()


def _object(scene: rooms.Scene, **values: Any) -> rooms.Scene:
    return replace(scene, objects=(replace(scene.objects[0], **values),))


def _shaped(scene: rooms.Scene, shape: str) -> rooms.Scene:
    return _object(scene, shape=shape, size=(RADIUS, RADIUS, SIZES[shape]))


def _scaled(scene: rooms.Scene, factor: float) -> rooms.Scene:
    a, b, height = scene.objects[0].size
    return _object(scene, size=(factor * a, factor * b, factor * height))


def _coloured(scene: rooms.Scene, hue: float) -> rooms.Scene:
    return _object(scene, colour=tuple(raycast.hsv(np.array(hue % 1), 0.8, 0.9).tolist()))


def _opposite(radius: float) -> Callable[[Generator], tuple[Any, Any]]:
    def pair(rng: Generator) -> tuple[Any, Any]:
        angle = rng.uniform(0, 2 * math.pi)
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        return (x, y), (-x, -y)

    return pair


def _two(values: Sequence[Any]) -> Callable[[Generator], tuple[Any, Any]]:
    def pair(rng: Generator) -> tuple[Any, Any]:
        first, second = rng.permutation(len(values))[:2]
        return values[first], values[second]

    return pair


def _hues(rng: Generator) -> tuple[float, float]:
    hue = rng.random()
    return hue, hue + 0.5


PROPERTIES = {
    "hue": Property(_hues, _coloured),
    "shape": Property(_two(list(SIZES)), _shaped),
    "size": Property(_two((0.6, 1.2)), _scaled),
    "place": Property(_opposite(1.2), lambda scene, place: _object(scene, place=place)),
    "wall": Property(_two(list(textures.WALLS)), lambda scene, wall: replace(scene, wall=wall)),
    "floor": Property(_two(list(textures.FLOORS)), lambda scene, floor: replace(scene, floor=floor)),
    "lamp": Property(_opposite(2.0), lambda scene, at: replace(scene, light=replace(scene.light, lamp=at))),
}

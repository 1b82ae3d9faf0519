"""Scenes: random worlds and what cameras see of them, rendered by ray casting.

A scene family is a module here with a class `Family`; a row of `gqn.data.specification` says which dataset it imitates.
To add a family, write a module whose `Family` follows the protocol below, and add the row. Families share `raycast`
(solids, grids, light, the renderer) and `textures`. This package does not depend on models, data or runs.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gqn.views import Cameras, Views


class Moves(Protocol):
    """How cameras move in scenes."""

    @property
    def fov(self) -> float:
        """Field of view of the cameras, in degrees."""
        ...

    @property
    def motion(self) -> str:
        """How a dragged camera moves: on a "sphere", on a "ring", "around" the middle, or in a "walk"."""
        ...

    def allowed(self, scene: Any | None, cameras: Cameras) -> Cameras:
        """The nearest cameras (K,) that the family allows; `scene` is None if the scene is unknown."""
        ...

    def orbit(self, scene: Any, k: int) -> Cameras:
        """Cameras (K,) evenly spaced over one full turn."""
        ...


class Family(Moves, Protocol):
    """A distribution of scenes. A scene is described by a `Scene`, a frozen dataclass of the family's module.

    Optional members: `overhead(scene) -> Cameras` (1,), for a family with a view from straight above; a field
    `max_objects`, if the number of objects varies; a field `hold_out`, if the family has a documented hold-out.
    """

    def sample(self, rng: np.random.Generator) -> Any:
        """A random Scene."""
        ...

    def cameras(self, rng: np.random.Generator, scene: Any, k: int) -> Cameras:
        """Random cameras (K,), distributed as in the dataset."""
        ...

    def render(self, scene: Any, cameras: Cameras, size: int, antialias: bool | None = None) -> Views:
        """What cameras (K,) see: frames (K, 3, size, size) uint8; `antialias` None: as in the dataset."""
        ...

    def inspect(self, scene: Any, cameras: Cameras, size: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth along the camera axis, in the units of camera positions (inf: background), and ids; each (K, h, w).

        An id is the index of an object, or one of the negative constants of `gqn.scenes.raycast`.
        """
        ...

    def factors(self, scene: Any) -> dict[str, Any]:
        """The factors of variation of a scene, by name: numbers, strings, and lists or arrays of them."""
        ...

"""Scenes, rendered or read from files, and how they become batches of tasks.

`sources.source(name, split, ...)` returns the scenes of a dataset as a `Source`; `tasks.batches` makes batches of tasks
from a `Source`. `specification` is the table of the datasets. `files/` reads and writes the released format, `remote/`
fetches such files from an address.

To add a dataset, add a row to `specification.DATASETS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the command line imports the table of datasets and must not wait for the import of torch
    from gqn.views import Views

Record = tuple[list[bytes], NDArray[np.float32]]
"""A scene as a record in a file holds it: K JPEG byte strings, and cameras (K, 5): x, y, z, yaw, pitch."""


class Order(Protocol):
    """The order in which scenes are visited, each once per epoch."""

    def __call__(self, seed: int, number: int) -> int:
        """The index of the scene of task `number`, counted through all epochs; depends on `seed` and `number` alone."""
        ...


class Source(Protocol):
    """The scenes of one split, accessed by index."""

    @property
    def num_views(self) -> int:
        """Views of each scene."""
        ...

    @property
    def image_size(self) -> int:
        """Side of a frame, in pixels."""
        ...

    @property
    def order(self) -> Order | int:
        """The order of the scenes; an integer is the number of scenes and means a uniformly random order."""
        ...

    @property
    def overhead_queries(self) -> bool:
        """Whether every query is the view from above; if so, the source has a method `overhead(index)`: Views (1,)."""
        ...

    @property
    def skipped(self) -> Any:
        """Number of times any worker skipped a damaged scene: an int, or a tensor that holds one."""
        ...

    def views(self, index: int, which: np.ndarray) -> Views:
        """The views `which` of scene `index`: Views (len(which),), frames uint8. BadInput if it cannot be read."""
        ...

    def coded(self, index: int, which: np.ndarray) -> Record:
        """The views `which` of scene `index` as a record: JPEG byte strings, and cameras."""
        ...

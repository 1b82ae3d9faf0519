"""Where scenes come from: `source(name, split)` gives the scenes of a dataset by index."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gqn import lookup
from gqn.data import jpeg
from gqn.data.released import DATASETS
from gqn.data.stored import find, stored
from gqn.data.tasks import Source, rng
from gqn.errors import BadInput
from gqn.views import Cameras, Views

# Scene seeds of the two splits; they never meet.
SPLITS = {"train": range(0, 2**32), "test": range(2**32, 2**32 + 2**20)}


def source(
    name: str,
    split: str,
    image_size: int | None = None,
    num_views: int | None = None,
    hold_out: bool = False,
    jpeg: bool = True,
    data: Path | None = None,
    skip_damaged: bool = False,
    query: str = "view",
    max_objects: int = 0,
) -> Source:
    """The scenes of a released dataset's name: rendered as they are asked for, or read from `data`.

    `split` is "train" or "test"; `image_size` is the released one unless given.

    Rendered: scenes have the released number of views unless `num_views` is given. Frames of the released size take
    the released files' JPEG coding unless `jpeg` is False, so that numbers on rendered and released data compare.
    With `query` "overhead" every task asks for the view from straight above, where the family has one.
    `max_objects` and `hold_out` are of families that have them: most objects of a scene, if not as released; and
    leaving out the family's documented combinations of factors, where it has any.

    Stored: `data` is a folder that holds `name`/`split`/*.tfrecord or `split`/*.tfrecord. Frames are resized, with
    antialiasing, to an `image_size` that is not theirs. With `skip_damaged` a damaged scene is named on stderr and the
    next one taken. Raises BadInput if there are no such files, or one cannot be used.
    """
    if name not in DATASETS:
        raise BadInput(lookup.unknown("dataset", name, DATASETS))
    row = DATASETS[name]
    family = lookup.load("scenes", row.family).Family(**row.options)
    if data is not None:
        if hold_out or max_objects or query != "view":
            raise BadInput(
                "a hold-out, fewer objects, an overhead view are of rendered scenes, stored ones are as they are: "
                "leave --hold-out, --max-objects and --query, or --data, away"
            )
        return stored(find(data, name, split), image_size, family.fov, skip_damaged)
    if query == "overhead" and not hasattr(family, "overhead"):
        raise BadInput(f"{name} has no overhead view: leave --query away")
    if max_objects:
        if not hasattr(family, "max_objects"):
            raise BadInput(f"{name} has no varying number of objects: leave --max-objects away")
        family = replace(family, max_objects=max_objects)
    if hold_out:
        if not hasattr(family, "hold_out"):
            raise BadInput(f"{name} has no documented hold-out: leave --hold-out away")
        family = replace(family, hold_out=True)
    size = image_size or row.image_size
    coded = jpeg and size == row.image_size
    return Rendered(family, num_views or row.num_views, size, SPLITS[split], coded, query == "overhead")


@dataclass(frozen=True)
class Rendered:
    """Scenes of a family, rendered on the fly: the scene's seed decides everything about it."""

    family: Any
    num_views: int
    image_size: int
    seeds: range
    jpeg: bool
    overhead_queries: bool = False

    def __len__(self) -> int:
        return len(self.seeds)

    def views(self, index: int, which: np.ndarray) -> Views:
        """The views `which` of scene `index`: Views (len(which),), frames uint8."""
        scene, cameras = self.scene(index)
        return self.render(scene, cameras[torch.as_tensor(which)])

    def overhead(self, index: int) -> Views:
        """The view (1,) of scene `index` from straight above."""
        scene, _ = self.scene(index)
        return self.render(scene, self.family.overhead(scene))

    def render(self, scene: Any, cameras: Cameras) -> Views:
        """What any cameras (K,) see of a scene's description, of the size and coding of `views`."""
        views = self.family.render(scene, cameras, self.image_size)
        return replace(views, frames=jpeg_coded(views.frames)) if self.jpeg else views

    def scene(self, index: int) -> tuple[Any, Cameras]:
        """The description of scene `index` and its `num_views` cameras."""
        generator = rng(self.seeds[index])
        scene = self.family.sample(generator)
        return scene, self.family.cameras(generator, scene, self.num_views)


def jpeg_coded(frames: torch.Tensor) -> torch.Tensor:
    """Frames (K, 3, H, W) uint8 after the released files' coding."""
    coded = [jpeg.decode(jpeg.encode(frame)) for frame in frames.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2)

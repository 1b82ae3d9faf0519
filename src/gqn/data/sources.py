"""Where scenes come from: `source(name, split)` returns the scenes of a dataset, accessed by index."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gqn.data import Record, Source
from gqn.data.files import jpeg
from gqn.data.files.stored import find, stored
from gqn.data.remote import cache
from gqn.data.remote.source import Remote
from gqn.data.specification import DatasetSpec, check, check_size, spec
from gqn.data.tasks import rng
from gqn.errors import BadInput
from gqn.runtime import lookup
from gqn.scenes import Moves
from gqn.scenes.captured import Captured
from gqn.views import Cameras, Views

# Scene seeds of the two splits; they are disjoint.
SPLITS = {"train": range(0, 2**32), "test": range(2**32, 2**32 + 2**20)}


def source(
    name: str,
    split: str,
    image_size: int | None = None,
    num_views: int | None = None,
    num_scenes: int | None = None,
    hold_out: bool = False,
    data: Path | str | None = None,
    skip_damaged: bool = False,
    cache_gb: float = 20.0,
    query: str = "view",
    max_objects: int = 0,
) -> Source:
    """The scenes of the dataset with this name: rendered on the fly, or read from `data` if it is given.

    A name that is not a released one is of a dataset of one's own, which `data`/`name`/dataset.toml describes.

    `split` is "train" or "test". `image_size` and `num_views` default to those of the released dataset for rendered
    scenes, and to those of the files for stored scenes. `num_scenes` keeps only the first so many scenes.

    Rendered scenes: frames are encoded and decoded with the JPEG settings of the released files, so scene i is the same
    to the byte whether it is rendered here or read from files rendered earlier. With `query` "overhead" every query is
    the view from straight above, if the family has one. `max_objects` sets the largest number of objects in a scene
    (0: as released), and `hold_out` leaves out the family's documented combinations of factors; each works only for
    families that support it.

    Stored scenes: `data` is a folder that holds `name`/`split`/*.tfrecord or `split`/*.tfrecord. Frames of another size
    than `image_size` are resized with antialiasing. With `skip_damaged` a damaged scene is reported on stderr and the
    next scene is used instead. If `data` is an address (https://, gs:// or any other that fsspec supports), the result
    is a `Remote` source, which keeps files in a cache of at most `cache_gb` GB and does not know its number of scenes.
    With an address and `num_scenes`, the files that hold these scenes are fetched at once and the result is `Stored`.

    Raises BadInput if there are no such files, if they hold less than was asked for, if one cannot be used, or if an
    option does not apply.
    """
    row = spec(name, data)
    if data is not None:
        if hold_out or max_objects or query != "view":
            raise BadInput(
                "a hold-out, fewer objects, an overhead view are of rendered scenes, stored ones are as they are: "
                "leave `hold_out`, `max_objects` and `query`, or `data`, away"
            )
        if "://" in str(data):
            addresses, kept = cache.find(str(data), name, split), cache.cache(cache_gb)
            if not num_scenes:
                return Remote(addresses, kept, image_size, num_views, row.filmed.cameras, skip_damaged)
            paths = cache.first(addresses, kept, num_scenes)
        else:
            paths = find(Path(data), name, split)
        num_views = num_views or (0 if row.family else row.num_views)
        return stored(paths, image_size, num_views, num_scenes, row.filmed.cameras, skip_damaged)
    check(name, row, query, max_objects, hold_out)
    family = family_of(row)
    if max_objects:
        family = replace(family, max_objects=max_objects)
    if hold_out:
        family = replace(family, hold_out=True)
    seeds = SPLITS[split][: num_scenes or None]
    return Rendered(family, num_views or row.num_views, image_size or row.image_size, seeds, query == "overhead")


def scene(name: str, seed: int, views: int = 0, image_size: int = 0) -> Views:
    """Render the held-out scene with this seed (0 <= seed < 2^20): Views (K,), float frames.

    `views` and `image_size` default (0) to those of the released dataset. Raises BadInput for an unknown name, or a
    seed, number of views or size out of range.
    """
    for what, value in (("seed", seed), ("views", views), ("image_size", image_size)):
        if not isinstance(value, int | np.integer):
            raise BadInput(f"{what} must be a whole number, not {value!r}")
    if views < 0:
        raise BadInput(f"views must be at least 1, or 0 for as many as released, not {views}")
    if image_size:
        check_size(image_size)
    scenes = source(name, "test", image_size, views)
    if not 0 <= seed < len(SPLITS["test"]):
        raise BadInput(f"held-out scenes have seeds from 0 to {len(SPLITS['test']) - 1}, not {seed}")
    return scenes.views(seed, np.arange(scenes.num_views)).float()


@functools.cache
def cameras(name: str, query: str = "view") -> tuple[Cameras, Cameras]:
    """Cameras (N,) of the views of a hundred rendered training scenes, and the cameras of queries of this kind."""
    scenes = source(name, "train", num_views=10, query=query)
    assert isinstance(scenes, Rendered)
    _, cameras = zip(*map(scenes.scene, range(100)), strict=True)
    views = replace(cameras[0], pose=torch.cat([c.pose for c in cameras]))
    return views, scenes.family.overhead(scenes.scene(0)[0]) if query == "overhead" else views


def family_of(row: DatasetSpec) -> Any:
    """The scene family that renders a dataset of `gqn.data.specification.DATASETS`."""
    return lookup.load("scenes", row.family).Family(**row.options, **_filmed(row))


def moves_of(row: DatasetSpec) -> Moves:
    """How cameras move in the scenes of a dataset, if nothing is known of a scene but its views."""
    return family_of(row) if row.family else Captured(**row.options, **_filmed(row))


def _filmed(row: DatasetSpec) -> dict[str, Any]:
    return {"fov": row.filmed.fov, "convention": row.filmed.convention, "unit": row.filmed.unit}


@dataclass(frozen=True)
class Rendered:
    """Scenes of a family, rendered on the fly; a `gqn.data.Source`. A scene is a function of its seed alone."""

    family: Any
    num_views: int
    image_size: int
    seeds: range
    overhead_queries: bool = False
    skipped = 0

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def order(self) -> int:
        """The number of scenes, which means a uniformly random order."""
        return len(self.seeds)

    def views(self, index: int, which: np.ndarray) -> Views:
        """The views `which` of scene `index`: Views (len(which),), frames uint8."""
        scene, cameras = self.scene(index)
        return self.render(scene, cameras[torch.as_tensor(which)])

    def overhead(self, index: int) -> Views:
        """The view of scene `index` from straight above: Views (1,), frames uint8."""
        scene, _ = self.scene(index)
        return self.render(scene, self.family.overhead(scene))

    def render(self, scene: Any, cameras: Cameras) -> Views:
        """What cameras (K,) see of a described scene, in the same size and JPEG coding as `views`."""
        views = self.family.render(scene, cameras, self.image_size)
        return replace(views, frames=jpeg.decoded(jpeg.encoded(views.frames)))

    def coded(self, index: int, which: np.ndarray) -> Record:
        """The views `which` of scene `index` as a record: JPEG byte strings, and cameras."""
        scene, cameras = self.scene(index)
        views = self.family.render(scene, cameras[torch.as_tensor(which)], self.image_size)
        return jpeg.encoded(views.frames), views.cameras.pose.numpy()

    def scene(self, index: int) -> tuple[Any, Cameras]:
        """The description of scene `index` and its `num_views` cameras."""
        generator = rng(self.seeds[index])
        scene = self.family.sample(generator)
        return scene, self.family.cameras(generator, scene, self.num_views)

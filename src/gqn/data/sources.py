"""Where scenes come from: `source(name, split)` gives the scenes of a dataset by index."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gqn import lookup
from gqn.data import jpeg, remote
from gqn.data.released import DATASETS
from gqn.data.stored import find, stored
from gqn.data.tasks import Source, rng
from gqn.data.tfrecord import Scene
from gqn.errors import BadInput
from gqn.views import Cameras, Views

# Scene seeds of the two splits; they never meet.
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
    """The scenes of a released dataset's name: rendered as they are asked for, or read from `data`.

    `split` is "train" or "test". They have the released size and number of views (stored ones: their own) unless
    `image_size` and `num_views` are given; `num_scenes` takes the first so many of them.

    Rendered: frames have been through the released files' JPEG coding, so that scene i is the same to the byte whether
    it is rendered here or read from files that were. With `query` "overhead" every task asks for the view from straight
    above, where the family has one. `max_objects` and `hold_out` are of families that have them: most objects of a
    scene, if not as released; and leaving out the family's documented combinations of factors.

    Stored: `data` is a folder that holds `name`/`split`/*.tfrecord or `split`/*.tfrecord. Frames are resized, with
    antialiasing, to an `image_size` that is not theirs. With `skip_damaged` a damaged scene is named on stderr and the
    next one taken. An address (https://, gs:// or any of fsspec) in place of the folder gives a `Remote` source, which
    keeps files in a cache of at most `cache_gb` GB and whose number of scenes is not known; with `num_scenes` the files
    that hold these are fetched at once. Raises BadInput if there are no such files, they hold less than is asked for,
    or one cannot be used.
    """
    family = family_of(name)
    row = DATASETS[name]
    if data is not None:
        if hold_out or max_objects or query != "view":
            raise BadInput(
                "a hold-out, fewer objects, an overhead view are of rendered scenes, stored ones are as they are: "
                "leave --hold-out, --max-objects and --query, or --data, away"
            )
        if "://" in str(data):
            addresses, cache = remote.find(str(data), name, split), remote.cache(cache_gb)
            if not num_scenes:
                return remote.Remote(addresses, cache, image_size, num_views, family.fov, skip_damaged)
            paths = remote.first(addresses, cache, num_scenes)
        else:
            paths = find(Path(data), name, split)
        return stored(paths, image_size, num_views, num_scenes, family.fov, skip_damaged)
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
    seeds = SPLITS[split][: num_scenes or None]
    return Rendered(family, num_views or row.num_views, image_size or row.image_size, seeds, query == "overhead")


def scene(name: str, seed: int, views: int = 0, image_size: int = 0) -> Views:
    """Views (K,), float frames, of the held-out scene that a seed below 2^20 stands for, rendered.

    As many views, and as large, as released, unless `views` and `image_size` say otherwise. BadInput for an unknown
    name or a seed that is none.
    """
    for what, value in (("seed", seed), ("views", views), ("image_size", image_size)):
        if not isinstance(value, int | np.integer):
            raise BadInput(f"{what} must be a whole number, not {value!r}")
    if views < 0:
        raise BadInput(f"views must be at least 1, or 0 for as many as released, not {views}")
    if image_size and (image_size < 16 or image_size % 4):
        raise BadInput(f"image_size must be a multiple of 4, at least 16, not {image_size}")
    scenes = source(name, "test", image_size, views)
    if not 0 <= seed < len(SPLITS["test"]):
        raise BadInput(f"held-out scenes have seeds from 0 to {len(SPLITS['test']) - 1}, not {seed}")
    return scenes.views(seed, np.arange(scenes.num_views)).float()


@cache
def cameras(name: str, query: str = "view") -> tuple[Cameras, Cameras]:
    """Cameras (N,) of the rendered views of a hundred training scenes, and those that a `query` is about."""
    scenes = source(name, "train", num_views=10, query=query)
    assert isinstance(scenes, Rendered)
    _, cameras = zip(*map(scenes.scene, range(100)), strict=True)
    views = replace(cameras[0], pose=torch.cat([c.pose for c in cameras]))
    return views, scenes.family.overhead(scenes.scene(0)[0]) if query == "overhead" else views


def family_of(name: str) -> Any:
    """The scene family of a released dataset's name."""
    if name not in DATASETS:
        raise BadInput(lookup.unknown("dataset", str(name), DATASETS))
    row = DATASETS[name]
    return lookup.load("scenes", row.family).Family(**row.options)


@dataclass(frozen=True)
class Rendered:
    """Scenes of a family, rendered on the fly: the scene's seed decides everything about it."""

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
        """Uniform, over all scenes."""
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
        return replace(views, frames=jpeg.decoded(jpeg.encoded(views.frames)))

    def coded(self, index: int, which: np.ndarray) -> Scene:
        """The views `which` of scene `index` as a record holds them."""
        scene, cameras = self.scene(index)
        views = self.family.render(scene, cameras[torch.as_tensor(which)], self.image_size)
        return jpeg.encoded(views.frames), views.cameras.pose.numpy()

    def scene(self, index: int) -> tuple[Any, Cameras]:
        """The description of scene `index` and its `num_views` cameras."""
        generator = rng(self.seeds[index])
        scene = self.family.sample(generator)
        return scene, self.family.cameras(generator, scene, self.num_views)

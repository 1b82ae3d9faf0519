"""Scenes in files at an address; complete files are fetched in advance into a cache of bounded size.

How many scenes a file holds is known only once it was fetched, so the scenes of a split cannot be shuffled all at once:
`Windows` defines their order. If a scene's file is not in the cache, it is fetched when the scene is read. The content
of the cache affects only the time, never the result.
"""

import threading
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from gqn.data import Record
from gqn.data.files import tfrecord
from gqn.data.files.stored import Stored, open_files, stored
from gqn.data.files.tfrecord import Damaged
from gqn.data.remote.cache import Cache
from gqn.data.tasks import permuted
from gqn.errors import BadInput
from gqn.runtime.console import say
from gqn.views import Cameras, Views

WINDOW = 8  # files whose scenes are shuffled together
CONNECTIONS = 4  # files that are fetched in advance at the same time
MOST = 2**32  # more scenes than any file has: scene i of file f has the index f * MOST + i


class Remote:
    """Scenes in files at addresses, in the order of `Windows`; a `gqn.data.Source` whose number of scenes is unknown.

    The first file is fetched at once, and `image_size` and `num_views` default to those of its first scene, as in
    `gqn.data.files.stored.stored`. Raises BadInput if two windows of such files do not fit the cache.
    """

    overhead_queries = False

    def __init__(
        self,
        addresses: list[str],
        cache: Cache,
        image_size: int | None = None,
        num_views: int | None = None,
        cameras: Callable[[Tensor], Cameras] = Cameras,
        skip_damaged: bool = False,
    ):
        self.addresses, self.cache = addresses, cache
        first = cache.file(addresses[0])
        window = min(WINDOW, len(addresses))
        if (least := 2 * window * first.stat().st_size) > cache.bound:
            raise BadInput(
                f"files like {addresses[0]} need a cache of {least / 1e9:.3g} GB, for two windows of {window} files: "
                "raise `cache_gb`"
            )
        self.first = stored([first], image_size, num_views, None, cameras, skip_damaged)
        self.num_views, self.image_size, self.skipped = self.first.num_views, self.first.image_size, self.first.skipped
        self.order = Windows(len(addresses), self.counts, self.ahead)
        self.known: dict[int, int] = {}  # file number -> its number of scenes
        self.opened: dict[int, Stored] = {}  # file number -> its scenes, for the files opened last

    def views(self, index: int, which: np.ndarray) -> Views:
        """As `Stored.views`. Raises BadInput if the file cannot be fetched.

        With `skip_damaged`, the scene that follows the last scene of a file is the first of the same file.
        """
        number, record = divmod(index, MOST)
        return self._here(number, lambda file: file.views(record, which))

    def coded(self, index: int, which: np.ndarray) -> Record:
        """As `Stored.coded`."""
        number, record = divmod(index, MOST)
        return self._here(number, lambda file: file.coded(record, which))

    def _here(self, number, read: Callable):
        try:
            return read(self.open(number))
        except Damaged:
            raise
        except BadInput:
            if self.cache.path(self.addresses[number]).exists():
                raise
            self.cache.file(self.addresses[number])  # another process removed the file from the cache in the meantime
            return read(self.open(number))

    def open(self, number: int) -> Stored:
        """The scenes of file `number`, which is fetched if it is not in the cache."""
        if number not in self.opened:
            (file,) = open_files([self.cache.file(self.addresses[number])], self.first.skip_damaged)
            self.opened[number] = replace(self.first, files=[file], ends=np.array([len(file)]), num_scenes=len(file))
            if len(self.opened) > 2 * WINDOW:
                del self.opened[next(iter(self.opened))]
        return self.opened[number]

    def counts(self, numbers: list[int]) -> list[int]:
        """How many scenes each of these files holds; files that were never fetched before are fetched."""
        new = [number for number in numbers if number not in self.known]
        for number in new:
            if (count := tfrecord.count(self.cache.path(self.addresses[number]))) is not None:
                self.known[number] = count
        self.ahead(missing := [number for number in new if number not in self.known])
        for number in missing:
            if not self.cache.path(self.addresses[number]).exists():
                say(f"waiting for {self.addresses[number]}")
            self.known[number] = len(self.open(number))
        return [self.known[number] for number in numbers]

    def ahead(self, numbers: list[int]) -> None:
        """Begin to fetch those of these files that are not in the cache; errors appear only when a file is read."""

        def work(addresses: list[str]) -> None:
            with suppress(BadInput):
                for address in addresses:
                    self.cache.file(address)

        addresses = [self.addresses[number] for number in numbers]
        for first in range(CONNECTIONS):
            if part := [a for a in addresses[first::CONNECTIONS] if not self.cache.path(a).exists()]:
                threading.Thread(target=work, args=(part,), daemon=True).start()


@dataclass(frozen=True)
class Windows:
    """An order of scenes for files whose numbers of scenes become known only as they are fetched; a `gqn.data.Order`.

    Each epoch draws a new order of the files and cuts it into windows of `WINDOW` files. The scenes of a window come in
    random order, each once, then those of the next window. The order depends on (seed, number) alone. `counts(files)`
    must return the numbers of scenes of files; it is asked about all files up to the task's window. `ahead(files)` is
    told which files are needed now or next.
    """

    files: int
    counts: Callable[[list[int]], list[int]]
    ahead: Callable[[list[int]], None]
    starts: dict[int, list[int]] = field(default_factory=dict)
    """By seed: the number of the first task of each window reached so far, and of the window after the last."""
    told: set[tuple[int, int]] = field(default_factory=set)
    """The (seed, window) pairs that `ahead` was already told."""

    def __call__(self, seed: int, number: int) -> int:
        """As in `gqn.data.Order`."""
        starts = self.starts.setdefault(seed, [0])
        while number >= starts[-1]:
            starts.append(starts[-1] + sum(self.counts(self.window(seed, len(starts) - 1))))
        window = bisect_right(starts, number) - 1
        self._tell(seed, window)
        start, end = starts[window : window + 2]
        if number >= (start + end) // 2:
            self._tell(seed, window + 1)
        place = permuted(number - start, end - start, (seed, window))
        files = self.window(seed, window)
        ends = np.cumsum(self.counts(files))
        file = int(np.searchsorted(ends, place, side="right"))
        return files[file] * MOST + place - int(ends[file - 1] if file else 0)

    def window(self, seed: int, window: int) -> list[int]:
        """The numbers of the files of a window; windows are counted through all epochs."""
        epoch, part = divmod(window, -(-self.files // WINDOW))
        places = range(self.files)[part * WINDOW : (part + 1) * WINDOW]
        return [permuted(place, self.files, (seed, epoch)) for place in places]

    def _tell(self, seed: int, window: int) -> None:
        if (seed, window) not in self.told:
            self.told.add((seed, window))
            self.ahead(self.window(seed, window))

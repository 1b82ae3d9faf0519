"""Scenes of files at an address, which are fetched whole, ahead of need, into a cache of bounded size.

How many scenes a file holds is known once it was here, so the scenes of a split cannot be shuffled as one: `Windows` is
the order in which they come. Where a scene is asked for and its file is not here, it is fetched; nothing but time
depends on what the cache holds.
"""

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gqn import content, files
from gqn.data import fetch, tfrecord
from gqn.data.released import DATASETS
from gqn.data.stored import PLACES, Stored, folders, open_files, stored
from gqn.data.tasks import permuted
from gqn.data.tfrecord import Damaged, Scene
from gqn.errors import Absent, BadInput
from gqn.logs import console
from gqn.views import Views

WINDOW = 8  # files whose scenes are shuffled together
CONNECTIONS = 4  # files that are fetched at a time, ahead of need
MOST = 2**32  # scenes of a file: scene i of file f has the index f * MOST + i
MODIFIED = 10**18  # time in ns that files in the cache bear, so that one that is fetched again has the same index


class Remote:
    """Scenes of files at addresses, in the order of `Windows`; a source as in `gqn.data.tasks`, without a number.

    The first file is fetched at once; its first scene says what is not asked for, as in `gqn.data.stored.stored`.
    """

    def __init__(
        self,
        addresses: list[str],
        cache: "Cache",
        image_size: int | None = None,
        num_views: int | None = None,
        fov: float = 50.0,
        skip_damaged: bool = False,
    ):
        self.addresses, self.cache = addresses, cache
        first = cache.file(addresses[0])
        window = min(WINDOW, len(addresses))
        if (least := 2 * window * first.stat().st_size) > cache.bound:
            raise BadInput(
                f"files like {addresses[0]} need a cache of {least / 1e9:.3g} GB, for two windows of {window} files: "
                "raise --cache-gb"
            )
        self.first = stored([first], image_size, num_views, None, fov, skip_damaged)
        self.num_views, self.image_size, self.skipped = self.first.num_views, self.first.image_size, self.first.skipped
        self.order = Windows(len(addresses), self.counts, self.ahead)
        self.known: dict[int, int] = {}  # scenes of files
        self.opened: dict[int, Stored] = {}  # those opened last

    def views(self, index: int, which: np.ndarray) -> Views:
        """As `Stored.views`; the scene after the last one of a file is its first. BadInput if it cannot be fetched."""
        number, record = divmod(index, MOST)
        return self._here(number, lambda file: file.views(record, which))

    def coded(self, index: int, which: np.ndarray) -> Scene:
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
            self.cache.file(self.addresses[number])  # another process made room in the meantime
            return read(self.open(number))

    def open(self, number: int) -> Stored:
        """The scenes of a file, fetched if it is not here."""
        if number not in self.opened:
            (file,) = open_files([self.cache.file(self.addresses[number])], self.first.skip_damaged)
            self.opened[number] = replace(self.first, files=[file], ends=np.array([len(file)]), num_scenes=len(file))
            if len(self.opened) > 2 * WINDOW:
                del self.opened[next(iter(self.opened))]
        return self.opened[number]

    def counts(self, numbers: list[int]) -> list[int]:
        """How many scenes files hold; those that were never here are fetched."""
        new = [number for number in numbers if number not in self.known]
        for number in new:
            if (count := tfrecord.count(self.cache.path(self.addresses[number]))) is not None:
                self.known[number] = count
        self.ahead(missing := [number for number in new if number not in self.known])
        for number in missing:
            if not self.cache.path(self.addresses[number]).exists():
                console.print(f"waiting for {self.addresses[number]}", markup=False)
            self.known[number] = len(self.open(number))
        return [self.known[number] for number in numbers]

    def ahead(self, numbers: list[int]) -> None:
        """Begin to fetch what is not here of these files; failures are left to those who need them."""

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
    """The order of the scenes of files whose numbers of scenes become known one by one.

    Each epoch has the files in an order drawn anew, and cuts it into windows of `WINDOW` files; the scenes of a window
    come in random order, each once, then those of the next. A function of (seed, number) alone, for which `counts` is
    asked about the files up to there, and `ahead` told which ones are needed and come next.
    """

    files: int
    counts: Callable[[list[int]], list[int]]
    ahead: Callable[[list[int]], None]
    starts: dict[int, list[int]] = field(default_factory=dict)
    """By seed: the number of the first task of each window that was reached, and of the one after."""
    told: set[tuple[int, int]] = field(default_factory=set)

    def __call__(self, seed: int, number: int) -> int:
        """The scene of task `number`."""
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
        """The files of a window, counted through all epochs."""
        epoch, part = divmod(window, -(-self.files // WINDOW))
        places = range(self.files)[part * WINDOW : (part + 1) * WINDOW]
        return [permuted(place, self.files, (seed, epoch)) for place in places]

    def _tell(self, seed: int, window: int) -> None:
        if (seed, window) not in self.told:
            self.told.add((seed, window))
            self.ahead(self.window(seed, window))


@dataclass(frozen=True)
class Cache:
    """A folder with the files that were fetched last, of at most `bound` bytes; processes may share it.

    What is under way comes on top of that. Indexes of files stay when the files go.
    """

    folder: Path
    bound: int

    def path(self, address: str) -> Path:
        """Where the file of an address is when it is here."""
        return self.folder / fetch.plain(address)

    def file(self, address: str) -> Path:
        """The file of an address, fetched if it is not here, now the last one to make room."""
        path = self.path(address)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.locked(path.with_name(f".{path.name}.lock"), wait=True):
                if not path.exists():
                    fetch.fetch(address, path, move=self._move)
            with suppress(FileNotFoundError):
                os.utime(path, ns=(time.time_ns(), MODIFIED))
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror}: point XDG_CACHE_HOME elsewhere") from error
        return path

    def _move(self, part: Path, path: Path) -> None:
        """Move a new file into its place, unpacked, when there is room: those that were not used for longest go."""
        if content.of(part) == content.GZIPPED:
            files.write(part, lambda plain: tfrecord.unpack(part, plain))
        size = part.stat().st_size
        if size > self.bound:
            part.unlink()
            raise BadInput(f"{path.name} alone is larger than the cache may be: raise --cache-gb")
        os.utime(part, ns=(time.time_ns(), MODIFIED))
        with files.locked(self.folder / ".lock", wait=True):
            here = [file for file in self.folder.rglob("*") if content.is_data(file.name)]
            there = [(file.stat().st_atime_ns, file.stat().st_size, file) for file in here]
            total = sum(size for _, size, _ in there) + size
            for _, gone, file in sorted(there):
                if total <= self.bound:
                    break
                file.unlink()
                total -= gone
            os.replace(part, path)


def cache(gigabytes: float) -> Cache:
    """The user's cache of remote files."""
    return Cache(tfrecord.cache() / "files", round(gigabytes * 1e9))


def find(address: str, name: str, split: str) -> list[str]:
    """Addresses of a split's files, sorted, in the first of `gqn.data.stored.folders` that has any.

    A server that lists no folders, as the released bucket, is taken to have the released files.
    """
    for folder in (places := folders(address, name, split)):
        if there := fetch.listed(folder):
            return there
    if not fetch.is_http(address):
        raise Absent(f"no files of {name}'s {split} split in {address}: {PLACES.format(name=name, split=split)}")
    n = DATASETS[name].files[split == "test"]
    folder = next(place for place in reversed(places) if place.endswith(f"/{name}/{split}"))
    return [f"{folder}/{i:0{len(str(n))}}-of-{n}.tfrecord" for i in range(1, n + 1)]


def first(addresses: list[str], cache: Cache, scenes: int) -> list[Path]:
    """The first files that hold so many scenes together, or all; BadInput if they do not fit the cache."""
    paths: list[Path] = []
    size = have = 0
    for address in addresses:
        path = cache.file(address)
        paths.append(path)
        size, have = size + path.stat().st_size, have + len(tfrecord.opened(path, upto_damage=True))
        if size > cache.bound:
            raise BadInput(f"the files with {have} of {scenes} scenes do not fit the cache: raise --cache-gb")
        if have >= scenes:
            break
    return paths

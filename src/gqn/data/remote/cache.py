"""The user's cache of fetched files, of bounded size, and the list of the files at an address."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gqn.data.files import tfrecord
from gqn.data.files.stored import PLACES, folders
from gqn.data.remote import fetch
from gqn.data.specification import DATASETS
from gqn.errors import Absent, BadInput
from gqn.runtime import content, files

MODIFIED = 10**18  # modification time in ns of all files in the cache, so that a file fetched again matches its index


@dataclass(frozen=True)
class Cache:
    """A folder with the most recently used files, of at most `bound` bytes; processes may share it.

    Files that are still being fetched are not counted. The indexes of files stay when the files are removed.
    """

    folder: Path
    bound: int

    def path(self, address: str) -> Path:
        """Where the file of an address lies in the cache, whether or not it is there."""
        return self.folder / fetch.plain(address)

    def file(self, address: str) -> Path:
        """The file of an address, fetched if it is not in the cache, and marked as the most recently used.

        Raises as `fetch.fetch` does, and BadInput if the file cannot be written or is larger than the cache.
        """
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
        """Unpack a new file if gzipped, remove the least recently used files to make room, and move it into place."""
        if content.of(part) == content.GZIPPED:
            files.write(part, lambda plain: tfrecord.unpack(part, plain))
        size = part.stat().st_size
        if size > self.bound:
            part.unlink()
            raise BadInput(f"{path.name} alone is larger than the cache may be: raise `cache_gb`")
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
    """The user's cache of remote files, of at most so many GB."""
    return Cache(tfrecord.cache() / "files", round(gigabytes * 1e9))


def find(address: str, name: str, split: str) -> list[str]:
    """Addresses of the files of a split, sorted, in the first of `gqn.data.files.stored.folders` that has any.

    An HTTP server that lists no files, such as the released bucket, is assumed to have the files of the released
    dataset, under their released names. Elsewhere raises Absent if there are no files.
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
    """Fetch the first files until they hold `scenes` scenes, or all. Raises BadInput if they do not fit the cache."""
    paths: list[Path] = []
    size = have = 0
    for address in addresses:
        path = cache.file(address)
        paths.append(path)
        size, have = size + path.stat().st_size, have + len(tfrecord.opened(path, upto_damage=True))
        if size > cache.bound:
            raise BadInput(f"the files with {have} of {scenes} scenes do not fit the cache: raise `cache_gb`")
        if have >= scenes:
            break
    return paths

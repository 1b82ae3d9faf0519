"""The cache finds files, holds its bound, and decides nothing about the scenes."""

import gzip

import numpy as np
import pytest
import torch

from bucket import NAME, SCENES, SIZES, TRAIN
from gqn.data.files import tfrecord
from gqn.data.remote import cache as caches
from gqn.data.remote import source as remote
from gqn.data.sources import source
from gqn.data.specification import DATASETS
from gqn.errors import BadInput
from gqn.runtime.files import locked
from support import cached


def test_released_files_are_numbered_as_they_are(bucket):
    bucket.lists = False
    for name, row in DATASETS.items():
        for split, number in zip(("train", "test"), row.files, strict=True):
            found = caches.find(bucket.address, name, split)
            assert len(found) == number and found[-1].endswith(f"{name}/{split}/{number}-of-{number}.tfrecord")
            assert found == sorted(found)
    with pytest.raises(BadInput, match="no files of jaco's test split in memory://none"):
        caches.find("memory://none", "jaco", "test")


def test_gzipped_files_are_unpacked_into_the_cache_and_count_as_they_lie_there(bucket, tmp_path):
    local = source(NAME, "train", data=bucket.root)
    wanted = local.views(0, np.array([2, 0]))
    for path in (bucket.root / TRAIN).glob("*.tfrecord"):
        packed = gzip.compress(path.read_bytes())
        path.with_name(path.name + ".gz").write_bytes(packed)
        path.unlink()
    scenes = source(NAME, "train", data=bucket.address)
    assert torch.equal(scenes.views(0, np.array([2, 0])).frames, wanted.frames)
    (here,) = (tmp_path / "cache").rglob("1-of-10.tfrecord.gz")
    assert here.stat().st_size == local.files[0].state[0]
    small = caches.Cache(tmp_path / "small", 2 * here.stat().st_size)
    fetched = [small.file(address) for address in scenes.addresses[:3]]
    assert sum(path.exists() for path in fetched) < 3 and fetched[-1].exists()


def test_an_address_of_a_dataset_or_a_split_will_do(bucket):
    for lists in (True, False):
        bucket.lists = lists
        found = {tuple(caches.find(bucket.address + end, NAME, "test")) for end in ("", f"/{NAME}", f"/{NAME}/train")}
        assert len(found) == 1


def test_the_cache_holds_its_bound_and_the_scenes_do_not_depend_on_it(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "WINDOW", 2)
    free = source(NAME, "train", data=bucket.address)
    straight = [free.views(free.order(0, i), np.arange(3)).cameras.pose for i in range(2 * SCENES)]
    largest = max(path.stat().st_size for path in (bucket.root / TRAIN).iterdir())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "small"))
    bound = 4 * largest

    def held():
        folder = tmp_path / "small" / "gqn" / "files"
        with locked(folder / ".lock", wait=True):  # the files that are fetched ahead come and go
            return sum(p.stat().st_size for p in folder.rglob("*.tfrecord"))

    small = source(NAME, "train", data=bucket.address, cache_gb=bound / 1e9)
    bucket.asked.clear()
    for i in range(2 * SCENES):
        assert torch.equal(small.views(small.order(0, i), np.arange(3)).cameras.pose, straight[i])
        assert held() <= bound
    fetched = [path for path, _ in bucket.gets("tfrecord")]
    assert len(fetched) > len(SIZES)  # some came twice
    assert len(fetched) < SCENES
    assert len(list((tmp_path / "small").rglob("*.index"))) == len(SIZES)


def test_what_is_used_least_goes_first_and_counts_stay(bucket, tmp_path):
    sizes = {p.name: p.stat().st_size for p in (bucket.root / TRAIN).iterdir()}
    cache = caches.Cache(tmp_path / "cache", sum(sorted(sizes.values())[-3:]))
    a, b, c, d = (f"{bucket.address}/{TRAIN}/{i}-of-10.tfrecord" for i in (3, 6, 9, 2))
    for address in (a, b, c, a, d):
        tfrecord.opened(cache.file(address))
    assert [cache.path(x).exists() for x in (a, b, c, d)] == [True, False, True, True]
    assert [tfrecord.count(cache.path(x)) for x in (a, b, c, d)] == [4, 4, 4, 3]
    with pytest.raises(BadInput, match="alone is larger than the cache may be: raise `cache_gb`"):
        caches.Cache(tmp_path / "tiny", 100).file(a)
    with pytest.raises(BadInput, match=r"need a cache of .* GB, for two windows of 8 files: raise `cache_gb`"):
        source(NAME, "train", data=bucket.address, cache_gb=sizes["1-of-10.tfrecord"] * 2e-9)


def test_a_file_that_another_process_made_room_with_is_fetched_again(bucket, tmp_path):
    scenes = source(NAME, "train", data=bucket.address)
    before = scenes.views(0, np.arange(3))
    for path in cached(tmp_path):
        path.unlink()
    assert torch.equal(scenes.views(0, np.arange(3)).frames, before.frames)

"""Files at an address: fetched whole whatever the server does, and trained on in an order that no cache decides."""

import gzip
import os
import pickle
import re
import resource
import socket
import threading

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bucket import serving
from gqn.cli.main import main
from gqn.config import Place
from gqn.data.files import tfrecord
from gqn.data.remote import cache as caches
from gqn.data.remote import download as downloads
from gqn.data.remote import fetch
from gqn.data.remote import source as remote
from gqn.data.sources import source
from gqn.data.specification import DATASETS
from gqn.data.tasks import Sampler, batches
from gqn.errors import BadInput
from gqn.runtime.files import locked
from gqn.training import loop as training
from support import TOY, TRAIN_TINY, made_files, made_record

NAME = "shepard_metzler_5_parts"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No pauses between tries, and a cache of the test's own."""
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bucket(tmp_path):
    """A server of 10 + 2 files of 2, 3 or 4 scenes of noise; scene i of training is made_record(3, i)."""
    folder = tmp_path / "served" / NAME
    made_files(folder / "train", SIZES)
    made_files(folder / "test", (2, 3))
    with serving(tmp_path / "served") as bucket:
        bucket.lists = True
        yield bucket


SIZES = (2, 3, 4, 2, 3, 4, 2, 3, 4, 2)
SCENES = sum(SIZES)
WHICH = {tuple(made_record(3, i)[1][k].tolist()): i for i in range(SCENES) for k in range(3)}
TRAIN = f"{NAME}/train"


def one(bucket, tmp_path, name="1-of-10.tfrecord"):
    """Fetch a file, and its content as it is served."""
    path = tmp_path / "here" / name
    path.parent.mkdir(exist_ok=True)
    served = (bucket.root / TRAIN / name).read_bytes()
    return f"{bucket.address}/{TRAIN}/{name}", path, served


# ---- one file ----


@pytest.mark.parametrize(
    "faults, starts",
    [
        ([], [0]),
        ([503, 500, 429], [0, 0, 0, 0]),
        (["cut"], [0, "half"]),
        (["cut", "cut", 503, "cut"], [0, "half", "more", "more", "more"]),
        (["cut"] * 7, [0, "half", *["more"] * 6]),  # each brings something: it is not given up
        (["cut", "no ranges"], [0, "half"]),
        (["wrong"], [0, 0]),
        (["no length"], [0]),
    ],
    ids=str,
)
def test_a_file_comes_whole_whatever_happens(bucket, tmp_path, faults, starts):
    address, path, served = one(bucket, tmp_path)
    bucket.faults[f"{TRAIN}/{path.name}"] = list(faults)
    told = []
    fetch.fetch(address, path, told.append)
    assert path.read_bytes() == served and [p.name for p in path.parent.iterdir()] == [path.name]
    asked = [start for _, start in bucket.gets(path.name)]
    assert len(asked) == len(starts)
    for got, wanted, before in zip(asked, starts, [0, *asked], strict=False):
        assert got == wanted or (wanted == "half" and got == len(served) // 2) or (wanted == "more" and got >= before)
    assert told[-1] == len(served)


def test_a_part_is_gone_on_with_unless_it_is_not_of_this_file(bucket, tmp_path):
    address, path, served = one(bucket, tmp_path)
    part = path.with_name(f".{path.name}.part")
    for content, starts in (
        (served[:100], [100]),
        (b"x" * 100, [100, 0]),  # the checksum finds out
        (served, [len(served), 0]),  # 416: nothing is left
        (served + b"more", [len(served) + 4, 0]),
    ):
        bucket.asked.clear()
        part.write_bytes(content)
        fetch.fetch(address, path)
        assert path.read_bytes() == served and [start for _, start in bucket.gets(path.name)] == starts
        path.unlink()


@pytest.mark.parametrize(
    "fault, says",
    [
        (404, "there is no file to be had at .*: 404 Not Found"),
        (403, "there is no file to be had at .*: 403 Forbidden"),
        (503, "cannot fetch .*: 503 Service Unavailable, 5 times in a row: the same command goes on"),
        ("wrong", "does not match the server's checksum, 5 times in a row"),
    ],
)
def test_what_cannot_be_had_is_a_clear_line(bucket, tmp_path, fault, says):
    address, path, _ = one(bucket, tmp_path)
    bucket.faults[f"{TRAIN}/{path.name}"] = [fault] * 10
    with pytest.raises(BadInput, match=says):
        fetch.fetch(address, path)
    assert not path.exists()
    assert len(bucket.gets(path.name)) == (1 if fault in (404, 403) else 5)


def test_being_offline_is_a_clear_line(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/a.tfrecord"
    for ask in (
        lambda: fetch.fetch(address, tmp_path / "a"),
        lambda: fetch.size(address),
        lambda: fetch.listed(address),
    ):
        with pytest.raises(BadInput, match=f"cannot fetch {address}.*: Connection refused, 5 times in a row"):
            ask()


def test_other_addresses_go_through_fsspec(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/there/a.tfrecord", b"content")
    memory.pipe("/there/b.txt", b"other")
    assert fetch.listed("memory://there") == ["memory:///there/a.tfrecord"] and fetch.listed("memory://no") == []
    (tmp_path / ".a.part").write_bytes(b"con")
    fetch.fetch("memory://there/a.tfrecord", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"content"
    with pytest.raises(BadInput, match="there is no file at memory://there/none"):
        fetch.fetch("memory://there/none", tmp_path / "b")
    with pytest.raises(BadInput, match="cannot use the address what://there"):
        fetch.fetch("what://there/a", tmp_path / "b")


def test_the_public_bucket_is_asked_over_https():
    assert fetch.https("gs://gqn-dataset/a") == "https://storage.googleapis.com/gqn-dataset/a"
    assert fetch.plain("gs://gqn-dataset/a") == "storage.googleapis.com/gqn-dataset/a"
    assert not fetch.plain("file:///../../a").startswith(("/", ".."))


# ---- gqn data download ----


def downloaded(bucket, tmp_path, *flags):
    return main(["data", "download", NAME, f"--out={tmp_path / 'data'}", f"--from={bucket.address}", *flags])


def there(tmp_path):
    return sorted(str(p.relative_to(tmp_path / "data" / NAME)) for p in (tmp_path / "data").rglob("*") if p.is_file())


def test_download_and_train(bucket, tmp_path, capsys):
    assert downloaded(bucket, tmp_path, "--files", "3") == 0
    names = ["test/1-of-2.tfrecord", "test/2-of-2.tfrecord", *(f"train/{i}-of-10.tfrecord" for i in (1, 10, 2))]
    assert there(tmp_path) == names
    for name in names:
        assert (tmp_path / "data" / NAME / name).read_bytes() == (bucket.root / NAME / name).read_bytes()
    bucket.asked.clear()
    assert downloaded(bucket, tmp_path, "--files", "4", "--split", "train") == 0
    assert [path for path, _ in bucket.gets("tfrecord")] == [f"{TRAIN}/3-of-10.tfrecord"]  # the others are there
    said = capsys.readouterr().out
    assert "4 files to" in said and "3 are there; 0.0 MB to fetch" in said
    assert main([*TRAIN_TINY, "--data", str(tmp_path / "data"), "--logdir", str(tmp_path / "log")]) == 0


def test_without_a_listing_the_released_files_are_asked_for(bucket, tmp_path, capsys):
    """As the bucket: it answers 404 for a folder."""
    bucket.lists = False
    os.rename(bucket.root / TRAIN / "1-of-10.tfrecord", bucket.root / TRAIN / "001-of-900.tfrecord")
    assert downloaded(bucket, tmp_path, "--files", "1", "--split", "train") == 0
    assert there(tmp_path) == ["train/001-of-900.tfrecord"]
    assert downloaded(bucket, tmp_path, "--files", "2", "--split", "train") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.search("no file to be had at .*/train/002-of-900.tfrecord: 404", said)


def test_released_files_are_numbered_as_they_are(bucket):
    bucket.lists = False
    for name, row in DATASETS.items():
        for split, number in zip(("train", "test"), row.files, strict=True):
            found = caches.find(bucket.address, name, split)
            assert len(found) == number and found[-1].endswith(f"{name}/{split}/{number}-of-{number}.tfrecord")
            assert found == sorted(found)
    with pytest.raises(BadInput, match="no files of jaco's test split in memory://none"):
        caches.find("memory://none", "jaco", "test")


def test_download_checks_the_disk_first(bucket, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    assert downloaded(bucket, tmp_path, "--files", "2") == 2
    assert "has room for 0.0 MB, and 0.0 MB are to come: ask for fewer --files" in capsys.readouterr().err
    assert not bucket.gets("tfrecord") and there(tmp_path) == []


def test_a_disk_that_fills_up_keeps_what_is_there(bucket, tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        assert downloaded(bucket, tmp_path, "--files", "2", "--split", "train") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.search("cannot write .*tfrecord: File too large; what has come is kept", capsys.readouterr().err)
    assert all(name.endswith((".part", ".part.lock")) for name in there(tmp_path))
    assert downloaded(bucket, tmp_path, "--files", "2", "--split", "train") == 0


def test_an_interrupted_download_goes_on(bucket, tmp_path, monkeypatch, capsys):
    append = fetch._append

    def interrupted(address, part, told, stop):
        def tell(done):
            told(done)
            if done > 1000:
                main_thread.set()

        monkeypatch.setattr(fetch, "CHUNK", 500)
        append(address, part, tell, stop)

    main_thread = threading.Event()
    wait = downloads.wait

    def ctrl_c(*arguments, **options):
        main_thread.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_append", interrupted)
    monkeypatch.setattr(downloads, "wait", ctrl_c)
    assert downloaded(bucket, tmp_path, "--files", "10", "--split", "train", "--connections", "1") == 130
    monkeypatch.setattr(fetch, "_append", append)
    monkeypatch.setattr(downloads, "wait", wait)
    assert downloaded(bucket, tmp_path, "--files", "10", "--split", "train") == 0
    assert len(there(tmp_path)) == 10 and not [name for name in there(tmp_path) if "part" in name]


# ---- the order ----


def windows(sizes, seed=0):
    """An order over files of these sizes, with what it asked about and told."""
    counted, told = [], []
    order = remote.Windows(len(sizes), lambda files: (counted.extend(files), [sizes[f] for f in files])[1], told.append)
    return order, counted, told


def test_each_scene_comes_once_per_epoch_window_after_window():
    sizes = (5, 1, 0, 7, 3, 2, 2, 9, 4, 4, 1, 6, 8, 0, 3, 3, 2, 2, 5)
    total = sum(sizes)
    order, _, _ = windows(sizes)
    epochs = [[order(3, e * total + i) for i in range(total)] for e in range(3)]
    everything = sorted(f * remote.MOST + i for f, n in enumerate(sizes) for i in range(n))
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    first = order.window(3, 0)
    assert first != order.window(3, 3)  # the same place in the next epoch
    n = sum(sizes[f] for f in first)
    assert len(first) == remote.WINDOW and {s // remote.MOST for s in epochs[0][:n]} == {f for f in first if sizes[f]}
    assert [s // remote.MOST for s in epochs[0][:n]] != sorted(s // remote.MOST for s in epochs[0][:n])
    assert [order(4, i) for i in range(total)] != epochs[0]


def test_the_order_does_not_depend_on_where_one_starts():
    sizes = (5, 1, 2, 7, 3, 2, 2, 9, 4, 4)
    straight, _, _ = windows(sizes)
    all_of_it = [straight(0, i) for i in range(100)]
    for start in (0, 17, 39, 61):
        resumed, _, told = windows(sizes)
        assert resumed(0, start) == all_of_it[start]
        assert len(told) <= 2  # what lies before is counted, and not fetched if it was before
        assert [resumed(0, i) for i in range(start, 100)] == all_of_it[start:]


def test_files_are_asked_about_when_needed_and_told_ahead():
    order, counted, told = windows((4,) * 24)
    order(0, 0)
    assert sorted(set(counted)) == sorted(order.window(0, 0)) and told == [order.window(0, 0)]
    order(0, 15)
    assert len(told) == 1
    order(0, 16)  # half of the window
    assert told == [order.window(0, 0), order.window(0, 1)] and len(set(counted)) == 8


# ---- a remote source ----


def test_an_epoch_of_remote_scenes_has_each_once_on_ranks_with_workers_and_across_a_resume(bucket, tmp_path):
    seen = {}
    for workers, ranks in ((0, 1), (1, 2)):
        seen[workers] = []
        for steps in (range(3), range(3, 8)):
            scenes = [source(NAME, "train", data=bucket.address) for _ in range(ranks)]  # as after a new start
            shares = [
                batches(s, Sampler(s.order, 3, 4, 1, 2, rank=r, ranks=ranks), steps, workers)
                for r, s in enumerate(scenes)
            ]
            for tasks in zip(*shares, strict=True):
                seen[workers] += [WHICH[tuple(pose)] for t in tasks for pose in t.query.cameras.pose[:, 0].tolist()]
    assert seen[0] == seen[1]
    assert sorted(seen[0][:SCENES]) == list(range(SCENES)) and len(seen[0]) == 32
    fetched = [path for path, _ in bucket.gets("tfrecord")]
    assert len(fetched) == len(set(fetched)) == len(SIZES)  # no file twice, though processes shared the cache


def test_remote_scenes_are_those_of_the_files(bucket):
    scenes = source(NAME, "train", data=bucket.address)
    local = source(NAME, "train", data=bucket.root)
    assert (scenes.num_views, scenes.image_size) == (3, 16)
    number = next(i for i, a in enumerate(scenes.addresses) if a.endswith("/2-of-10.tfrecord"))
    a = scenes.views(number * remote.MOST + 1, np.array([2, 0]))
    index = next(i for i in range(len(local)) if local.place(i)[0].path.name == "2-of-10.tfrecord") + 1
    b = local.views(index, np.array([2, 0]))
    assert torch.equal(a.frames, b.frames) and torch.equal(a.cameras.pose, b.cameras.pose)


def test_a_listing_has_files_of_all_names_once_and_no_hidden_ones(bucket):
    folder = bucket.root / NAME / "more"
    folder.mkdir()
    names = ["a%20b.tfrecord", "b.tfrecord.gz", "c.tfrec", "d.tfrecord-00000-of-00002"]
    for name in [*names, "._c.tfrec", ".DS_Store", ".e.tfrecord.part", "c.tfrec.gz", "c.tfrec.index"]:
        (folder / name).touch()
    address = f"{bucket.address}/{NAME}/more"
    assert fetch.listed(address) == [f"{address}/{name}" for name in names]
    assert [there.rsplit("/", 1)[1] for there in fetch.listed(folder.as_uri())] == names


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


def test_processes_that_are_not_forked_can_have_it(bucket):
    scenes = source(NAME, "train", data=bucket.address)
    again = pickle.loads(pickle.dumps(scenes))
    index = scenes.order(0, 5)
    assert again.order(0, 5) == index
    assert torch.equal(again.views(index, np.arange(1)).frames, scenes.views(index, np.arange(1)).frames)


def test_what_another_process_fetches_is_left_to_it(bucket, tmp_path):
    address, path, _ = one(bucket, tmp_path)
    lock = path.with_name(f".{path.name}.part.lock")
    with locked(lock), pytest.raises(BadInput, match=r"another process fetches .*: leave it to that"):
        fetch.fetch(address, path)
    fetch.fetch(address, path)
    assert path.exists() and not lock.exists()


def cached(tmp_path):
    return list((tmp_path / "cache").rglob("*.tfrecord"))


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


def test_trained_on_an_address_stopped_and_resumed(bucket, tmp_path, monkeypatch, at_step):
    """The weights of a run that was stopped are those of one that was not, with another cache too."""
    monkeypatch.setattr(remote, "WINDOW", 2)
    length = dict(batch_size=4, num_train_samples=48, num_val_samples=4, val_freq=16)
    config = TOY.having(data=bucket.address, max_context_size=2, **length)
    training.train(config, Place(workers=1), tmp_path / "straight")

    class Killed(BaseException):
        pass

    def die():
        raise Killed

    at_step(6, die)
    with pytest.raises(Killed):
        training.train(config, Place(workers=0), tmp_path / "killed")
    at_step(-1, die)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other cache"))
    training.train(config, Place(workers=0), tmp_path / "killed")
    a, b = (load_file(tmp_path / run / "model.safetensors") for run in ("straight", "killed"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    here = config.having(data=str(bucket.root))  # in another order than at the address
    with pytest.raises(BadInput, match=r"test/.*\.tfrecord is in a folder and was not"):
        training.train(here, Place(workers=0), tmp_path / "killed")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_file_that_vanishes_and_a_server_that_dies_are_clear_lines(bucket, tmp_path, capfd, workers):
    flags = [*TRAIN_TINY, "-t", "90", "--workers", workers, "--data", bucket.address, "--logdir"]
    gone = bucket.root / TRAIN / "7-of-10.tfrecord"
    assert source(NAME, "train", data=bucket.address)  # has the listing's first file
    content = gone.read_bytes()
    bucket.faults[f"{TRAIN}/{gone.name}"] = [404] * 100
    assert main([*flags, str(tmp_path / "a")]) == 2
    said = capfd.readouterr().err
    assert re.search(r"^gqn: there is no file to be had at .*7-of-10\.tfrecord: 404 Not Found$", said, re.M)
    assert "Traceback" not in said and len(content) > 0
    for path in cached(tmp_path):
        path.unlink()
    bucket.faults = {f"{TRAIN}/{p.name}": [503] * 1000 for p in (bucket.root / TRAIN).iterdir()}
    assert main([*flags, str(tmp_path / "b")]) == 2
    said = capfd.readouterr().err
    assert re.search(r"^gqn: cannot fetch .*tfrecord: 503 Service Unavailable, 5 times in a row: .*$", said, re.M)
    assert "Traceback" not in said


def test_damage_in_remote_files_is_named_or_passed_over(bucket, tmp_path, capfd):
    path = bucket.root / TRAIN / "1-of-10.tfrecord"
    content = bytearray(path.read_bytes())
    content[int(tfrecord.scan(path).offsets[1]) + 50] ^= 1
    path.write_bytes(content)
    flags = [*TRAIN_TINY, "-t", "81", "--data", bucket.address, "--logdir"]
    assert main([*flags, str(tmp_path / "a")]) == 2
    assert re.search(r"^gqn: .*1-of-10\.tfrecord: record 1 at offset \d+: its content", capfd.readouterr().err, re.M)
    assert main([*flags, str(tmp_path / "b"), "--skip-damaged"]) == 0
    assert "damaged scenes were passed over" in capfd.readouterr().out


def test_the_first_scenes_of_remote_files_and_their_export(bucket, tmp_path, capsys):
    few = source(NAME, "train", data=bucket.address, num_scenes=4)
    assert len(few) == 4 and len(bucket.gets("tfrecord")) == 2
    command = ["data", "export", NAME, "--data", bucket.address, "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main(command) == 2 and "say how many --scenes" in capsys.readouterr().err
    assert main([*command, "--scenes", "4", "--test-scenes", "2"]) == 0
    read = source(NAME, "train", data=tmp_path / "out")
    assert len(read) == 4
    for i in range(4):
        assert read.coded(i, np.arange(3))[0] == few.coded(i, np.arange(3))[0]
    with pytest.raises(BadInput, match="do not fit the cache"):
        source(NAME, "train", data=bucket.address, num_scenes=20, cache_gb=2e-5)

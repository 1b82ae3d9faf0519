"""A file is fetched whole whatever the server does, or a line says why not."""

import socket

import fsspec
import pytest

from bucket import NAME, TRAIN
from gqn.data.remote import fetch
from gqn.errors import BadInput
from gqn.runtime.files import locked


def one(bucket, tmp_path, name="1-of-10.tfrecord"):
    """Fetch a file, and its content as it is served."""
    path = tmp_path / "here" / name
    path.parent.mkdir(exist_ok=True)
    served = (bucket.root / TRAIN / name).read_bytes()
    return f"{bucket.address}/{TRAIN}/{name}", path, served


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


def test_a_listing_has_files_of_all_names_once_and_no_hidden_ones(bucket):
    folder = bucket.root / NAME / "more"
    folder.mkdir()
    names = ["a%20b.tfrecord", "b.tfrecord.gz", "c.tfrec", "d.tfrecord-00000-of-00002"]
    for name in [*names, "._c.tfrec", ".DS_Store", ".e.tfrecord.part", "c.tfrec.gz", "c.tfrec.index"]:
        (folder / name).touch()
    address = f"{bucket.address}/{NAME}/more"
    assert fetch.listed(address) == [f"{address}/{name}" for name in names]
    assert [there.rsplit("/", 1)[1] for there in fetch.listed(folder.as_uri())] == names


def test_what_another_process_fetches_is_left_to_it(bucket, tmp_path):
    address, path, _ = one(bucket, tmp_path)
    lock = path.with_name(f".{path.name}.part.lock")
    with locked(lock), pytest.raises(BadInput, match=r"another process fetches .*: leave it to that"):
        fetch.fetch(address, path)
    fetch.fetch(address, path)
    assert path.exists() and not lock.exists()

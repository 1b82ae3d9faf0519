"""`gqn data download` brings the files asked for, and goes on where it was stopped."""

import os
import re
import resource
import threading

from bucket import NAME, TRAIN
from gqn.cli.main import main
from gqn.data.remote import download as downloads
from gqn.data.remote import fetch
from support import TRAIN_TINY


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

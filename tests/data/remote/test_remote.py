"""Remote files end to end: trained on, stopped, vanished, damaged, exported."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bucket import NAME, TRAIN
from gqn.cli.main import main
from gqn.config import Place
from gqn.data.files import tfrecord
from gqn.data.remote import source as remote
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.training import loop as training
from support import TOY, TRAIN_TINY, cached


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

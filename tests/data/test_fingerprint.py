"""The same files are the same run wherever they lie, and other files are told from them."""

import json
import os
import shutil

import pytest

from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.config import Place
from gqn.config.migrations import FORMAT
from gqn.data import fingerprint
from gqn.data.files import tfrecord
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.training import loop as training
from support import TOY

NAME = "shepard_metzler_5_parts"


def test_the_same_files_are_the_same_run_wherever_they_lie(rendered, tmp_path, monkeypatch, at_step, capsys):
    """Begun on files in a relative folder, which then moves; every command finds them, or is told where they are."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(rendered / NAME, "d")
    config = TOY.having(data="d", batch_size=4, num_train_samples=24, num_val_samples=4, val_freq=8)
    training.train(config, Place(workers=0), tmp_path / "straight")

    class Killed(BaseException):
        pass

    def die():
        raise Killed

    at_step(4, die)
    with pytest.raises(Killed):
        training.train(config, Place(workers=0), tmp_path / "run")
    at_step(-1, die)
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written.pop("format") == FORMAT and "origin" not in written
    assert not {"data", "init"} & {name for group in written.values() for name in group}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    figure = ["figure", "predictions", "../run", "--rows", "1", "--samples", "1"]
    assert main(figure) == 0
    (tmp_path / "d").rename(tmp_path / "moved")
    for command in (figure, ["eval", "../run", "--scenes", "2"]):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert f"there is no folder {tmp_path}/d; --data says where" in err and err.count("\n") == 1
        assert main([*command, "--data", "../moved"]) == 0
    for other in ("", str(shorter(rendered, tmp_path))):
        with pytest.raises(BadInput, match=f"data: {other or 'none'} here, {tmp_path}/d there") as error:
            training.train(config.having(data=other), Place(workers=0), tmp_path / "run")
        assert ("bytes here" in str(error.value)) == bool(other)
    training.train(config.having(data="../moved"), Place(workers=0), tmp_path / "run")
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "run"))
    assert a == b
    assert main(figure) == 0  # they are where they were last


def shorter(rendered, tmp_path):
    """The same files without a part of the training scenes."""
    folder = tmp_path / "shorter"
    shutil.copytree(rendered / NAME, folder)
    path = next((folder / "train").glob("*.tfrecord"))
    file = tfrecord.opened(path)
    tfrecord.write(path, [file.payload(i) for i in range(len(file) - 1)])
    return folder


def test_what_files_are(rendered, tmp_path):
    """Names, sizes, and where records begin, of the files that are used; and not when they were written, or where."""
    whole = fingerprint.files(source(NAME, "train", data=rendered))
    assert len(whole) > 1 and whole.keys() == {path.name for path in (rendered / NAME / "train").glob("*.tfrecord")}
    folder = tmp_path / "copy" / "train"
    shutil.copytree(rendered / NAME / "train", folder)
    paths = sorted(folder.glob("*.tfrecord"))
    for path in paths:
        os.utime(path, ns=(1, 1))
    assert fingerprint.files(source(NAME, "train", data=tmp_path / "copy")) == whole
    first = len(tfrecord.opened(paths[0]))
    for scenes, files in ((1, 1), (first, 1), (first + 1, 2)):
        assert len(fingerprint.files(source(NAME, "train", data=rendered, num_scenes=scenes))) == files
    file = tfrecord.opened(paths[0])
    payloads = [file.payload(i) for i in range(len(file))]
    tfrecord.write(paths[0], payloads[::-1])  # as large as before
    changed = fingerprint.files(source(NAME, "train", data=tmp_path / "copy"))
    assert {name for name in whole if changed[name] != whole[name]} == {paths[0].name}
    assert fingerprint.differences({"train": changed}, {"train": whole}) == f"train/{paths[0].name} has other records"
    assert fingerprint.digest({"train": changed}) != fingerprint.digest({"train": whole})
    paths[0].unlink()
    fewer = {"train": fingerprint.files(source(NAME, "train", data=tmp_path / "copy"))}
    assert fingerprint.differences(fewer, {"train": whole}) == f"train/{paths[0].name} is not here"
    assert fingerprint.differences({"train": whole}, fewer) == f"train/{paths[0].name} was not there"
    assert "is at an address and was not" in fingerprint.differences({"train": dict.fromkeys(whole)}, {"train": whole})
    assert fingerprint.digest({"train": fingerprint.files(source(NAME, "train"))}) == ""


def test_a_run_of_an_earlier_version_says_no_more_than_a_place(rendered, tmp_path, capsys):
    config = TOY.having(data=str(rendered), batch_size=4, num_train_samples=8, num_val_samples=4)
    training.train(config, Place(workers=0), tmp_path / "run")
    old = checkpoint.config_of(tmp_path / "run").flat()  # as format 1 had it, without groups
    del old["world"], old["own"]
    del old["model"], old["init"], old["data_digest"], old["init_digest"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(old | {"data": str(rendered)}))
    (tmp_path / "run" / "origin.json").unlink()
    assert checkpoint.load(tmp_path / "run")[0].origin.data == str(rendered)
    with pytest.raises(BadInput, match="data: none here"):
        training.train(config.having(data=""), Place(workers=0), tmp_path / "run")
    training.train(config, Place(workers=0), tmp_path / "run")
    assert "are taken for them" in capsys.readouterr().out.replace("\n", " ")
    assert checkpoint.load(tmp_path / "run")[0].data.data_digest

"""Files are the same bytes however they are rendered or exported, and whole after a stop or a full disk."""

import json
import resource
import shutil

import numpy as np
import pytest

from gqn.cli.main import main
from gqn.data.files import export as module
from gqn.data.files import tfrecord
from gqn.data.files.export import export
from gqn.data.files.inspect import info
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.runtime import files

NAME = "shepard_metzler_5_parts"


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What 5 scenes in files of 2 are."""
    return contents(export(NAME, tmp_path_factory.mktemp("whole"), 5, scenes_per_file=2))


def made(out, **options):
    return contents(export(NAME, out, 5, scenes_per_file=2, **options))


def test_files_are_named_as_released(whole):
    numbered = [f"train/{i}-of-3.tfrecord" for i in (1, 2, 3)]
    assert set(whole) == {*numbered, "test/1-of-1.tfrecord", "recipe.json"}
    many = module.Recipe("x", 64, 15, 25, 0, 2, False, "").files(module.Path("x"), "train")
    assert [p.name for p, _ in many][::12] == ["01-of-13.tfrecord", "13-of-13.tfrecord"]
    assert [i for _, part in many for i in part] == list(range(25))


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bytes(whole, tmp_path, workers):
    assert made(tmp_path, workers=workers) == whole


def test_shards_together_are_the_whole(whole, tmp_path):
    first = made(tmp_path, shard=(1, 2))
    assert set(first) == {"train/1-of-3.tfrecord", "train/3-of-3.tfrecord", "test/1-of-1.tfrecord", "recipe.json"}
    assert made(tmp_path, shard=(2, 2)) == whole


def test_splits_apart_are_the_whole(whole, tmp_path):
    assert set(made(tmp_path, splits=("test",))) == {"test/1-of-1.tfrecord", "recipe.json"}
    assert made(tmp_path, splits=("train",)) == whole


def test_a_stopped_rendering_goes_on(whole, tmp_path, monkeypatch):
    payload = module.payload
    left = iter(range(4))

    def stopped(scenes, index):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return payload(scenes, index)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "payload", stopped)
        made(tmp_path)
    there = contents(tmp_path / NAME)
    assert set(there) == {"train/1-of-3.tfrecord", "recipe.json"}  # no half file
    kept = (tmp_path / NAME / "train/1-of-3.tfrecord").stat().st_mtime_ns
    assert made(tmp_path) == whole
    assert (tmp_path / NAME / "train/1-of-3.tfrecord").stat().st_mtime_ns == kept


def test_a_full_disk_leaves_whole_files_and_the_same_command_goes_on(whole, tmp_path, capsys):
    command = ["data", "render", NAME, "--scenes=5", "--scenes-per-file=2", "--workers=0", f"--out={tmp_path}"]
    size = sorted(map(len, whole.values()))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size[-1] - 1, hard))  # the largest file does not fit
    try:
        assert main(command) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the same command goes on" in said
    there = contents(tmp_path / NAME)
    assert len(there) < len(whole) and all(whole[name] == content for name, content in there.items())
    assert main(command) == 0
    assert contents(tmp_path / NAME) == whole


def test_other_data_and_other_recipes_are_refused(tmp_path, monkeypatch):
    export(NAME, tmp_path, 2)
    with pytest.raises(BadInput, match=r"another recipe \(train scenes is 3, was 2\): .* `out`"):
        export(NAME, tmp_path, 3)
    with pytest.raises(BadInput, match="image size is 32, was 64"):
        export(NAME, tmp_path, 2, image_size=32)
    payload = module.payload
    with monkeypatch.context() as patched, pytest.raises(BadInput, match="first scene is"):
        patched.setattr(module, "payload", lambda *scene: payload(*scene) + b"\x12\x00")
        export(NAME, tmp_path, 2)
    (tmp_path / "other" / NAME).mkdir(parents=True)
    (tmp_path / "other" / NAME / "thesis.tex").touch()
    with pytest.raises(BadInput, match="holds other data: give another `out`"):
        export(NAME, tmp_path / "other", 2)
    (tmp_path / NAME / "recipe.json").write_text("{")
    with pytest.raises(BadInput, match=r"recipe\.json is damaged"):
        export(NAME, tmp_path, 2)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cannot write .*File exists"):
        export(NAME, tmp_path / "file", 2)


def test_a_hold_out_and_a_size_are_rendered(tmp_path):
    folder = export("rooms_ring_camera", tmp_path, 2, image_size=32, hold_out=True)
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["hold_out"] and recipe["image_size"] == 32 and recipe["test_scenes"] == 1
    train, _ = info(folder)
    assert (*train.sizes, *train.views, train.scenes) == (32, 10, 2)
    with pytest.raises(BadInput, match="no documented hold-out"):
        export(NAME, tmp_path, 2, hold_out=True)


@pytest.mark.parametrize("split", ["train", "test"])
def test_export_takes_the_one_split_there_is(tmp_path, capsys, split):
    export(NAME, tmp_path / "data", 3, test_scenes=3, splits=(split,))
    capsys.readouterr()
    command = ["data", "export", NAME, "--workers=0", f"--data={tmp_path / 'data'}", f"--out={tmp_path / 'out'}"]
    shutil.rmtree(tmp_path / "data" / NAME / {"train": "test", "test": "train"}[split])
    assert main(command) == 0
    assert f"holds one split: exporting {split} alone" in capsys.readouterr().out
    (a, b) = (tmp_path / folder / NAME / split / "1-of-1.tfrecord" for folder in ("data", "out"))
    assert a.read_bytes() == b.read_bytes()


def test_export_copies_frames_and_takes_a_part_or_another_size(whole, tmp_path, capsys):
    export(NAME, tmp_path / "data", 5, scenes_per_file=2)
    command = ["data", "export", NAME, "--workers=0", f"--data={tmp_path / 'data'}", f"--out={tmp_path}/"]

    assert main([*command[:-1], command[-1] + "copy", "--scenes-per-file=2"]) == 0
    assert contents(tmp_path / "copy" / NAME) == whole  # the recipe too: it is the same data

    assert main([*command[:-1], command[-1] + "part", "--scenes=3", "--views=4", "--split=train"]) == 0
    (path,) = (tmp_path / "part").rglob("*.tfrecord")
    part, from_files = tfrecord.opened(path), source(NAME, "train", data=tmp_path / "data")
    assert len(part) == 3
    for i in range(3):
        frames, cameras = part.scene(i)
        coded, poses = from_files.coded(i, np.arange(15))
        assert frames == coded[:4] and np.array_equal(cameras, poses[:4])

    assert main([*command[:-1], command[-1] + "small", "--image-size=32"]) == 0
    small, resized = source(NAME, "test", data=tmp_path / "small"), source(NAME, "test", 32, data=tmp_path / "data")
    assert small.image_size == 32
    a, b = small.views(0, np.arange(15)).frames, resized.views(0, np.arange(15)).frames
    assert 0 < (a.float() - b.float()).abs().mean() < 4  # JPEG once more, whose chroma is coarse


@pytest.mark.parametrize("workers", [0, 1])
def test_export_names_what_cannot_be_had(tmp_path, capsys, workers):
    export(NAME, tmp_path / "data", 3, splits=("train",))
    command = ["data", "export", NAME, f"--workers={workers}", f"--data={tmp_path / 'data'}", f"--out={tmp_path}/out"]
    assert main([*command, "--split=test"]) == 2
    assert "no files of shepard_metzler_5_parts's test split" in capsys.readouterr().err
    assert main([*command, "--split=train", "--scenes=4"]) == 2
    assert "train holds 3 scenes, and 4 were asked for" in capsys.readouterr().err
    (path,) = (tmp_path / "data").rglob("*.tfrecord")
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert main([*command, "--split=train"]) == 2
    said = capsys.readouterr().err
    assert "1-of-1.tfrecord: record 2 at offset " in said and said.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.tfrecord"))


def test_two_do_not_write_one_folder(tmp_path, capsys):
    export(NAME, tmp_path / "data", 2)
    held = tmp_path / "out" / NAME
    render = ["data", "render", NAME, "--scenes=2", "--workers=0", f"--out={tmp_path / 'out'}"]
    for command in (
        render,
        ["data", "export", NAME, f"--data={tmp_path / 'data'}", "--workers=0", f"--out={tmp_path / 'out'}"],
    ):
        with files.alone(held):
            assert main(command) == 2
        said = capsys.readouterr().err
        assert said == f"gqn: another process holds {held}: wait for it, or give another --out\n"
        assert not held.exists()
    with files.alone(tmp_path / "out" / f"{NAME}.1-of-2"):  # another shard
        assert main([*render, "--shard=1/2"]) == 2
        assert main([*render, "--shard=2/2"]) == 0
    assert main(render) == 0

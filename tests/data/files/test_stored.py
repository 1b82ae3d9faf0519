"""Scenes in files are the scenes that were rendered, in any order, each once; faults are named."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gqn import config as configs
from gqn.cli.main import main
from gqn.config import Place
from gqn.data.files import example, jpeg, tfrecord
from gqn.data.files.export import export
from gqn.data.files.stored import stored
from gqn.data.files.tfrecord import Damaged
from gqn.data.sources import source
from gqn.data.tasks import Sampler, batches
from gqn.errors import BadInput
from gqn.training import loop as training
from gqn.training import watch
from gqn.views import resized
from support import TRAIN_TINY, made_files, made_record

NAME = "shepard_metzler_5_parts"


@pytest.fixture
def data(rendered, tmp_path):
    """A copy to damage."""
    shutil.copytree(rendered, tmp_path / "data")
    return tmp_path / "data"


def damage(path, record):
    content = bytearray(path.read_bytes())
    content[int(tfrecord.scan(path).offsets[record]) + 50] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("size", [64, 32])
def test_batches_from_files_are_those_made_on_the_fly(tmp_path, size):
    """Byte for byte, given the same number of scenes, at the released size and at another."""
    export(NAME, tmp_path, 10, test_scenes=3, scenes_per_file=4, image_size=size)
    for split, scenes in (("train", 10), ("test", 3)):
        fly, read = source(NAME, split, size, num_scenes=scenes), source(NAME, split, data=tmp_path)
        assert len(read) == len(fly) == scenes and read.num_views == fly.num_views and read.image_size == size
        sampler = Sampler(scenes, 15, 4, 1, 4)
        for a, b in zip(batches(fly, sampler, range(6)), batches(read, sampler, range(6)), strict=True):
            for x, y in ((a.context, b.context), (a.query, b.query)):
                assert torch.equal(x.frames, y.frames) and y.frames.dtype == torch.uint8
                assert torch.equal(x.cameras.pose, y.cameras.pose) and x.cameras.fov == y.cameras.fov


def test_the_demo_trains_on_files_as_on_the_fly(tmp_path, monkeypatch):
    """Every record of the loss is equal to the bit, and so are the weights."""
    monkeypatch.setattr(watch, "LOG_EVERY", 1)
    export(NAME, tmp_path / "data", 20, image_size=32)
    demo = configs.preset(
        "demo",
        representation_maps=16,
        num_recurrent_maps=8,
        num_canvas_maps=8,
        batch_size=4,
        num_train_samples=48,
        num_val_samples=4,
        num_train_scenes=20,
    )
    stored = demo.having(data=str(tmp_path / "data"))
    curves = []
    for config, run in ((demo, tmp_path / "fly"), (stored, tmp_path / "stored")):
        training.train(config, Place(workers=0), run)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        names = ("step", "loss", "excess", "kl", "mse", "kl_steps")
        curves.append([[line[name] for name in names] for line in lines if line["kind"] == "train"])
    assert curves[0] == curves[1] and len(curves[0]) == 12
    assert (tmp_path / "fly" / "model.safetensors").read_bytes() == (
        tmp_path / "stored" / "model.safetensors"
    ).read_bytes()


def test_the_first_scenes_and_views_are_taken(rendered):
    few = source(NAME, "train", data=rendered, num_scenes=5, num_views=3)
    assert len(few) == 5 and few.num_views == 3
    whole = source(NAME, "train", data=rendered)
    assert torch.equal(few.views(4, np.array([2])).frames, whole.views(4, np.array([2])).frames)
    with pytest.raises(BadInput, match="train holds 10 scenes, and 11 were asked for"):
        source(NAME, "train", data=rendered, num_scenes=11)
    with pytest.raises(BadInput, match="train holds 15 views of a scene, and 16 were asked for"):
        source(NAME, "train", data=rendered, num_views=16)


def test_the_dataset_folder_itself_will_do(rendered):
    assert len(source(NAME, "train", data=rendered / NAME)) == 10
    with pytest.raises(BadInput, match=f"no files of rooms_ring_camera's test split in .*{rendered.name}"):
        source("rooms_ring_camera", "test", data=rendered)
    with pytest.raises(BadInput, match="hold-out"):
        source(NAME, "train", data=rendered, hold_out=True)


def test_mistake_8_files_of_different_lengths_lose_no_scene(tmp_path):
    scenes = stored(made_files(tmp_path / "train"))
    assert len(scenes) == 6 and scenes.num_views == 3 and scenes.image_size == 16
    for i in range(6):
        frames, cameras = made_record(3, i)
        views = scenes.views(i, np.array([2, 0]))
        assert np.array_equal(views.cameras.pose.numpy(), cameras[[2, 0]])
        assert np.array_equal(views.frames[1].permute(1, 2, 0).numpy(), jpeg.decode(frames[0]))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_an_epoch_has_each_scene_once_with_any_workers_and_ranks_and_across_a_resume(tmp_path, workers, ranks):
    scenes = stored(made_files(tmp_path / "train", (5, 1, 6)))
    which = {tuple(made_record(3, i)[1][k].tolist()): i for i in range(12) for k in range(3)}
    seen = []
    for steps in (range(1), range(1, 3)):
        for rank in range(ranks):
            sampler = Sampler(12, 3, 4, 1, 2, rank=rank, ranks=ranks)
            for task in batches(scenes, sampler, steps, workers):
                seen += [which[tuple(pose)] for pose in task.query.cameras.pose[:, 0].tolist()]
    assert sorted(seen) == list(range(12))


def test_only_the_frames_that_are_asked_for_are_decoded(tmp_path, monkeypatch):
    scenes = stored(made_files(tmp_path / "train"))
    decoded = []
    decode = jpeg.decode
    monkeypatch.setattr(jpeg, "decode", lambda data: decoded.append(data) or decode(data))
    scenes.views(0, np.array([1]))
    assert decoded == [made_record(3, 0)[0][1]]


def test_frames_are_resized_with_antialiasing(rendered):
    whole, half = (source(NAME, "train", size, data=rendered) for size in (None, 32))
    a, b = (s.views(0, np.arange(15)).frames for s in (whole, half))
    assert a.shape[-2:] == (64, 64) and b.shape == (15, 3, 32, 32) and b.dtype == torch.uint8
    means = torch.nn.functional.avg_pool2d(a.float(), 2)
    assert (b - means).abs().mean() < 2
    stripes = (torch.arange(64) % 2 * 255).expand(1, 3, 64, 64).to(torch.uint8)
    assert ((resized(stripes, 16)[..., 1:-1].float() - 127.5).abs() < 8).all()  # not 0 or 255, as by picking pixels


# ---- faults ----


def flipped(record, at):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(tfrecord.scan(path).offsets[record]) + at] ^= 1
        path.write_bytes(content)

    return damage


def with_scene(payload):
    """Damage that a file was written with: both checksums are good."""

    def damage(path):
        tfrecord.write(path, [example.example(*made_record(3, 90)), payload, example.example(*made_record(3, 91))])

    return damage


FRAMES, CAMERAS = made_record(3, 92)
FAULTS = {  # what is done to a file of three scenes, what is said of it, and how many scenes are left
    "truncated": (lambda path: os.truncate(path, path.stat().st_size - 1), "record 2 at offset .*ends within it", 2),
    "length": (flipped(1, 3), "record 1 at offset .*its length does not match its checksum", 1),
    "check of the length": (flipped(1, 9), "record 1 at offset .*its length does not match its checksum", 1),
    "payload": (flipped(1, 100), "record 1 at offset .*its content does not match its checksum", 2),
    "check of the payload": (flipped(2, -1), "record 1 at offset .*its content does not match its checksum", 2),
    "jpeg": (
        with_scene(example.example([FRAMES[0][:-80]] * 3, CAMERAS)),
        r"record 1 at offset .*frame \d is not a good JPEG",
        2,
    ),
    "float count": (
        with_scene(example.example(FRAMES, CAMERAS.ravel()[:-1])),
        "record 1 at offset .*14 camera floats for 3 frames",
        2,
    ),
    "no bytes": (lambda path: path.write_bytes(b""), " is empty", 0),
    "no bytes in a record": (with_scene(b""), "record 1 at offset .*feature 'frames' is missing", 2),
    "names": (
        with_scene(example.example(FRAMES, CAMERAS).replace(b"cameras", b"camerae")),
        "record 1 at offset .*feature 'cameras' is missing: it holds 'camerae', 'frames'",
        2,
    ),
    "number of views": (
        with_scene(example.example(*made_record(2, 93))),
        "record 1 at offset .*it has 2 views, and 3 are used: give `num_views=2`",
        2,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_or_skipped_and_counted(tmp_path, capfd, fault):
    """By the reader and by `gqn train`, over one epoch: another file of three scenes is whole."""
    do, says, left = FAULTS[fault]
    flag = says.replace("`num_views=2`", "--num-views 2")
    one, _ = made_files(tmp_path / "data" / "train", (3, 3))
    made_files(tmp_path / "data" / "test", (3,))
    do(one)
    train = [*TRAIN_TINY, "--data", str(tmp_path / "data"), "--logdir"]

    with pytest.raises(Damaged, match=f"1-of-2.tfrecord.*{says}"):
        list(batches(source(NAME, "train", data=tmp_path / "data"), Sampler(6, 3, 3, 1, 2), range(2)))
    assert main([*train, str(tmp_path / "stops")]) == 2
    said = capfd.readouterr().err
    assert re.search(rf"^gqn: .*1-of-2.tfrecord.*{flag}", said, re.M) and "Traceback" not in said

    scenes = source(NAME, "train", data=tmp_path / "data", skip_damaged=True)
    firsts = {tuple(scenes.views(i, np.arange(1)).cameras.pose[0].tolist()) for i in range(len(scenes))}
    assert len(firsts) == left + 3
    skipped = int(scenes.skipped)
    assert len(scenes) + (skipped == 0) * (3 - left) == 6  # those that can be counted are passed over one by one
    capfd.readouterr()
    assert main([*train, str(tmp_path / "skips"), "--skip-damaged"]) == 0
    told = capfd.readouterr()
    assert re.search(rf"^skipped.*: .*1-of-2.tfrecord.*{flag}", told.err, re.M)
    assert ("damaged scenes were passed over 1 times; gqn data verify" in told.out) == (skipped == 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_names_a_damaged_scene(data, workers):
    damage(data / NAME / "train" / "2-of-3.tfrecord", 1)
    scenes = source(NAME, "train", data=data)
    with pytest.raises(Damaged, match=r"^.*2-of-3\.tfrecord: record 1 at offset \d+: its content .*$"):  # one line
        list(batches(scenes, Sampler(10, 15, 2, 1, 4), range(5), workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_or_skips_it_and_counts(data, workers, capfd):
    damage(data / NAME / "train" / "2-of-3.tfrecord", 3)
    scenes = source(NAME, "train", data=data, skip_damaged=True)
    assert len(list(batches(scenes, Sampler(10, 15, 2, 1, 4), range(5), workers))) == 5
    assert scenes.skipped == 1
    next_one = source(NAME, "train").views(8, np.arange(2))
    assert torch.equal(scenes.views(7, np.arange(2)).frames, next_one.frames)
    assert "skipped: " in (said := capfd.readouterr().err) and "record 3 at offset" in said


def test_a_truncated_file_is_named_or_used_to_where_it_is_whole(data, capfd):
    path = data / NAME / "train" / "1-of-3.tfrecord"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(Damaged, match=r"1-of-3\.tfrecord: record 3 at offset \d+: the file ends within it"):
        source(NAME, "train", data=data)
    scenes = source(NAME, "train", data=data, skip_damaged=True)
    assert len(scenes) == 9
    assert torch.equal(scenes.views(3, np.arange(1)).frames, source(NAME, "train").views(4, np.arange(1)).frames)
    assert "the file ends within it" in capfd.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_during_training_is_named(data, workers):
    scenes = source(NAME, "train", data=data)
    tasks = batches(scenes, Sampler(10, 15, 2, 1, 4), range(50), workers)
    next(tasks)
    (data / NAME / "train" / "3-of-3.tfrecord").unlink()
    with pytest.raises(BadInput, match=r"^cannot read .*3-of-3\.tfrecord: No such file or directory$"):
        list(tasks)


@pytest.mark.parametrize("flag", [[], ["--skip-damaged"]])
def test_training_stops_with_a_line_when_a_file_vanishes_and_goes_on_when_it_is_back(
    tmp_path, monkeypatch, capfd, flag, at_step
):
    """A file that is not there is no damaged scene: it can be put back."""
    one, _ = made_files(tmp_path / "data" / "train", (3, 3))
    made_files(tmp_path / "data" / "test", (3,))
    train = [
        *TRAIN_TINY,
        *flag,
        "-t",
        "18",
        "-f",
        "3",
        "--data",
        str(tmp_path / "data"),
        "--logdir",
        str(tmp_path / "log"),
    ]
    away = tmp_path / "away"

    at_step(2, lambda: one.rename(away))
    assert main(train) == 2
    said = capfd.readouterr().err
    assert re.search(r"^gqn: cannot read .*1-of-2\.tfrecord: No such file or directory$", said, re.M)
    assert "Traceback" not in said
    away.rename(one)
    at_step(-1, None)
    assert main(train) == 0
    assert "going on after step 2 of 6" in capfd.readouterr().out


def scene_files(folder, *scenes):
    folder.mkdir()
    tfrecord.write(folder / "a.tfrecord", [example.example(*s) for s in scenes])
    return [folder / "a.tfrecord"]


def plain(side, width=None, level=0):
    """A frame of one colour."""
    return jpeg.encode(np.full((side, width or side, 3), level, np.uint8))


def test_scenes_that_do_not_suffice_are_named(tmp_path):
    wide, large, cameras = plain(16, 32), plain(32), made_record()[1]
    scenes = stored(
        scene_files(tmp_path / "a", made_record(3), made_record(2), ([wide] * 3, cameras), ([large] * 3, cameras))
    )
    for record, says in (
        (1, "2 views, and 3 are used: give `num_views=2`"),
        (2, "frame 0 is 32x16, not square"),
        (3, "frame 0 is 32x32, not 16x16 as the first scene's: give `image_size`"),
    ):
        with pytest.raises(Damaged, match=f"record {record} at offset .*{says}"):
            scenes.views(record, np.arange(3))
    with pytest.raises(Damaged, match="32x16, not square"):
        stored(scene_files(tmp_path / "b", ([wide] * 3, cameras)))


@pytest.mark.parametrize("order", [(10, 15), (15, 10)])
def test_a_scene_need_only_have_the_views_that_are_used(tmp_path, order):
    """Of scenes of 10 and of 15 views the first 10 are taken, whichever comes first."""
    scenes = [made_record(views, views) for views in order]
    ten = stored(scene_files(tmp_path / "a", *scenes), num_views=10)
    for i, (_, cameras) in enumerate(scenes):
        assert np.array_equal(ten.views(i, np.arange(10)).cameras.pose.numpy(), cameras[:10])
    assert len(list(batches(ten, Sampler(2, 10, 2, 9, 9), range(4)))) == 4
    assert stored(ten.files[0].path.parent.glob("*.tfrecord")).num_views == order[0]


def test_frames_may_differ_in_size_where_they_are_resized(tmp_path):
    """From scene to scene and within one; what has the size already stays as it is, byte for byte."""
    cameras = made_record()[1]
    mixed = ([plain(16, level=200), plain(48, level=100), plain(32, level=50)], cameras)
    scenes = stored(scene_files(tmp_path / "a", made_record(), mixed), image_size=16)
    views = scenes.views(1, np.array([1, 0, 2])).frames
    assert views.shape == (3, 3, 16, 16) and views.float().mean((1, 2, 3)).tolist() == [100, 200, 50]
    assert torch.equal(views[1:2], stored(scene_files(tmp_path / "b", mixed), 16).views(1, np.array([0])).frames)
    coded, _ = scenes.coded(1, np.arange(3))
    assert coded[0] == mixed[0][0] and [jpeg.size(frame) for frame in coded] == [(16, 16)] * 3
    assert scenes.coded(0, np.arange(3))[0] == made_record()[0]


def test_a_bad_jpeg_is_named_with_its_frame(tmp_path):
    frames, cameras = made_record()
    cut = frames[1][:-80]
    scenes = stored(scene_files(tmp_path / "a", (frames, cameras), ([frames[0], cut, b"no"], cameras)))
    assert scenes.views(1, np.array([0])).frames.shape == (1, 3, 16, 16)
    for k in (1, 2):
        with pytest.raises(Damaged, match=rf"record 1 at offset \d+: frame {k} is not a good JPEG"):
            scenes.views(1, np.array([0, k]))


def test_nothing_but_damage_is_refused(tmp_path):
    (path,) = made_files(tmp_path / "train", (2,))
    good = stored([path], skip_damaged=True)
    damage(path, 0)
    damage(path, 1)
    os.utime(path, ns=(good.files[0].state[1],) * 2)
    with pytest.raises(BadInput, match="every scene is damaged"):
        good.views(0, np.arange(1))
    with pytest.raises(Damaged, match="record 0"):
        stored([path], skip_damaged=True)


def test_the_guide_brings_in_scenes_of_ones_own(tmp_path, monkeypatch):
    """The example in docs/data.md runs, and what it writes is what was given."""
    guide = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    example = guide.split("```python\n")[-1].split("```")[0]
    rng = np.random.default_rng(0)
    for scene in range(3):
        folder = tmp_path / "mine" / str(scene)
        folder.mkdir(parents=True)
        cameras = {}
        for k in range(4):
            Image.fromarray(np.full((24, 24, 3), 60 * k + scene, np.uint8)).save(folder / f"{k}.png")
            cameras[f"{k}.png"] = {"position": rng.normal(size=3).tolist(), "target": rng.normal(size=3).tolist()}
        (folder / "cameras.json").write_text(json.dumps(cameras))
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    read = source("rooms_free_camera_no_object_rotations", "train", data=tmp_path / "data")
    assert (len(read), read.num_views, read.image_size) == (2, 4, 24)
    views = read.views(1, np.arange(4))
    assert (views.frames.float().mean((1, 2, 3)) - torch.tensor([2.0, 62, 122, 182])).abs().max() < 2
    ahead = views.cameras.matrix()[:, :3, 2]  # `cameras` is of the last scene, which is the last of train
    wanted = torch.tensor([[t - p for p, t in zip(c["position"], c["target"], strict=True)] for c in cameras.values()])
    assert torch.allclose(ahead, torch.nn.functional.normalize(wanted, dim=-1), atol=1e-5)
    stood = torch.tensor([c["position"] for c in cameras.values()])
    assert torch.allclose(views.cameras.position(), stood, atol=1e-5)

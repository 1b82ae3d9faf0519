"""What `gqn data info` and `verify` say of files: what is there, how scenes differ, all that is damaged."""

import numpy as np
from PIL import Image

from gqn.cli.main import main
from gqn.data.files import example, jpeg, tfrecord
from gqn.data.files.export import export
from gqn.data.files.inspect import info, verify
from gqn.data.sources import source
from support import made_record

NAME = "shepard_metzler_5_parts"


def test_info_says_what_is_there_and_draws_it(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    export(NAME, tmp_path, 7, test_scenes=1, scenes_per_file=4)
    capsys.readouterr()
    assert main(["data", "info", str(tmp_path), "--sheet", str(sheet)]) == 0
    said = capsys.readouterr().out
    assert "2 files, 7 scenes of 15 views, 64 pixels a side" in said and "1 file, 1 scenes" in said
    assert said.index(f"{NAME}/train") < said.index(f"{NAME}/test")
    train, _ = info(tmp_path)
    assert (np.abs(train.high[:3]) <= 10 / 3 + 1e-5).all() and (train.low < train.high).all()
    assert train.frames.shape == (6, 9, 64, 64, 3) and Image.open(sheet).size == (9 * 66 + 2, 6 * 66 + 2)
    assert main(["data", "info", str(tmp_path), "--sheet", str(tmp_path / "sheet.what")]) == 2
    assert "give another --sheet" in capsys.readouterr().err


def test_verify_names_all_that_is_damaged(tmp_path, capsys):
    frames, cameras = made_record()
    (tmp_path / "train").mkdir()
    path = tmp_path / "train" / "1-of-2.tfrecord"
    scenes = [made_record(seed=i) for i in range(4)]
    payloads = [example.example(*s) for s in (*scenes, ([b"x", *frames[1:]], cameras), made_record(2), scenes[0])]
    tfrecord.write(path, payloads)
    tfrecord.write(tmp_path / "train" / "2-of-2.tfrecord", payloads[:2])
    offsets = tfrecord.scan(path).offsets
    content = bytearray(path.read_bytes())
    content[offsets[2] + 40] ^= 1
    path.write_bytes(content[:-1])
    (tmp_path / "train" / "3-of-3.tfrecord").touch()

    assert main(["data", "verify", str(tmp_path), "--workers", "0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    for line, (record, reason) in zip(
        lines,
        [
            (2, "its content does not match its checksum"),
            (4, "frame 0 is not a good JPEG"),
            (6, "the file ends within it; nothing after that can be read"),
        ],
        strict=False,
    ):
        assert line.startswith(f"{path}: record {record} at offset {offsets[record]}: {reason}")
    assert lines[3].endswith("3-of-3.tfrecord is empty: fetch or render it again")
    assert lines[-1] == "3 files: 6 whole scenes, 4 damaged"
    assert [v.damaged for v in verify(tmp_path, workers=1)] == [v.damaged for v in verify(tmp_path)]


def test_verify_passes_what_was_rendered(tmp_path, capsys):
    export(NAME, tmp_path, 3)
    assert main(["data", "verify", str(tmp_path), "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "2 files: 4 whole scenes, none damaged" in said and "have" not in said


def mixed(folder):
    """A file with scenes of 5 and 3 views, of which one has larger frames."""
    folder.mkdir(parents=True)
    large = [jpeg.encode(np.full((32, 32, 3), 90, np.uint8))] * 5
    scenes = [made_record(5), made_record(3, 1), (large, made_record(5, 2)[1])]
    tfrecord.write(folder / "1-of-1.tfrecord", [example.example(*scene) for scene in scenes])


def test_scenes_that_differ_are_no_damage(tmp_path, capsys):
    """Info and verify say how they differ, and export and a source take what all have."""
    mixed(tmp_path / "train")
    assert main(["data", "verify", str(tmp_path), "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'train'}: scenes have 3 (1 scene) or 5 (2 scenes) views: " in said
    assert "--num-views 3 takes all" in said and "frames have 16 (2 scenes) or 32 (1 scene) pixels a side" in said
    assert "1 files: 3 whole scenes, none damaged" in said
    assert main(["data", "info", str(tmp_path), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert "3 scenes of 3 to 5 views, 16 to 32 pixels a side" in capsys.readouterr().out
    export = ["data", "export", NAME, "--data", str(tmp_path), "--workers=0", "--split=train", "--out"]
    assert main([*export, str(tmp_path / "out")]) == 2
    assert "has 3 views, and 5 are used: give --num-views 3" in capsys.readouterr().err
    assert main([*export, str(tmp_path / "small"), "--num-views=3", "--image-size=16"]) == 0
    assert len(source(NAME, "train", data=tmp_path / "small")) == 3

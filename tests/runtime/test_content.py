"""What a file is: told from its first bytes, said in one line wherever it was given, and never of a good TFRecord."""

import gzip
import io
import os
import re
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.data.files import example, tfrecord
from gqn.data.files.stored import find, stored
from gqn.data.files.tfrecord import Damaged
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.runtime import content
from support import TRAIN_TINY, framed, made_files, made_record, made_run

NAME = "shepard_metzler_5_parts"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
GCS = b"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>"


def saved(save, *what, **options):
    save(*what, file := io.BytesIO(), **options)
    return file.getvalue()


def image(kind):
    Image.new("RGB", (16, 16)).save(file := io.BytesIO(), kind)
    return file.getvalue()


def npz():
    np.savez(file := io.BytesIO(), frames=np.zeros(3))
    return file.getvalue()


SCENES = [(np.zeros((15, 64, 64, 3), np.uint8), np.zeros((15, 5), np.float32))]  # of generative-query-network-pytorch
LEGACY = saved(torch.save, SCENES, _use_new_zipfile_serialization=False)
RECORD = framed(example.example(*made_record()))
WEIGHTS = struct.pack("<Q", 40) + b'{"__metadata__":{"gqn_format":"1"}}     '
KINDS = {
    "a web page (HTML)": b"\n<!DOCTYPE html>\n<html><head><title>404",
    "a server's answer in XML": GCS,
    "a Git LFS pointer, which only stands for a file": POINTER,
    "an empty file": b"",
    "a text file": "Größe: 3 µm\n".encode(),
    "a JSON file": b'\n {"a": 1}',
    "a PyTorch file (torch.save)": saved(torch.save, [1]),
    "a PyTorch file (torch.save), NumPy arrays, as generative-query-network-pytorch keeps scenes": LEGACY,
    "gzip of a PyTorch file (torch.save), NumPy arrays, as generative-query-network-pytorch keeps scenes": (
        gzip.compress(LEGACY)
    ),
    "a Python pickle": b"\x80\x04]\x94.",
    "a NumPy archive (.npz)": npz(),
    "a NumPy array (.npy)": saved(lambda array, file: np.save(file, array), np.zeros(3)),
    "a zip archive": b"PK\x03\x04" + bytes(22) + b"\x05\x00\x00\x00a.txt",
    "a PNG image": image("PNG"),
    "a JPEG image": image("JPEG"),
    "a tar archive": bytes(257) + b"ustar\x0000",
    "gzip of a web page (HTML)": gzip.compress(b"<html></html>"),
    "gzip of a gzip file": gzip.compress(gzip.compress(b"a")),
    "gzip of nothing that can be unpacked": gzip.compress(RECORD)[:12],
    "gzip of what gqn does not know": gzip.compress(bytes(100)),
    "gzip of a TFRecord file": gzip.compress(RECORD),
    "a TFRecord file": RECORD,
    "model weights (safetensors)": WEIGHTS,
    "": bytes(100),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_is_is_told_from_its_content(tmp_path, kind):
    (tmp_path / "x.tfrecord").write_bytes(KINDS[kind])
    assert content.of(tmp_path / "x.tfrecord") == content.of_bytes(KINDS[kind]) == kind
    assert content.of(tmp_path / "none") == content.of(tmp_path) == ""


def test_a_genuine_file_of_another_port(real_data):
    path = real_data / "shepard_metzler_5_parts_scene_0.pt.gz"
    kind = "a PyTorch file (torch.save), a scene of gqn_datasets_translator or torch-gqn"
    assert content.of(path) == f"gzip of {kind}" and content.of_bytes(gzip.decompress(path.read_bytes())) == kind


@given(st.sampled_from(list(KINDS.values())), st.binary(max_size=40), st.integers(0, 5000), st.integers(0, 60))
def test_any_bytes_are_told_or_not_and_nothing_is_raised(start, inserted, cut, at):
    told = content.of_bytes((start[:at] + inserted + start[at:])[:cut])
    assert isinstance(told, str) and "\n" not in told
    assert isinstance(content.of_bytes(gzip.compress(start[:at] + inserted)[:cut]), str)


@given(st.integers(0, 2**64 - 1) | st.sampled_from([0x088B1F, 0x04034B50, 0x3C, 0x8A0280]), st.binary(max_size=300))
def test_what_begins_as_a_record_is_a_tfrecord_whatever_else_it_looks_like(length, rest):
    head = struct.pack("<Q", length)
    assert content.of_bytes(head + content.masked_crc32c(head) + rest) == content.TFRECORD


# ---- names ----

ENDS = st.sampled_from([".tfrecord", ".tfrecords", ".tfrec", ".tfrecord-00000-of-00001", ".tfrec-3-of-12"])


@given(st.text(max_size=9), ENDS, st.sampled_from(["", ".gz"]))
def test_names_of_data(stem, end, gz):
    name = stem + end + gz
    assert content.is_data(name) == (stem != "" and not stem.startswith("."))
    for other in ("." + name, "._" + name, name + ".index", name + ".part", stem + end[:-1] + gz + "x", name + ".pt"):
        assert not content.is_data(other)


@given(st.lists(st.text(max_size=9) | ENDS | st.sampled_from(["a.tfrec", "a.tfrec.gz", "b.tfrec.gz"]), max_size=6))
def test_the_data_of_a_folder_is_each_once_and_sorted(names):
    data = content.data_names(names)
    assert data == sorted(set(data)) and all(map(content.is_data, data)) and set(data) <= set(names)
    for name in filter(content.is_data, names):
        assert (name in data) != (name.endswith(".gz") and name[:-3] in names)


@pytest.mark.parametrize("name", ["1-of-1.tfrecords", "a.tfrec", "a.tfrecord-00000-of-00001", "1-of-1.tfrecord.gz"])
def test_files_of_other_names_are_read_and_hidden_ones_are_not(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (path,) = made_files(tmp_path / "data" / "train", (3,))
    path.rename(path.with_name(name))
    if name.endswith("gz"):
        path.with_name(name).write_bytes(gzip.compress(path.with_name(name).read_bytes()))
    for hidden in ("._" + name, ".DS_Store", f".{name}.part", ".hidden/a.tfrecord", "__MACOSX/._a.tfrecord"):
        (path.parent / hidden).parent.mkdir(exist_ok=True)
        (path.parent / hidden).write_bytes(b"\x00\x05\x16\x07mac")
    scenes = source(NAME, "train", data=tmp_path / "data")
    assert [np.array_equal(scenes.views(i, np.arange(3)).cameras.pose, made_record(3, i)[1]) for i in range(3)] == [
        True
    ] * 3
    assert main(["data", "verify", str(tmp_path / "data"), "--workers", "0"]) == 0
    assert "1 files: 3 whole scenes" in capsys.readouterr().out


# ---- folders ----


def test_a_split_itself_will_do(tmp_path):
    for split in ("train", "test"):
        made_files(tmp_path / NAME / split, (2,))
    for data in (tmp_path, tmp_path / NAME, tmp_path / NAME / "train", tmp_path / NAME / "test"):
        for split in ("train", "test"):
            assert [path.resolve() for path in find(data, NAME, split)] == [
                (tmp_path / NAME / split / "1-of-1.tfrecord").resolve()
            ]


def test_the_folder_here_will_do(tmp_path, monkeypatch):
    made_files(tmp_path / "train", (2,))
    monkeypatch.chdir(tmp_path)
    assert len(find(Path("train"), NAME, "train")) == len(find(Path("."), NAME, "train")) == 1


@pytest.mark.parametrize(
    "given, says",
    [
        (
            "port",
            r"port/NAME/train holds 0.pt.gz, 1.pt.gz, 2.pt.gz and 4 more \(0.pt.gz is gzip of a PyTorch file .*\)$",
        ),
        (
            "flat",
            r"looked for NAME/train/\*.tfrecord .* holds a.tfrecord \(.*\): put them into .*/train and .*flat/test$",
        ),
        ("flat/a.tfrecord", "a.tfrecord is a file: give the folder with the files of NAME, or with NAME/train"),
        ("bare", "bare/train is empty$"),
        ("high", r"high holds data/: give .*high/data$"),
        ("nowhere", "no files of NAME's train split: there is no folder .*nowhere"),
    ],
)
def test_a_folder_without_data_says_what_lies_in_it(tmp_path, given, says):
    port = tmp_path / "port" / NAME / "train"
    for folder in (port, tmp_path / "flat", tmp_path / "bare/train", tmp_path / "high/data" / NAME / "train"):
        folder.mkdir(parents=True)
    for i in range(7):
        (port / f"{i}.pt.gz").write_bytes(gzip.compress(LEGACY))
    (tmp_path / "bare/train/.DS_Store").touch()
    (tmp_path / "flat/a.tfrecord").write_bytes(RECORD)
    with pytest.raises(BadInput, match=says.replace("NAME", NAME)):
        find(tmp_path / given, NAME, "train")


def test_info_says_what_lies_in_a_folder_without_data(tmp_path, capsys):
    (tmp_path / "a" / "train").mkdir(parents=True)
    (tmp_path / "a" / "train" / "0.pt").write_bytes(LEGACY)
    for command in ("info", "verify"):
        assert main(["data", command, str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert re.search(r"^gqn: no .tfrecord files in .*; .*a/train holds 0.pt \(0.pt is a PyTorch file.*\)$", said)


# ---- what is given as data ----

OTHERS = [kind for kind in KINDS if kind not in ("", "an empty file", content.TFRECORD, content.GZIPPED)]


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_is_no_tfrecord_is_named_and_passed_over(tmp_path, kind):
    one, _ = made_files(tmp_path / "data" / "train", (2, 2))
    one.write_bytes(KINDS[kind])
    with pytest.raises(Damaged, match=re.escape(f"{one} is {kind}, not a TFRecord file: ")) as error:
        source(NAME, "train", data=tmp_path / "data")
    assert "\n" not in str(error.value)
    assert len(source(NAME, "train", data=tmp_path / "data", skip_damaged=True)) == 2


def test_every_command_names_it(tmp_path, capsys):
    run = made_run(tmp_path / "run")
    for split in ("train", "test"):
        (path,) = made_files(tmp_path / "data" / split, (2,))
        path.write_bytes(KINDS["a web page (HTML)"])
    data = str(tmp_path / "data")
    for command in (
        [*TRAIN_TINY, "--data", data, "--logdir", str(tmp_path / "log")],
        ["eval", str(run), "--data", data],
        ["data", "info", data],
        ["data", "info", str(path)],
        ["data", "export", NAME, "--data", data, "--out", str(tmp_path / "out")],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert re.search("^gqn: .*is a web page .HTML., not a TFRecord file: .*fetch the file again", said), command
        assert said.count("\n") == 1
    assert main(["data", "verify", data, "--workers", "0"]) == 1
    assert capsys.readouterr().out.count("is a web page (HTML), not a TFRecord file") == 2


def test_a_damaged_file_is_called_damaged(tmp_path):
    """Unknown bytes, too, but what they may be is said."""
    (path,) = made_files(tmp_path / "train", (2,))
    whole = path.read_bytes()
    for at in (3, 9):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(
            Damaged, match="record 0 at offset 0: its length does not match its checksum, or this is no TFR"
        ):
            tfrecord.opened(path)
    for packed in (whole[:50], gzip.compress(whole[:50])):
        path.write_bytes(packed)
        with pytest.raises(Damaged, match=r"1\.tfrecord: record 0 at offset 0: the file ends within it$"):
            tfrecord.opened(path)


@pytest.mark.parametrize(
    "frames, says",
    [
        ([bytes(range(256)) * 48], "frame 0 is 12288 bytes that are no JPEG: raw 64x64x3 pixels: code frames as JPEG"),
        ([bytes(16 * 16)], "frame 0 is 256 bytes that are no JPEG: raw 16x16x1 pixels"),
        ([image("PNG")], "frame 0 is a PNG image, and not a JPEG: code frames as JPEG"),
        ([b"\xff\xd8\xff" + bytes(189)], r"frame 0 is not a good JPEG \("),  # 192 = 8x8x3 bytes
        ([b"no"], r"frame 0 is not a good JPEG \("),
    ],
)
def test_frames_that_are_no_jpegs_are_named(tmp_path, frames, says):
    tfrecord.write(tmp_path / "a.tfrecord", [example.example(frames, np.zeros((1, 5), np.float32))])
    with pytest.raises(Damaged, match=f"a.tfrecord: record 0 at offset 0: {says}"):
        stored([tmp_path / "a.tfrecord"])


# ---- gzip ----


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A gzipped file of three scenes, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (path,) = made_files(tmp_path / "data" / "train", (3,))
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path.rename(path.with_name("1-of-1.tfrecord.gz"))


def copies(tmp_path):
    return sorted((tmp_path / "cache" / "gqn" / "unpacked").glob("*.tfrecord"))


def test_a_gzipped_file_is_unpacked_once_until_it_changes(packed, tmp_path, monkeypatch):
    unpack = tfrecord.unpack
    done = []
    monkeypatch.setattr(tfrecord, "unpack", lambda path, to, **how: (done.append(path), unpack(path, to, **how)))
    for _ in range(2):
        file = tfrecord.opened(packed)
        assert len(file) == 3 and file.path == packed and np.array_equal(file.scene(2)[1], made_record(3, 2)[1])
    assert done == [packed] and [path.name for path in packed.parent.iterdir()] == [packed.name]
    packed.write_bytes(gzip.compress(framed(example.example(*made_record(3, 7)))))
    assert len(tfrecord.opened(packed)) == 1 and len(copies(tmp_path)) == 1


def test_many_who_open_a_gzipped_file_at_once_unpack_it_once(packed, monkeypatch):
    unpack, done, together = tfrecord.unpack, [], threading.Barrier(4)
    monkeypatch.setattr(tfrecord, "unpack", lambda path, to, **how: (done.append(path), unpack(path, to, **how)))

    def opened(_):
        together.wait()
        return len(tfrecord.opened(packed))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(opened, range(4))) == [3] * 4
    assert done == [packed]


def test_damage_in_a_gzipped_file_is_named_by_its_own_name(packed, tmp_path):
    content = bytearray(gzip.decompress(packed.read_bytes()))
    content[60] ^= 1
    packed.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(Damaged, match=r"1-of-1\.tfrecord\.gz: record 0 at offset 0: its content does not match"):
        tfrecord.opened(packed).scene(0)


@pytest.mark.parametrize("lost", [1, 9, 1000])  # of the checksum alone, of it all, of scenes
def test_a_gzip_file_that_is_cut_short_is_named_or_used_as_far_as_it_goes(packed, tmp_path, capfd, lost):
    os.truncate(packed, packed.stat().st_size - lost)
    says = r"1-of-1\.tfrecord\.gz cannot be unpacked after \d+ bytes: fetch it again"
    for _ in range(2):
        with pytest.raises(Damaged, match=says):
            stored([packed])
    assert copies(tmp_path) == []
    scenes = stored([packed], skip_damaged=True)
    assert len(scenes) == (2 if lost == 1000 else 3) and re.search(says, capfd.readouterr().err)
    with pytest.raises(Damaged, match=says):  # what was unpacked in part is not taken for the whole
        stored([packed])
    assert main(["data", "verify", str(packed), "--workers", "0"]) == 1
    assert re.search(says, capfd.readouterr().out)


def test_a_cache_that_cannot_be_written_is_a_clear_line(packed, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(BadInput, match=r"cannot unpack .*\.tfrecord\.gz to .*: point XDG_CACHE_HOME elsewhere"):
        tfrecord.opened(packed)


# ---- what is given as RUN ----


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("", content.WEIGHTS)])
def test_a_file_that_is_no_weights_is_named(tmp_path, capsys, kind):
    path = tmp_path / "x.pth"
    path.write_bytes(KINDS[kind])
    assert main(["eval", str(path)]) == 2
    said = capsys.readouterr().err
    way = content.WAYS.get(kind, "RUN is a run folder, ")
    assert f"{path} is {kind}, not model weights (safetensors): {way}" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["eval {}", "compare {0} {0}", "figure predictions {}", "view {}", "export {} --to safetensors"]
)
def test_every_command_names_what_is_no_run(tmp_path, capsys, command):
    run = made_run(tmp_path / "runs" / "toy")
    (run / "sampler.onnx").write_bytes(KINDS[""])
    for what, says in (
        (run / "config.json", "config.json is a JSON file, not model weights"),
        (run / "sampler.onnx", "sampler.onnx is no .safetensors file: RUN is a run folder, "),
        (run.parent, "holds no run: cannot read config.json .* holds toy/; RUN is a run folder, "),
    )[: 2 if "compare" in command else 3]:
        assert main(command.format(what).split()) == 2
        assert re.search(f"^gqn: .*{says}", capsys.readouterr().err)


def test_weights_that_were_not_fetched_from_lfs(tmp_path):
    run = made_run(tmp_path / "run")
    (run / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(BadInput, match=r"model\.safetensors is a Git LFS pointer, .*: git lfs pull fetches that"):
        checkpoint.load(run)

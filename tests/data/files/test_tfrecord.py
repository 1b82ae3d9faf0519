"""Released files: read exactly, checked against an independent package, and never wrong in silence."""

import io
import math
import os
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tfrecord.reader import tfrecord_loader
from tfrecord.writer import TFRecordWriter

from gqn.data.files import example, jpeg, tfrecord
from gqn.data.files.tfrecord import Damaged
from gqn.errors import BadInput
from gqn.runtime.content import masked_crc32c
from support import framed, made_record, same

REAL = "shepard_metzler_5_parts_scene_0.tfrecord"
DESCRIPTION = {"frames": "byte", "cameras": "float"}


@pytest.fixture
def path(tmp_path):
    """A file of four scenes."""
    path = tmp_path / "1-of-1.tfrecord"
    tfrecord.write(path, [example.example(*made_record(seed=i)) for i in range(4)])
    return path


# ---- the genuine file, and an independent reader and writer ----


def test_a_genuine_scene_reads_exactly(real_data, tmp_path):
    path = shutil.copy(real_data / REAL, tmp_path / REAL)
    (theirs,) = tfrecord_loader(str(path), None, DESCRIPTION)
    file = tfrecord.opened(tmp_path / REAL)
    frames, cameras = file.scene(0)
    assert len(file) == 1 and len(frames) == 15 and cameras.shape == (15, 5)
    assert frames == list(theirs["frames"]) and np.array_equal(cameras.ravel(), theirs["cameras"])
    assert {jpeg.decode(f).shape for f in frames} == {(64, 64, 3)}

    position, yaw, pitch = cameras[:, :3], cameras[:, 3], cameras[:, 4]
    assert np.abs(np.linalg.norm(position, axis=1) - 10 / 3).max() < 1e-5
    forward = np.stack([np.cos(yaw) * np.cos(pitch), -np.sin(yaw) * np.cos(pitch), np.sin(pitch)], -1)
    assert np.abs(position + 10 / 3 * forward).max() < 1e-5
    assert (np.abs(pitch) <= math.pi / 2).all()


def test_genuine_mazes_are_read(real_data, tmp_path):
    path = shutil.copy(real_data / "mazes_8_scenes.tfrecord", tmp_path / "mazes.tfrecord")
    file = tfrecord.opened(tmp_path / "mazes.tfrecord")
    scenes = [file.scene(i) for i in range(len(file))]
    assert len(scenes) == len(list(tfrecord_loader(str(path), None, DESCRIPTION))) == 8
    for frames, cameras in scenes:
        assert cameras.shape == (300, 5) and {jpeg.decode(frame).shape for frame in frames[::50]} == {(84, 84, 3)}
        assert (cameras[:, [2, 4]] == 0).all() and np.abs(cameras[:, :2]).max() <= 0.4


def test_an_independent_reader_reads_what_is_written(path):
    for i, theirs in enumerate(tfrecord_loader(str(path), None, DESCRIPTION)):
        frames, cameras = made_record(seed=i)
        assert list(theirs["frames"]) == frames and np.array_equal(theirs["cameras"], cameras.ravel())
    assert i == 3


def test_what_an_independent_writer_wrote_is_read(tmp_path):
    path = tmp_path / "theirs.tfrecord"
    writer = TFRecordWriter(str(path))
    for i in range(3):
        frames, cameras = made_record(seed=i)
        first, second = ("frames", (frames, "byte")), ("cameras", (cameras.ravel().tolist(), "float"))
        other = ("id", ([i], "int"))
        writer.write(dict([first, other, second] if i else [second, first]))
    writer.close()
    file = tfrecord.opened(path)
    assert [same(file.scene(i), made_record(seed=i)) for i in range(len(file))] == [True] * 3


@given(st.binary(max_size=80))
@settings(max_examples=50)
def test_any_file_is_refused_or_has_records(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "a.tfrecord"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        tfrecord.scan(path)
    assert content == b"" or len(tfrecord.scan(path, upto_damage=True)) == 0


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=60)
def test_no_changed_byte_goes_unseen(tmp_path_factory, at, change):
    path = tmp_path_factory.mktemp("flip") / "a.tfrecord"
    content = bytearray(b"".join(framed(example.example(*made_record(1, seed=i))) for i in range(2)))
    content[at % len(content)] ^= change
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"a\.tfrecord: record [01] at offset \d+: "):
        file = tfrecord.opened(path)
        for i in range(2):
            file.scene(i)


@given(st.integers(0, 10**6))
@settings(max_examples=40)
def test_a_file_cut_anywhere_says_so_or_ends_between_records(tmp_path_factory, at):
    path = tmp_path_factory.mktemp("cut") / "a.tfrecord"
    record = framed(example.example(*made_record(1)))
    at %= 2 * len(record)
    path.write_bytes((2 * record)[:at])
    if at == len(record):
        assert len(tfrecord.opened(path)) == 1
    else:
        with pytest.raises(BadInput):
            tfrecord.opened(path)
        if at:
            assert len(tfrecord.scan(path, upto_damage=True)) == at // len(record)


# ---- each fault by name ----


@pytest.mark.parametrize(
    "at, says",
    [
        (3, "its length does not match"),
        (9, "its length does not match"),
        (100, "does not match its checksum"),
        (-2, "does not match its checksum"),
    ],
    ids=["length", "length check", "payload", "payload check"],
)
def test_a_flipped_byte_is_named_with_file_record_and_offset(path, at, says):
    offsets = tfrecord.scan(path).offsets
    content = bytearray(path.read_bytes())
    content[int(offsets[2 if at >= 0 else 3]) + at] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(Damaged, match=f"1-of-1.tfrecord: record 2 at offset {offsets[2]}: .*{says}"):
        tfrecord.opened(path).scene(2)


def test_a_truncated_last_record(path):
    offsets = tfrecord.scan(path).offsets
    os.truncate(path, offsets[-1] - 1)
    with pytest.raises(Damaged, match=f"record 3 at offset {offsets[3]}: the file ends within it"):
        tfrecord.opened(path)
    assert len(tfrecord.opened(path, upto_damage=True)) == 3
    assert not path.with_name(path.name + ".index").exists()


def test_an_empty_and_an_absent_file(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    with pytest.raises(BadInput, match=r"a\.tfrecord is empty"):
        tfrecord.opened(tmp_path / "a.tfrecord")
    with pytest.raises(BadInput, match=r"cannot read .*b\.tfrecord: No such file"):
        tfrecord.opened(tmp_path / "b.tfrecord")


@pytest.mark.parametrize("claim", [2**28 + 1, 2**40, 2**63, 2**64 - 1])
def test_a_length_that_claims_too_much_is_refused_before_anything_is_read(tmp_path, claim):
    length = struct.pack("<Q", claim)
    (tmp_path / "a.tfrecord").write_bytes(length + masked_crc32c(length) + bytes(100))
    with pytest.raises(Damaged, match=f"it claims {claim} bytes"):
        tfrecord.opened(tmp_path / "a.tfrecord")


# ---- the index ----


def test_the_index_is_stored_used_and_rebuilt(path, monkeypatch):
    first = tfrecord.opened(path)
    assert path.with_name(path.name + ".index").exists()
    with monkeypatch.context() as patched:
        patched.setattr(tfrecord, "scan", None)
        assert np.array_equal(tfrecord.opened(path).offsets, first.offsets)
    tfrecord.write(path, [example.example(*made_record(seed=9))])
    with pytest.raises(BadInput, match="changed while it was in use"):
        first.scene(0)
    again = tfrecord.opened(path)
    assert len(again) == 1 and same(again.scene(0), made_record(seed=9))


def test_a_damaged_index_is_made_again(path):
    """Wherever it is damaged: it could blame good scenes, or hide them. So is an index of a version before."""
    good = tfrecord.opened(path).offsets
    index = path.with_name(path.name + ".index")
    whole = index.read_bytes()
    before = io.BytesIO()
    np.save(before, np.concatenate([[1, path.stat().st_mtime_ns], good]).astype("<i8"))
    flipped = [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
    for content in (b"", b"\x93NUMPY", bytes(1000), whole[:-8], masked_crc32c(b""), before.getvalue(), *flipped):
        index.write_bytes(content)
        assert tfrecord.count(path) is None
        assert np.array_equal(tfrecord.opened(path).offsets, good)
        assert index.read_bytes() == whole and tfrecord.count(path) == 4


def test_a_folder_in_the_place_of_the_index_stops_nobody(path):
    index = path.with_name(path.name + ".index")
    index.mkdir()
    assert len(tfrecord.opened(path)) == 4


def test_the_index_goes_to_the_cache_where_the_folder_cannot_be_written(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write = tfrecord.files.write

    def read_only(place, write_to):
        if place.parent == path.parent:
            raise PermissionError("read-only")
        write(place, write_to)

    monkeypatch.setattr(tfrecord.files, "write", read_only)
    tfrecord.opened(path)
    assert len(list((tmp_path / "cache").rglob("*.index"))) == 1
    monkeypatch.setattr(tfrecord, "scan", None)
    assert len(tfrecord.opened(path)) == 4


def test_a_file_that_vanishes_is_named(path):
    file = tfrecord.opened(path)
    path.unlink()
    with pytest.raises(BadInput, match=r"cannot read .*1-of-1\.tfrecord: No such file"):
        file.scene(1)

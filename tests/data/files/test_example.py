"""A scene's payload reads as protobuf reads it or is refused with the reason, whatever its bytes are."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tfrecord import example_pb2

from gqn.data.files import example, tfrecord
from gqn.data.files.tfrecord import Damaged
from support import framed, made_record, same

REAL = "shepard_metzler_5_parts_scene_0.tfrecord"
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)

scenes = st.integers(1, 4).flatmap(
    lambda k: st.tuples(
        st.lists(st.binary(max_size=300), min_size=k, max_size=k), arrays(np.float32, (k, 5), elements=floats)
    )
)


def test_a_genuine_payload_is_written_as_it_was(real_data):
    data = (real_data / REAL).read_bytes()
    frames, cameras = example.parse(data[12:-4])
    assert framed(example.example(frames, cameras)) == data


@given(st.lists(scenes, min_size=1, max_size=3))
@settings(max_examples=20)
def test_what_is_written_reads_back_and_protobuf_agrees(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("written") / "a.tfrecord"
    tfrecord.write(path, [example.example(*s) for s in written])
    file = tfrecord.opened(path)
    assert len(file) == len(written)
    for i, scene in enumerate(written):
        assert same(file.scene(i), scene)
        assert same(by_protobuf(file.payload(i)), scene)


def test_floats_may_be_packed_or_not_and_come_in_parts():
    frames, cameras = made_record()
    numbers = cameras.ravel()
    unpacked = b"".join(b"\x0d" + struct.pack("<f", n) for n in numbers)
    mixed = example._sized(1, numbers[:4].tobytes()) + b"".join(b"\x0d" + struct.pack("<f", n) for n in numbers[4:])
    for values in (unpacked, mixed):
        entry = example._sized(1, b"cameras") + example._sized(2, example._sized(2, values))
        images = b"".join(example._sized(1, f) for f in frames)
        other = example._sized(1, b"frames") + example._sized(2, example._sized(1, images))
        payload = example._sized(1, example._sized(1, other) + example._sized(1, entry))
        assert same(example.parse(payload), (frames, cameras))
        assert same(by_protobuf(payload), (frames, cameras))


def by_protobuf(payload):
    """What Google's parser makes of a payload; ValueError if it is no scene to it."""
    try:
        features = example_pb2.Example.FromString(payload).features.feature
    except Exception as error:
        raise ValueError from error
    frames = list(features["frames"].bytes_list.value)
    cameras = np.array(features["cameras"].float_list.value, np.float32)
    if not frames or len(cameras) != 5 * len(frames) or not np.isfinite(cameras).all():
        raise ValueError
    return frames, cameras.reshape(-1, 5)


def outcome(parse, payload):
    try:
        return parse(payload)
    except ValueError:
        return None


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read_as_protobuf_reads_them(payload):
    ours, theirs = outcome(example.parse, payload), outcome(by_protobuf, payload)
    assert ours is None or theirs is None or same(ours, theirs)


@given(scenes, st.data())
@settings(max_examples=300)
def test_a_payload_changed_anywhere_is_refused_or_read_as_protobuf_reads_it(scene, data):
    payload = bytearray(example.example(*scene))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        what = data.draw(st.sampled_from(["set", "cut", "insert", "end"]))
        byte = data.draw(st.integers(0, 255) | st.sampled_from([0xFF, 0x80, 0x0A, 0x0D, 0x12]))
        if what == "set":
            payload[at] = byte
        elif what == "insert":
            payload.insert(at, byte)
        elif len(payload) > 1:
            del payload[at : at + 1 if what == "cut" else None]
            payload = payload or bytearray(1)
    ours, theirs = outcome(example.parse, bytes(payload)), outcome(by_protobuf, bytes(payload))
    assert ours is None or theirs is None or same(ours, theirs)


def feature(name, frames=None, cameras=None):
    value = example._sized(1, b"".join(example._sized(1, f) for f in frames)) if frames else b""
    value += example._sized(2, example._sized(1, np.asarray(cameras, "<f4").tobytes())) if cameras is not None else b""
    return example._sized(1, example._sized(1, name) + example._sized(2, value))


FRAMES, CAMERAS = feature(b"frames", [b"x", b"y"]), feature(b"cameras", cameras=range(10))


@pytest.mark.parametrize(
    "content, says",
    [
        (None, "feature 'frames' is missing: it holds nothing"),
        (FRAMES, "feature 'cameras' is missing: it holds 'frames'"),
        (feature(b"images", [b"x"]) + CAMERAS, "feature 'frames' is missing: it holds 'images', 'cameras'"),
        (FRAMES + feature(b"cameras", cameras=range(9)), "9 camera floats for 2 frames"),
        (FRAMES + feature(b"cameras", cameras=range(20)), r"10 camera numbers for each frame, not 5 \(x, y, z, yaw, "),
        (FRAMES + feature(b"cameras", cameras=range(14)), r"7 camera numbers for each frame, not 5 \(x, y, z, yaw, "),
        (FRAMES + feature(b"cameras", cameras=[np.nan] * 10), "not finite"),
        (FRAMES + CAMERAS + CAMERAS, "'cameras' comes twice"),
        (FRAMES + feature(b"cameras", [b"x"]), "'cameras' is not a list of floats"),
        (feature(b"frames") + CAMERAS, "no frames"),
        (feature(b"frames", [b"x"], range(2)) + CAMERAS, "'frames' is not a list of byte strings"),
    ],
)
def test_a_payload_that_is_no_scene_says_why(tmp_path, content, says):
    path = tmp_path / "a.tfrecord"
    tfrecord.write(path, [b"" if content is None else example._sized(1, content)])
    with pytest.raises(Damaged, match=f"record 0 at offset 0: .*{says}"):
        tfrecord.opened(path).scene(0)

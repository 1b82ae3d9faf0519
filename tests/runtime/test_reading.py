"""What is read is right, or refused in one line that names the file; a file cannot take all memory."""

import io
import json
import math
import zipfile

import numpy as np
import pytest
import torch

from gqn.errors import BadInput
from gqn.runtime import reading

VALUES = {"b": [1, 2.5, None, "text"], "a": {"x": True, "1": -0.0}}
SHAPE = {"a": dict, "b": list}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.json"


def refused(read, path, says):
    with pytest.raises(BadInput, match=says) as raised:
        read(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_table_comes_back_and_is_read_without_a_checksum(path):
    for values in (VALUES, {}):
        for text in (reading.as_json(values), json.dumps(values)):
            path.write_text(text)
            assert reading.table(path) == values
    path.write_text(json.dumps(json.loads(reading.as_json(VALUES)), sort_keys=True))  # in another order and form
    assert reading.table(path) == VALUES


def test_any_flipped_bit_of_a_table_is_found_or_changes_nothing(path):
    text = reading.as_json(VALUES).encode()
    for at in range(len(text)):
        for bit in range(8):
            path.write_bytes(text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :])
            try:
                assert reading.table(path, SHAPE) == VALUES, path.read_bytes()
            except BadInput as error:
                assert str(path) in str(error) and "\n" not in str(error)


def test_a_checksum_under_another_name_is_found(path):
    for new in ("checksam", "", "6427eb"):
        path.write_text(reading.as_json(VALUES).replace("checksum", new))
        refused(lambda path: reading.table(path, SHAPE), path, f"it begins with '{new}'")


def test_an_edited_table_says_how_to_keep_the_edit(path):
    path.write_text(reading.as_json(VALUES).replace("2.5", "3.5"))
    refused(reading.table, path, 'not that of its "checksum"; if you edited it, remove that entry')
    values = json.loads(path.read_text())
    del values["checksum"]
    path.write_text(json.dumps(values))
    assert reading.table(path)["b"][1] == 3.5


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"3", b"{", b"[" * 10**5, b'{"a": ' + b"9" * 5000 + b"}"])
def test_what_is_no_table_is_named(path, content):
    path.write_bytes(content)
    refused(reading.table, path, "is damaged")


def test_what_cannot_be_read_is_named_and_what_is_not_there_is_absent(tmp_path):
    refused(reading.data, tmp_path, "cannot read .*: Is a directory")
    with pytest.raises(FileNotFoundError):
        reading.table(tmp_path / "a.json")


def test_a_file_larger_than_all_that_was_written_is_not_read(path, monkeypatch):
    with open(path, "wb") as file:
        file.truncate(2**40)
    refused(reading.data, path, "is damaged")
    monkeypatch.setattr(reading, "MOST", 10)
    path.write_bytes(bytes(10))
    assert reading.data(path) == bytes(10)


def test_numbers_that_are_not_finite_become_null():
    found = json.loads(reading.as_json({"a": [math.nan, math.inf, np.float64("-inf"), 1.0], "b": (1, True)}))
    assert found["a"] == [None, None, None, 1.0] and found["b"] == [1, True]


def test_short_memory_is_no_damage_and_a_message_names_the_file(path):
    with pytest.raises(MemoryError), reading.named(path):
        raise MemoryError
    for error in (RecursionError("deep"), ValueError("one\ntwo"), KeyError("x" * 1000), BadInput("of\nother things")):

        def fail(path, error=error):
            with reading.named(path):
                raise error

        refused(fail, path, "a.json")
    with pytest.raises(BadInput, match=r"is damaged \(x\): do that$"), reading.named(path, "do that"):
        raise ValueError("x")


@pytest.mark.parametrize(
    ("value", "shape", "says"),
    [
        (True, int, "it is True"),
        ("x" * 100, int, r"it is .{,70}$"),
        ([1, "x"], [int], r"it\[1\] is 'x'"),
        ({1: 2}, {str: int}, "a key of it is 1"),
        ({"a": {"b": [None]}}, {"a": {"b": [int | str]}}, r"b of a\[0\] is None"),
        (3, {"a": int}, "it is 3"),
        ({}, [int], "it is {}"),
    ],
)
def test_another_shape_is_named(value, shape, says):
    with pytest.raises(ValueError, match=says):
        reading.check(value, shape)


def test_shapes_that_are_right():
    reading.check({"a": [1, None], "more": object()}, {"a": [int | None], "b": str})
    reading.check({1: {"x": True}}, {int: {str: bool}})


def archive(path, **arrays):
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def test_arrays_come_back(path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b/c": np.asfortranarray(np.ones((2, 2), "<i8")),
        "s": np.array("text"),
    }
    archive(path, **arrays, e=np.zeros((0, 3)))
    found = reading.arrays(path)
    assert found.keys() == arrays.keys() | {"e"} and found["e"].shape == (0, 3)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_an_archive_that_unpacks_to_more_than_any_is_not_unpacked(path, monkeypatch):
    archive(path, a=np.zeros(10**6))
    assert path.stat().st_size < 10**4
    with monkeypatch.context() as patch:
        patch.setattr(reading, "MOST", 10**6)
        refused(reading.arrays, path, "unpacked it is larger")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as packed:  # may be unpacked only as a whole
        packed.writestr("a.npy", bytes(100))
    refused(reading.arrays, path, "unpacked it is larger")


@pytest.mark.parametrize("shape", ["(10000000000,)", "(4,)", "(-3,)", "(-1, -3)"])
def test_an_array_of_another_size_than_it_says_is_refused(path, shape):
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    data = file.getvalue()
    at = data.index(b"(3,), }")
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.npy", data[:at] + f"{shape}, }}".encode() + data[at + 7 + len(shape) - 4 :])
    refused(reading.arrays, path, "is damaged")


def test_a_flipped_bit_of_an_archive_hides_no_arrays(path):
    arrays = {name: np.arange(3.0) for name in "abc"}
    archive(path, **arrays)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            found = reading.arrays(path)
        except BadInput as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert found.keys() == arrays.keys()
            assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_arrays_of_objects_are_not_read(path):
    archive(path, a=np.array([None, "x"]))
    refused(reading.arrays, path, "is damaged")


def test_archives_of_torch_are_checked(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.arange(100.0)}, path)
    whole = path.read_bytes()
    file = io.BytesIO(whole)
    reading.check_archive(file)
    assert file.tell() == 0
    at = whole.index(torch.arange(100.0).numpy().tobytes()) + 77
    with pytest.raises(ValueError, match="data/0' in it does not match its checksum"):
        reading.check_archive(io.BytesIO(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10**6))
    with pytest.raises(ValueError, match="compressed"):
        reading.check_archive(packed)

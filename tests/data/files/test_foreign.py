"""Files of other ports are read exactly, execute nothing, and are imported whole, once, and after a stop."""

import collections
import gzip
import io
import json
import os
import resource
import shutil
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gqn.cli.main import main
from gqn.data.files import conversion, example, foreign, jpeg, tfrecord
from gqn.data.files.conversion import convert
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.runtime import files
from support import framed, made_record, same

NAME = "shepard_metzler_5_parts"
Scene = collections.namedtuple("Scene", ["frames", "cameras"])
Scene.__module__ = "__main__"


@pytest.fixture(autouse=True)
def converter(monkeypatch):
    """The class of the scenes that a converter pickled was its script's."""
    monkeypatch.setattr(sys.modules["__main__"], "Scene", Scene, raising=False)


def coded(record):
    frames = np.empty(len(record[0]), object)
    frames[:] = record[0]
    return frames


def pixels(record):
    return np.stack([jpeg.decode(frame) for frame in record[0]])


def floats(record):
    return torch.from_numpy(pixels(record)).permute(0, 3, 1, 2).float() / 255


LAYOUTS = {  # how a file holds two scenes, or one; whether its frames are JPEGs
    "named tuple": (lambda a, b: Scene(coded(a), a[1]), 1, True),
    "named tuple with an axis": (lambda a, b: Scene(coded(a), a[1][None]), 1, True),
    "named tuple, both with an axis": (lambda a, b: Scene(coded(a)[None], a[1][None]), 1, True),
    "list": (lambda a, b: [(pixels(a), a[1]), (pixels(b), b[1])], 2, False),
    "list of named tuples": (lambda a, b: [Scene(coded(a), a[1]), Scene(coded(b), b[1])], 2, True),
    "tensors": (lambda a, b: (torch.from_numpy(pixels(a)), torch.from_numpy(a[1])), 1, False),
    "floats": (lambda a, b: (floats(a), torch.from_numpy(a[1]).double()), 1, False),
    "batch": (lambda a, b: (torch.stack([floats(a), floats(b)]), torch.tensor(np.stack([a[1], b[1]]))), 2, False),
    "Fortran": (lambda a, b: [[np.asfortranarray(pixels(a)), np.asfortranarray(a[1])]], 1, False),
    "big-endian": (lambda a, b: (pixels(a).transpose(0, 3, 1, 2), a[1].astype(">f4")), 1, False),
}


def saved(value, archive=False):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=archive)
    return file.getvalue()


def read(path):
    return [scene.record() for scene in foreign.scenes(path)]


def expected(layout):
    _, number, whole = LAYOUTS[layout]
    records = [made_record(3, 0), made_record(3, 1)][:number]
    return records if whole else [([jpeg.encode(f) for f in pixels(r)], r[1]) for r in records]


def made(layout, archive=False):
    return saved(LAYOUTS[layout][0](made_record(3, 0), made_record(3, 1)), archive)


def refused(path, says):
    with pytest.raises(BadInput, match=says) as error:
        for scene in foreign.scenes(path):
            scene.side()
    assert "\n" not in str(error.value) and str(path) in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read_exactly(tmp_path, layout, packed, archive):
    path = tmp_path / ("0.pt" + ".gz" * packed)
    data = made(layout, archive)
    path.write_bytes(gzip.compress(data) if packed else data)
    there = read(path)
    assert len(there) == LAYOUTS[layout][1] and all(map(same, there, expected(layout)))
    assert all(cameras.dtype == np.float32 and cameras.shape == (3, 5) for _, cameras in there)
    assert [scene.side() for scene in foreign.scenes(path)] == [16] * len(there)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_are_rounded_to_the_nearest_byte(tmp_path, dtype):
    shades = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    for off in (-0.4, 0.0, 0.4):
        frames = ((shades + off) / 255).clip(0, 1).to(dtype)
        (tmp_path / "0.pt").write_bytes(saved((frames, zeros(1, 5))))
        (scene,) = foreign.scenes(tmp_path / "0.pt")
        assert np.array_equal(scene.frames[0, :, :, 1].reshape(-1), np.arange(256))


def test_a_genuine_file_is_the_same_scene_as_the_tfrecord(real_data, tmp_path):
    path = real_data / f"{NAME}_scene_0.pt.gz"
    original = path.with_name(f"{NAME}_scene_0.tfrecord")
    (scene,) = read(path)
    assert same(scene, tfrecord.scan(original).scene(0))
    convert(path, NAME, tmp_path, "test")
    assert (tmp_path / NAME / "test/1-of-1.tfrecord").read_bytes() == original.read_bytes()


def test_genuine_mazes_come_back_from_gzip_as_they_were(real_data, tmp_path):
    original = (real_data / "mazes_8_scenes.tfrecord").read_bytes()
    (tmp_path / "a.tfrecord.gz").write_bytes(gzip.compress(original, 1))
    done = convert(tmp_path, "mazes", tmp_path / "out", "train")
    assert (done.scenes, done.views) == ({"train": 8, "test": 0}, 2400)
    assert (tmp_path / "out/mazes/train/1-of-1.tfrecord").read_bytes() == original


class Evil:
    """A pickle of this runs a command when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


EVIL = {  # where in a layout it may be
    "instead of a scene": lambda evil, a: evil,
    "instead of frames": lambda evil, a: Scene(evil, a[1]),
    "instead of cameras": lambda evil, a: Scene(coded(a), evil),
    "instead of one of the frames": lambda evil, a: Scene(np.array([evil], object), a[1]),
    "in a list": lambda evil, a: [(pixels(a), a[1]), evil],
    "in a pair of a list": lambda evil, a: [(pixels(a), evil)],
    "beside tensors": lambda evil, a: (floats(a), torch.from_numpy(a[1]), evil),
}


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("where", EVIL)
def test_nothing_in_a_file_is_executed(tmp_path, where, packed, archive):
    mark, path = tmp_path / "executed", tmp_path / "0.pt.gz"
    data = saved(EVIL[where](Evil(mark), made_record()), archive)
    torch.load(io.BytesIO(data), weights_only=False)
    assert mark.exists()  # it does run where pickles are trusted
    mark.unlink()
    path.write_bytes(gzip.compress(data) if packed else data)
    refused(path, r"it names (posix|nt)\.system, which no known layout does; nothing was executed")
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    "builtins.eval builtins.getattr numpy.load numpy.core.multiarray.scalar subprocess.Popen torch.load "
    "torch.hub.load __main__.Other numpy.ndarray.tofile".split(),
)
def test_no_other_function_is_found(tmp_path, name):
    pickled = b"\x80\x02c" + "\n".join(name.rsplit(".", 1)).encode() + b"\nX\x01\x00\x00\x00x\x85R."
    (tmp_path / "0.pt").write_bytes(saved(0).replace(b"\x80\x02K\x00.", pickled))
    refused(tmp_path / "0.pt", rf"it names {name.removeprefix('builtins.')}, ")


@pytest.mark.parametrize("data", [bytes(24), "abc", None, [1, 2, 3]])
def test_an_array_of_objects_takes_no_addresses(data):
    """NumPy itself would take the bytes for addresses of objects if the dtype's flags say so."""
    dtype = foreign._DType("O8", False, True)
    dtype.__setstate__((3, "|", None, None, None, -1, -1, 0))
    array = foreign._Array()
    with pytest.raises(ValueError, match="objects that are not byte strings"):
        array.__setstate__((1, (3,), dtype, False, data))
    assert array.value is None


def zeros(*shape, **options):
    return torch.zeros(*shape, **options)


WRONG = {
    "a dict": ({"frames": 1, "poses": 2}, r"holds a dict of 2 \(frames, poses\), not \(frames, cameras\)"),
    "nothing": ([], "holds an empty list"),
    "numbers": ([1, 2, 3], "a list of 3, of which the first is a int"),
    "one of a list": ([(zeros(3, 16, 16, 3), zeros(3, 5)), 7], "a list of 2"),
    "seven numbers": ((zeros(3, 16, 16, 3), zeros(3, 7)), r"cameras float32 \(3, 7\): not 5 numbers"),
    "other cameras": ((zeros(4, 16, 16, 3), zeros(3, 5)), r"frames float32 \(4, 16, 16, 3\).*not K frames and K cam"),
    "no views": ((zeros(0, 16, 16, 3), zeros(0, 5)), "not K frames and K cameras"),
    "bytes of cameras": ((zeros(3, 16, 16, 3), zeros(3, 5, dtype=torch.uint8)), "K cameras of floats"),
    "grey": ((zeros(3, 16, 16, 1), zeros(3, 5)), "not JPEGs, "),
    "no images": ((zeros(3, 16), zeros(3, 5)), "not JPEGs, "),
    "floats to 255": ((zeros(3, 16, 16, 3) + 255, zeros(3, 5)), "floats from 255 to 255, not from 0 to 1"),
    "floats from -1": ((zeros(3, 16, 16, 3) - 1, zeros(3, 5)), "floats from -1 to -1, not from 0 to 1"),
    "no numbers": ((zeros(3, 16, 16, 3) * torch.nan, zeros(3, 5)), "floats from nan to nan"),
    "no place": ((zeros(3, 16, 16, 3), zeros(3, 5) + torch.inf), "camera is not finite"),
    "whole numbers": ((zeros(3, 16, 16, 3, dtype=torch.int64), zeros(3, 5)), "a tensor .* of int64"),
    "NumPy's, too": ((np.zeros((3, 16, 16, 3), int), np.zeros((3, 5))), "an array of another type"),
    "a view of one number": ((zeros(1).expand(3, 999, 999, 3), zeros(3, 5)), "first is a tensor"),
    "sparse": ((zeros(3, 16, 16, 3).to_sparse(), zeros(3, 5)), "first is a tensor"),
    "oblong": ((zeros(3, 16, 18, 3), zeros(3, 5)), "18x16 pixels, not equal squares"),
    "no pixels": ((zeros(3, 0, 0, 3), zeros(3, 5)), "0x0 pixels"),
    "enormous": ((zeros(1, 4097, 4097, 3, dtype=torch.uint8), zeros(1, 5)), "4097x4097 pixels"),
}


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_scene_is_named(tmp_path, what, archive):
    value, says = WRONG[what]
    (tmp_path / "0.pt").write_bytes(saved(value, archive))
    with pytest.raises(BadInput, match=says) as error:
        convert(tmp_path, NAME, tmp_path / "out", "train")
    assert "\n" not in str(error.value) and str(tmp_path / "0.pt") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_frames_must_be_equal_and_jpegs(tmp_path):
    small, large = (jpeg.encode(np.zeros((n, n, 3), np.uint8)) for n in (16, 32))
    for frames, says in (
        ([small, large], "frames of 16x16 and 32x32"),
        ([small, b"x"], "JPEG|header"),
        ([small, small[:-40]], ""),
    ):
        (tmp_path / "0.pt").write_bytes(saved(Scene(coded((frames, 0)), np.zeros((2, 5), np.float32))))
        with pytest.raises(BadInput, match=f"0.pt: scene 0: .*({says})"):
            convert(tmp_path, NAME, tmp_path / "out", "train")


def test_other_kinds_of_files_are_named(tmp_path):
    path = tmp_path / "0.pt.gz"
    for data, says in (
        (gzip.compress(b"<!doctype html><html>"), "not a file of scenes but a web page"),
        (gzip.compress(b""), "an empty file"),
        (b"", "an empty file"),
        (gzip.compress(bytes(99)), "of an unknown kind"),
        (framed(example.example(*made_record())), "a TFRecord file"),
    ):
        path.write_bytes(data)
        refused(path, says)
    path.unlink()
    path.mkdir()
    refused(path, "Is a directory")


def test_damaged_gzipped_records_are_named(tmp_path):
    path, good = tmp_path / "a.tfrecord.gz", framed(example.example(*made_record()))
    flipped = bytearray(good)
    flipped[-20] ^= 1
    for data, says in (
        (good + good[:-3], "record 1: the file ends within it"),
        (good + good[:7], "record 1: the file ends within it"),
        (good + bytes(flipped), "record 1: its content does not match its checksum"),
        (good + bytes(99), "record 1: its length does not match its checksum"),
        (good + framed(b"x"), "record 1: it is not a tf.train.Example"),
    ):
        path.write_bytes(gzip.compress(data))
        refused(path, says)
    path.write_bytes(gzip.compress(good)[:-20])
    refused(path, "cannot be unpacked to its end")


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "LARGEST", 2**21)
    (tmp_path / "bomb.pt.gz").write_bytes(gzip.compress(bytes(2**26)))
    (tmp_path / "large.pt").write_bytes(bytes(2**26))
    record = gzip.compress(framed(example.example(*made_record())) + bytes(2**26))
    (tmp_path / "bomb.tfrecord.gz").write_bytes(record)
    tracemalloc.start()
    try:
        refused(tmp_path / "bomb.pt.gz", "more than 0.00209715 GB when unpacked: too large")
        refused(tmp_path / "large.pt", "more than 0.00209715 GB: too large")
        refused(tmp_path / "bomb.tfrecord.gz", "record 1: its length")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_compressed_archive_is_refused(tmp_path):
    """torch would unpack it, to any size."""
    plain = zipfile.ZipFile(io.BytesIO(saved((zeros(3, 64, 64, 3), zeros(3, 5)), True)))
    with zipfile.ZipFile(tmp_path / "0.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    refused(tmp_path / "0.pt", "a compressed zip archive")


def outcome(path):
    try:
        return [(scene.side(), *scene.record()) for scene in foreign.scenes(path)]
    except BadInput as error:
        assert "\n" not in str(error)
        return None
    except ValueError:  # of `side`: a frame that is no JPEG, or is damaged
        return None


ANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEADS = [
    b"",
    b"\x80\x02",
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
    b"\x1f\x8b\x08",
    b"PK\x03\x04",
    saved(0)[:-15],
]


@ANY
@given(head=st.sampled_from(HEADS), data=st.binary(max_size=300), packed=st.booleans())
def test_any_bytes_are_refused(tmp_path, head, data, packed):
    (tmp_path / "0.pt").write_bytes(gzip.compress(head + data) if packed else head + data)
    assert outcome(tmp_path / "0.pt") is None


OPERATIONS = [bytes([code]) for code in b"()]}tRb\x81aesu\x85\x86\x87NQ"]
OPERANDS = [b"\x88", b"K\x05", b"K\xff", b"J\xff\xff\xff\x7f", b"q\x01", b"h\x01", b"X\x02\0\0\0O8", b"X\x02\0\0\0f4"]
FUNCTIONS = (
    "__main__ Scene/numpy dtype/numpy ndarray/numpy.core.multiarray _reconstruct/_codecs encode/torch FloatTensor/"
    "torch._utils _rebuild_tensor_v2/__builtin__ bytearray"
)
NAMES = [b"c" + name.replace(" ", "\n").encode() + b"\n" for name in FUNCTIONS.split("/")]
PICKLES = st.lists(st.sampled_from(OPERATIONS + OPERANDS + NAMES), max_size=40)


@ANY
@given(PICKLES)
def test_any_pickle_of_known_names_is_refused(tmp_path, parts):
    data = saved(0).replace(b"\x80\x02K\x00.", b"\x80\x02" + b"".join(parts) + b".")
    (tmp_path / "0.pt").write_bytes(data)
    assert outcome(tmp_path / "0.pt") is None


KEPT = ["named tuple with an axis", "list", "tensors", "floats"]


@ANY
@given(layout=st.sampled_from([*KEPT, "TFRecord"]), archive=st.booleans(), where=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tmp_path, layout, archive, where):
    data = framed(example.example(*made_record())) if layout == "TFRecord" else made(layout, archive)
    packed = gzip.compress(data, mtime=0)
    (tmp_path / "0.pt.gz").write_bytes(packed[: int(where * len(packed))])
    assert outcome(tmp_path / "0.pt.gz") is None
    (tmp_path / "0.pt").write_bytes(data[: int(where * len(data))])
    assert outcome(tmp_path / "0.pt") is None


@ANY
@given(
    layout=st.sampled_from([*KEPT, "TFRecord"]),
    form=st.sampled_from(["gzip", "gzip of zip", "zip"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_flipped_bit_gives_the_right_scenes_or_is_refused(tmp_path, layout, form, where, bit):
    path = tmp_path / "0.pt"
    if layout == "TFRecord":
        data = gzip.compress(framed(example.example(*made_record())), mtime=0)
    else:
        data = made(layout, archive="zip" in form)
        data = gzip.compress(data, mtime=0) if "gzip" in form else data
    path.write_bytes(data)
    right = outcome(path)
    assert right
    at, flipped = int(where * len(data)), bytearray(data)
    flipped[at] ^= 1 << bit
    path.write_bytes(flipped)
    there = outcome(path)
    assert there is None or all(a[0] == b[0] and same(a[1:], b[1:]) for a, b in zip(there, right, strict=True))


@ANY
@given(layout=st.sampled_from(KEPT), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_that_nothing_checks_raises_nothing_else(tmp_path, layout, where, bit):
    data = bytearray(made(layout))
    data[int(where * len(data))] ^= 1 << bit
    (tmp_path / "0.pt").write_bytes(data)
    outcome(tmp_path / "0.pt")


# The import.


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.tfrecord"))}


@pytest.fixture
def src(tmp_path):
    """12 training scenes and 2 held-out ones, a file each, so that 10 comes after 9."""
    for split, numbers in (("train", range(12)), ("test", range(50, 52))):
        (tmp_path / "src" / split).mkdir(parents=True)
        for i, number in enumerate(numbers):
            record = made_record(3, number)
            path = tmp_path / "src" / split / f"{i}.pt.gz"
            path.write_bytes(gzip.compress(saved(Scene(coded(record), record[1][None]))))
    return tmp_path / "src"


def checked(out, train=range(12), test=range(50, 52)):
    """The scenes written are those, in order, and are read as any dataset."""
    for split, numbers in (("train", train), ("test", test)):
        scenes = source(NAME, split, data=out)
        assert scenes.order == len(numbers) and scenes.image_size == 16
        assert all(same(scenes.coded(i, np.arange(3)), made_record(3, n)) for i, n in enumerate(numbers))


@pytest.mark.parametrize("workers", [0, 2])
def test_import_makes_a_dataset_and_counts(tmp_path, src, capsys, workers):
    command = ["data", "import", str(src), "--name", NAME, f"--out={tmp_path}/out", f"--workers={workers}"]
    assert main([*command, "--scenes-per-file=5"]) == 0
    said = capsys.readouterr()
    assert "14 scenes (12 of train and 2 of test), 42 views, 4 files\ndone: " in said.out and not said.err
    assert [*files_of(tmp_path / "out")] == [
        f"{NAME}/{name}.tfrecord" for name in ("test/1-of-1", "train/1-of-3", "train/2-of-3", "train/3-of-3")
    ]
    checked(tmp_path / "out")
    assert main(["data", "verify", "--workers=0", str(tmp_path / "out")]) == 0


def test_lists_and_records_are_cut_into_files_where_they_must(tmp_path):
    (tmp_path / "src/test").mkdir(parents=True)
    (tmp_path / "src/train").mkdir()
    for name, numbers in (("train/1-of-2-0", range(5)), ("train/1-of-2-1", range(5, 12)), ("test/0", range(50, 52))):
        scenes = [Scene(coded(r), r[1]) for r in (made_record(3, n) for n in numbers)]
        (tmp_path / "src" / f"{name}.pt.gz").write_bytes(gzip.compress(saved(scenes)))
        records = b"".join(framed(example.example(*made_record(3, n))) for n in numbers)
        (tmp_path / "records" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "records" / f"{name}.tfrecord.gz").write_bytes(gzip.compress(records))
    for per_file in (1, 3, 4, 20):
        for kind in ("src", "records"):
            out = tmp_path / f"{kind}-{per_file}"
            convert(tmp_path / kind, NAME, out, scenes_per_file=per_file)
            checked(out)
        assert files_of(tmp_path / f"src-{per_file}") == files_of(tmp_path / f"records-{per_file}")


def test_files_without_a_folder_are_of_the_split_that_is_given(tmp_path, src, capsys):
    shutil.copy(src / "test/0.pt.gz", src / "7.pt.gz")
    with pytest.raises(BadInput, match=r"7.pt.gz is in no folder train or test: say with `split`"):
        convert(src, NAME, tmp_path / "out")
    convert(src, NAME, tmp_path / "out", split="test")
    checked(tmp_path / "out", test=[50, 50, 51])
    convert(src / "7.pt.gz", NAME, tmp_path / "one", split="train")
    assert "holds one split: importing train alone" in capsys.readouterr().out
    assert same(tfrecord.scan(tmp_path / "one" / NAME / "train/1-of-1.tfrecord").scene(0), made_record(3, 50))


def test_a_file_that_is_there_twice_is_taken_once_and_hidden_ones_are_not(tmp_path, src, capsys):
    (src / "test/0.pt").write_bytes(gzip.decompress((src / "test/0.pt.gz").read_bytes()))
    (src / "test/.1.pt.gz").touch()
    (src / ".cache").mkdir()
    (src / ".cache/3.pt").touch()
    (src / "test/notes.txt").touch()
    (src / "test/1-of-1.tfrecord").touch()
    assert main(["data", "import", str(src), "--name", NAME, f"--out={tmp_path}/out", "--workers=0"]) == 0
    assert "left out: 1 files, gzipped that are there unpacked, too\n" in capsys.readouterr().out
    checked(tmp_path / "out")


def test_damaged_files_stop_it_or_are_left_out_and_counted(tmp_path, src, capsys):
    (src / "train/12.pt.gz").write_bytes((src / "train/3.pt.gz").read_bytes()[:-30])
    (src / "train/1x.pt").write_bytes(saved({}))
    (src / "train/1y.tfrecord.gz").write_bytes(gzip.compress(b""))
    command = ["data", "import", str(src), "--name", NAME, f"--out={tmp_path}/out", "--workers=0"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("gqn: ") and said.count("\n") == 1 and "--skip-damaged leaves such files out" in said
    assert not (tmp_path / "out").exists()
    for _ in range(2):
        assert main([*command, "--skip-damaged"]) == 0
        said = capsys.readouterr()
        assert said.err.count("left out: ") == said.err.count("\n") == 3
        assert "left out: 3 files, damaged\n" in said.out
        checked(tmp_path / "out")
    assert main(command) == 2  # without the flag they are not left out, although the files are there
    for path in src.rglob("*.pt.gz"):
        path.write_bytes(b"")
    with pytest.raises(BadInput, match="every file is damaged"):
        convert(src, NAME, tmp_path / "none", skip_damaged=True)


def test_scenes_that_differ_are_refused(tmp_path, src):
    record = made_record(4, 0)
    (src / "test/9.pt").write_bytes(saved(Scene(coded(record), record[1])))
    with pytest.raises(
        BadInput, match=r"3 views of 16 pixels in train/0.pt.gz, 4 views of 16 pixels in test/9.pt: imp"
    ):
        convert(src, NAME, tmp_path / "out", skip_damaged=True)
    (src / "test/9.pt").write_bytes(saved([(zeros(3, 16, 16, 3), zeros(3, 5)), (zeros(3, 32, 32, 3), zeros(3, 5))]))
    with pytest.raises(BadInput, match=r"3 views of 16 pixels in .*, 3 views of 32 pixels in test/9.pt"):
        convert(src, NAME, tmp_path / "out", skip_damaged=True)
    assert not (tmp_path / "out").exists()


def test_a_stopped_import_goes_on_and_looks_at_nothing_twice(tmp_path, src, monkeypatch):
    whole = files_of(convert(src, NAME, tmp_path / "whole", scenes_per_file=5).folder)
    payloads, left = conversion._payloads, iter(range(8))

    def stopped(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return payloads(*arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(conversion, "_payloads", stopped)
        convert(src, NAME, tmp_path / "out", scenes_per_file=5)
    folder = tmp_path / "out" / NAME
    assert {p.name for p in folder.rglob("*") if p.is_file()} == {"recipe.json", "imported.json", "1-of-3.tfrecord"}
    kept = (folder / "train/1-of-3.tfrecord").stat().st_mtime_ns
    monkeypatch.setattr(conversion._Look, "__getitem__", None)
    convert(src, NAME, tmp_path / "out", scenes_per_file=5)
    assert files_of(folder) == whole and (folder / "train/1-of-3.tfrecord").stat().st_mtime_ns == kept


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_leaves_whole_files_and_the_same_command_goes_on(tmp_path, src, capsys, workers):
    whole = files_of(convert(src, NAME, tmp_path / "whole", scenes_per_file=5).folder)
    command = ["data", "import", str(src), "--name", NAME, f"--out={tmp_path}/out", f"--workers={workers}"]
    command += ["--scenes-per-file=5"]
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(map(len, whole.values())) - 1, hard))
    try:
        assert main(command) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "of 4 files are whole: the same command goes on once it can" in said
    there = files_of(tmp_path / "out" / NAME)
    assert len(there) < 4 and all(whole[name] == data for name, data in there.items())
    assert main(command) == 0
    assert files_of(tmp_path / "out" / NAME) == whole


def test_other_files_options_and_folders_are_refused(tmp_path, src):
    out = tmp_path / "out"
    convert(src, NAME, out)
    with pytest.raises(BadInput, match="scenes per file is 2, was 5000"):
        convert(src, NAME, out, scenes_per_file=2)
    (src / "train/12.pt.gz").write_bytes((src / "train/0.pt.gz").read_bytes())
    with pytest.raises(BadInput, match=r"begun with other files than are in .*1 differ, such as train/12.pt.gz\)"):
        convert(src, NAME, out)
    (src / "train/12.pt.gz").unlink()
    convert(src, NAME, out)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cannot write .*File exists"):
        convert(src, NAME, tmp_path / "file")
    (tmp_path / "other" / NAME).mkdir(parents=True)
    (tmp_path / "other" / NAME / "thesis.tex").touch()
    with pytest.raises(BadInput, match="holds other data"):
        convert(src, NAME, tmp_path / "other")
    with pytest.raises(BadInput, match="Did you mean"):
        convert(src, NAME[:-1], tmp_path / "new")
    refused = r"another process holds .*: wait for it, or give another `out`"
    with files.alone(tmp_path / "held" / NAME), pytest.raises(BadInput, match=refused):
        convert(src, NAME, tmp_path / "held")


PAIR = b'{"train": [{"name": "a", "bytes": 1, "kinds": [[3, 16]]}]}'


@pytest.mark.parametrize("content", [b"", b"[[1, 2]]", b'{"train": [{"name": "a"}]}', PAIR, None])
def test_a_damaged_survey_is_made_again(tmp_path, src, content, capsys):
    convert(src, NAME, tmp_path / "out")
    survey = tmp_path / "out" / NAME / "imported.json"
    whole = survey.read_bytes()
    survey.write_bytes(whole.replace(b'"bytes": ', b'"bytes": 1', 1) if content is None else content)
    convert(src, NAME, tmp_path / "out")
    assert survey.read_bytes() == whole
    said = capsys.readouterr().err
    assert "imported.json is damaged" in said and said.rstrip().endswith(": looking at the files again")


def test_a_file_that_changed_since_it_was_counted_is_named(tmp_path, src):
    convert(src, NAME, tmp_path / "out", scenes_per_file=5)
    survey = tmp_path / "out" / NAME / "imported.json"
    looked = json.loads(survey.read_text())
    del looked["checksum"]
    looked["train"][3]["kinds"] = [[3, 16, 2]]
    looked["train"][4]["kinds"] = [[3, 16, 0]]
    survey.write_text(json.dumps(looked))
    (tmp_path / "out" / NAME / "train/1-of-3.tfrecord").unlink()
    with pytest.raises(BadInput, match=r"train/3\.pt\.gz changed while it was in use"):
        convert(src, NAME, tmp_path / "out", scenes_per_file=5)
    assert not (tmp_path / "out" / NAME / "train/1-of-3.tfrecord").exists()

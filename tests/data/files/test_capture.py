"""Scenes of photographs become a dataset of one's own, which trains, is measured and viewed like any other."""

import json
import math
import struct
import tomllib

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.data.files import capture, conversion, transforms
from gqn.data.files.capture import Options
from gqn.data.sources import source
from gqn.data.specification import as_toml, spec
from gqn.errors import BadInput
from gqn.viewer import protocol
from gqn.viewer.session import Session
from support import ASKED

SIDE, VIEWS = 48, 6
TURN = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # a source whose up is y


def looking(at, target, roll=0.0):
    """Camera to world (4, 4), axes x right, y up, z backward, z up in the world."""
    back = (at - target) / np.linalg.norm(at - target)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    c, s = math.cos(roll), math.sin(roll)
    matrix = np.eye(4)
    matrix[:3] = np.stack([c * right + s * up, c * up - s * right, back, at], 1)
    return matrix


def around(rng, views=VIEWS, middle=(5.0, -2.0, 1.0), distance=2.0):
    """Cameras around a place, held askew."""
    for _ in range(views):
        yaw, height = rng.uniform(0, 6.28), rng.uniform(0.3, 0.8)
        flat = math.sqrt(distance**2 - height**2)
        at = np.add(middle, [flat * math.cos(yaw), flat * math.sin(yaw), height])
        yield looking(at, np.array(middle), rng.uniform(-0.3, 0.3))


def a_scene(folder, seed=0, views=VIEWS, name="transforms.json", matrices=None, turn=None, images=(SIDE, SIDE)):
    """A folder with a transforms.json and its images, each of one colour."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, frames = np.random.default_rng(seed), []
    for k, matrix in enumerate(matrices or around(rng, views)):
        file = f"{name[:-5]}-{k}.png"
        Image.new("RGB", images, tuple(rng.integers(256, size=3).tolist())).save(folder / file)
        if turn is not None:
            matrix = np.block([[turn.T @ matrix[:3, :3], (turn.T @ matrix[:3, 3])[:, None]], [np.zeros((1, 3)), 1]])
        frames.append({"file_path": file, "transform_matrix": matrix.tolist()})
    (folder / name).write_text(json.dumps({"camera_angle_x": 0.9, "frames": frames}))
    return folder


def imported(src, out, split=None, **options):
    return capture.convert(src, "mine", out, Options(**({"image_size": 16} | options)), split)


def read(out, split="train"):
    scenes = source("mine", split, data=out)
    return [scenes.views(i, np.arange(scenes.num_views)) for i in range(len(scenes))]


@pytest.fixture
def scenes(tmp_path):
    """A folder with eleven scenes."""
    for i in range(11):
        a_scene(tmp_path / "photos" / f"s{i:02}", i, VIEWS + i % 2)
    return tmp_path / "photos"


def test_scenes_are_around_the_origin_and_split(scenes, tmp_path):
    folder = imported(scenes, tmp_path / "out")
    row, views = spec("mine", tmp_path / "out"), read(tmp_path / "out")
    assert len(views) == 9 and len(read(tmp_path / "out", "test")) == 2
    assert row.num_views == VIEWS and row.image_size == 16
    cameras = views[0].cameras
    assert cameras.fov == row.filmed.fov and not cameras.convention.clockwise
    assert torch.allclose(cameras.position().norm(dim=1), torch.ones(VIEWS), atol=1e-4)
    assert torch.allclose(cameras.matrix()[:, :3, 2], -cameras.position(), atol=1e-4)
    assert row.options["circle"][0] ** 2 + row.options["circle"][1] ** 2 == pytest.approx(1, abs=0.02)
    assert row.region == pytest.approx([math.tan(math.radians(row.filmed.fov) / 2)] * 3, abs=1e-3)
    assert tomllib.loads((folder / "dataset.toml").read_text())["unit"] == pytest.approx(2, abs=1e-4)


def test_the_index_says_which_photograph_a_view_was_and_where(scenes, tmp_path):
    listed = json.loads((imported(scenes, tmp_path / "out") / "scenes.json").read_text())["train"][3]
    views = read(tmp_path / "out")[3]
    said = json.loads((scenes / listed["name"] / "transforms.json").read_text())["frames"]
    places = {f"{listed['name']}/{frame['file_path']}": frame["transform_matrix"] for frame in said}
    for k, name in enumerate(listed["views"][:VIEWS]):
        there = (np.array(listed["turn"]) @ np.array(places[name])[:3, 3] - listed["centre"]) / listed["unit"]
        assert views.cameras.position()[k].numpy() == pytest.approx(there, abs=1e-5)
        colour = np.asarray(Image.open(scenes / name))[0, 0]
        assert np.abs(views.frames[k].float().mean((1, 2)).numpy() - colour).max() < 6


def test_the_same_command_goes_on_and_another_is_refused(scenes, tmp_path):
    folder = imported(scenes, tmp_path / "out")
    files = {path: path.read_bytes() for path in folder.rglob("*.tfrecord")}
    next(iter(files)).unlink()
    imported(scenes, tmp_path / "out")
    assert {path: path.read_bytes() for path in folder.rglob("*.tfrecord")} == files
    with pytest.raises(BadInput, match="holds files of another recipe"):
        imported(scenes, tmp_path / "out", fov=20.0)


@pytest.mark.parametrize(("up", "turn"), [("y", TURN), ("cameras", TURN), ("z", None), ("cameras", None)])
def test_up_is_turned_to_z(tmp_path, up, turn):
    a_scene(tmp_path / "s", views=40, turn=turn)
    imported(tmp_path / "s", tmp_path / "out", up=up)
    z = torch.cat([v.cameras.position()[:, 2] for v in read(tmp_path / "out")])
    tolerance = 0.2 if up == "cameras" else 0.01
    assert 0.15 - tolerance < z.min() and z.max() < 0.4 + tolerance


def test_a_wrong_up_is_said(tmp_path, capsys):
    a_scene(tmp_path / "s", turn=TURN)
    imported(tmp_path / "s", tmp_path / "out")
    assert "the cameras lie on their sides if z is up" in capsys.readouterr().err


def test_scenes_share_coordinates_unless_each_has_its_own(tmp_path):
    """Two scenes, the second twice as far from its middle and elsewhere."""
    a_scene(tmp_path / "p" / "a")
    a_scene(tmp_path / "p" / "b", matrices=list(around(np.random.default_rng(1), middle=(1, 1, 1), distance=4.0)))
    imported(tmp_path / "p", tmp_path / "own", "train", frame="scene")
    imported(tmp_path / "p", tmp_path / "one", "train", frame="dataset", centre=(0, 0, 0))
    for views in read(tmp_path / "own"):
        assert torch.allclose(views.cameras.position().norm(dim=1), torch.ones(VIEWS), atol=1e-4)
    unit = tomllib.loads((tmp_path / "one" / "mine" / "dataset.toml").read_text())["unit"]
    far = torch.cat([views.cameras.position() for views in read(tmp_path / "one")])
    assert far.norm(dim=1).mean().item() == pytest.approx(1, abs=1e-4)
    middle = far.view(2, VIEWS, 3)[1] * unit - torch.tensor([1.0, 1, 1])
    assert torch.allclose(middle.norm(dim=1), torch.full((VIEWS,), 4.0), atol=1e-3)


def test_what_nerfstudio_made_of_colmaps_models_is_as_loose_as_these(tmp_path):
    for name in "ab":
        path = a_scene(tmp_path / "p" / name, ord(name), turn=TURN if name == "a" else None) / "transforms.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"applied_transform": []}))
    imported(tmp_path / "p", tmp_path / "out", "train")
    for views in read(tmp_path / "out"):
        assert torch.allclose(views.cameras.position().norm(dim=1), torch.ones(VIEWS), atol=1e-4)
        assert (views.cameras.position()[:, 2] > -0.1).all()


def test_cameras_that_look_outward_walk(tmp_path):
    rng = np.random.default_rng(0)
    at = [np.array([*rng.uniform(-1, 1, 2), 0.5]) for _ in range(VIEWS)]
    out = [looking(p, np.add(p, [math.cos(k), math.sin(k), 0.1])) for k, p in enumerate(at)]
    a_scene(tmp_path / "s", matrices=out)
    imported(tmp_path / "s", tmp_path / "out", "train")
    row = spec("mine", tmp_path / "out")
    position = read(tmp_path / "out")[0].cameras.position()
    assert "circle" not in row.options
    assert torch.allclose(position.mean(0), torch.zeros(3), atol=1e-5)
    assert (position.abs() < torch.tensor(row.region)).all()


def test_one_scene_alone_is_split_by_its_views(tmp_path):
    a_scene(tmp_path / "s", views=24)
    imported(tmp_path / "s", tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "mine" / "scenes.json").read_text())
    parts = [set(listed[which][0]["views"]) for which in ("train", "test")]
    assert [len(part) for part in parts] == [21, 3] and not set.intersection(*parts)
    assert spec("mine", tmp_path / "out").num_views == 3


def test_parts_of_one_scene_are_its_splits_and_of_many_scenes_its_views(tmp_path):
    for part, views in (("train", 8), ("val", 3), ("test", 4)):
        a_scene(tmp_path / "one", 0, views, f"transforms_{part}.json")
    imported(tmp_path / "one", tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "mine" / "scenes.json").read_text())
    assert [len(listed[which][0]["views"]) for which in ("train", "test")] == [11, 4]
    for name in "abc":
        for part in ("train", "test"):
            a_scene(tmp_path / "many" / name, 0, 4, f"transforms_{part}.json")
    imported(tmp_path / "many", tmp_path / "all")
    listed = json.loads((tmp_path / "all" / "mine" / "scenes.json").read_text())
    assert [[len(s["views"]) for s in listed[which]] for which in ("train", "test")] == [[8, 8], [8]]


def test_folders_train_and_test_are_the_splits(tmp_path):
    for name in ("train/a", "test/b", "train/c"):
        a_scene(tmp_path / "p" / name)
    imported(tmp_path / "p", tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "mine" / "scenes.json").read_text())
    assert [[s["name"] for s in listed[which]] for which in ("train", "test")] == [["train/a", "train/c"], ["test/b"]]


def test_photographs_that_show_too_little_are_left_out(tmp_path, capsys):
    a_scene(tmp_path / "p" / "a")
    a_scene(tmp_path / "p" / "b", images=(SIDE, SIDE // 2))
    imported(tmp_path / "p", tmp_path / "out", "train", fov=30.0)
    assert "left out: 6 photographs" in capsys.readouterr().out
    assert len(read(tmp_path / "out")) == 1
    with pytest.raises(BadInput, match="no photograph shows 140 degrees"):
        imported(tmp_path / "p", tmp_path / "none", fov=140.0)
    with pytest.raises(BadInput, match="no scene has 9 views; the largest has 6"):
        imported(tmp_path / "p", tmp_path / "none", views=9)


def a_model(folder, rng, scale):
    """A scene with a model of COLMAP's: world turned and scaled at random, and points in a box."""
    (folder / "images").mkdir(parents=True)
    (folder / "sparse" / "0").mkdir(parents=True)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    lines = []
    for k, matrix in enumerate(around(rng, 24)):
        Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(folder / "images" / f"{k}.png")
        to_world = turn @ matrix[:3, :3] @ np.diag([1, -1, -1])
        w = math.sqrt(max(0, 1 + np.trace(to_world.T))) / 2
        r = to_world.T
        q = np.array([w, (r[2, 1] - r[1, 2]) / 4 / w, (r[0, 2] - r[2, 0]) / 4 / w, (r[1, 0] - r[0, 1]) / 4 / w])
        shift = -to_world.T @ (turn @ matrix[:3, 3] * scale)
        lines += [f"{k + 1} {' '.join(map(str, [*q, *shift]))} 1 {k}.png", ""]
    model = folder / "sparse" / "0"
    (model / "images.txt").write_text("\n".join(lines))
    (model / "cameras.txt").write_text(f"1 PINHOLE {SIDE} {SIDE} 50 50 {SIDE / 2} {SIDE / 2}\n")
    points = (rng.uniform(-1, 1, (500, 3)) * [0.5, 0.5, 0.3] + [5.0, -2.0, 1.0]) @ turn.T * scale
    body = b"".join(struct.pack("<Q3d3BdQ", i, *p, 0, 0, 0, 0.0, 0) for i, p in enumerate(points))
    (model / "points3D.bin").write_bytes(struct.pack("<Q", len(points)) + body)


def test_colmaps_worlds_are_turned_and_scaled_alike(tmp_path):
    rng = np.random.default_rng(0)
    for name, scale in (("a", 0.3), ("b", 7.0)):
        a_model(tmp_path / "p" / name, rng, scale)
    imported(tmp_path / "p", tmp_path / "out", "train")
    row = spec("mine", tmp_path / "out")
    assert row.region == pytest.approx([0.25, 0.25, 0.15], abs=0.05)
    for views in read(tmp_path / "out"):
        position = views.cameras.position()
        assert torch.allclose(position.norm(dim=1), torch.ones(24), atol=1e-3)
        assert (position[:, 2] > 0).all() and (position[:, 2] < 0.55).all()


def test_scenes_whose_names_are_numbers_are_scenes_each(tmp_path):
    rng = np.random.default_rng(0)
    for name in "12":
        a_model(tmp_path / "p" / name, rng, 1.0)
        for file in (tmp_path / "p" / name / "sparse" / "0").iterdir():
            file.rename(tmp_path / "p" / name / file.name)
    assert len(capture.found(tmp_path / "p")) == 2
    imported(tmp_path / "p", tmp_path / "out", "train")
    assert len(read(tmp_path / "out")) == 2


def test_a_transforms_json_is_taken_before_the_model_that_it_was_made_of(tmp_path):
    a_model(tmp_path / "s" / "colmap", np.random.default_rng(0), 1.0)
    a_scene(tmp_path / "s")
    assert [kind for kind, _ in capture.found(tmp_path / "s")] == ["transforms.json"]
    (tmp_path / "s" / "transforms.json").unlink()
    assert [kind for kind, _ in capture.found(tmp_path / "s")] == ["images"]


WRONG = {
    "no list `frames`": lambda said: said | {"frames": []},
    "frame 2: transform_matrix is missing": lambda said: said["frames"][2].pop("transform_matrix") and said,
    "frame 1: transform_matrix holds no rotation": lambda said: _with(said, 1, np.diag([1, 1, -1, 1.0]).tolist()),
    "frame 0: transform_matrix must be 4 x 4": lambda said: _with(said, 0, [[1, 2], [3, 4]]),
    "camera_model 'EQUIRECTANGULAR' is not known": lambda said: said | {"camera_model": "EQUIRECTANGULAR"},
    "has 48x48 pixels, which is no scaled 64x40": lambda said: said | {"w": 64, "h": 40},
    "the lens is not one": lambda said: said | {"fl_x": -3},
    "frame 0: camera_angle_x is missing": lambda said: {"frames": said["frames"]},
    "there is no image": lambda said: said | {"frames": [said["frames"][0] | {"file_path": "gone.png"}]},
}


def _with(said, frame, matrix):
    said["frames"][frame]["transform_matrix"] = matrix
    return said


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_in_a_transforms_json_is_named(tmp_path, message):
    path = a_scene(tmp_path / "s") / "transforms.json"
    path.write_text(json.dumps(WRONG[message](json.loads(path.read_text()))))
    with pytest.raises(BadInput) as error:
        transforms.photos(path)
    assert message in str(error.value) and "\n" not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@example(value=False, key="camera_angle_x")
@given(value=JSON, key=st.sampled_from(["frames", "camera_angle_x", "w", "fl_x", "k1", "camera_model", "cx"]))
@settings(max_examples=60, deadline=None)
def test_any_value_in_a_transforms_json_is_used_or_named(tmp_path_factory, value, key):
    path = a_scene(tmp_path_factory.mktemp("t") / "s", views=2) / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    try:
        found, _ = transforms.photos(path)
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert all(np.isfinite(photo.pose()).all() and photo.fov() >= 0 for photo in found)


def test_the_lens_of_a_frame_goes_before_that_of_all(tmp_path):
    path = a_scene(tmp_path / "s") / "transforms.json"
    said = json.loads(path.read_text()) | {"fl_x": 50, "fl_y": 60, "cx": 20, "cy": 22, "k1": 0.1, "p2": 0.2}
    said["frames"][1] |= {"fl_x": 70, "camera_model": "OPENCV_FISHEYE"}
    path.write_text(json.dumps(said))
    first, second = (photo.lens for photo in transforms.photos(path)[0][:2])
    assert (first.focal, first.middle, first.radial) == ((50, 60), (20, 22), (0.1, 0, 0))
    assert first.tangential == (0, 0.2) and not first.fisheye
    assert second.focal == (70, 60) and second.fisheye


def said_of(capsys, *argv):
    """Exit status, and the last line."""
    status = main(list(map(str, argv)))
    told = capsys.readouterr()
    return status, (told.err + told.out).strip().splitlines()[-1]


def viewed(run):
    """The viewer shows the scenes of the run's files, lets the camera go around, and draws an orbit."""
    session = Session("mine", *checkpoint.load(run))
    assert session.datasets == ["mine"]

    def answers(**values):
        return list(session(protocol.question(json.dumps(ASKED | {"dataset": "mine", "context": [0, 1]} | values))))

    ((numbers, _),) = answers(about="scene", camera=0)
    assert numbers["motion"] == "around" and not numbers["clockwise"] and not numbers["above"]
    x, y, z, yaw, _ = numbers["poses"][2]
    ((numbers, parts),) = answers(about="view", camera=[x, y, z, yaw + 0.5, 0.0])
    assert numbers["pose"][3] == pytest.approx(yaw + 0.5) and "truth" not in parts
    assert "truth" in answers(about="view", camera=2)[0][1]
    assert answers(about="orbit", camera=0)[-1][0]["name"] == f"mine-{ASKED['scene']}.webp"


def test_scenes_of_ones_own_train_and_are_measured_shown_and_described(scenes, tmp_path, capsys, monkeypatch):
    """From photographs to a model's card by the commands that a user types, without a mention of the data after."""
    monkeypatch.chdir(tmp_path)
    assert main(["data", "import", "photos", "--name", "mine", "--out", "data", "--workers", "0"]) == 0
    tiny = ["--representation-maps", "8", "--num-recurrent-maps", "4", "--num-canvas-maps", "4", "--image-size", "16"]
    tiny += ["-t", "16", "-v", "2", "-f", "8", "-b", "4", "-c", "2"]
    assert main(["train", "fast", "-d", "mine", "--data", "data", "--workers", "0", *tiny]) == 0
    run = "log/fast-mine-16px"
    assert main(["eval", run, "--scenes", "2", "--samples", "1", "--context", "1"]) == 0
    assert main(["figure", "predictions", run]) == 0
    assert main(["export", run, "--to", "safetensors", "--out", "shared"]) == 0
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "`mine`" in card and "It is a dataset of one's own: square images of" in card
    assert main(["eval", "shared", "--data", "data", "--scenes", "2", "--samples", "1", "--context", "1"]) == 0
    assert main(["data", "export", "mine", "--data", "data", "--out", "small", "--views", "4"]) == 0
    assert spec("mine", "small").num_views == 4
    viewed(tmp_path / run)
    capsys.readouterr()
    status, line = said_of(capsys, "figure", "orbit", run)
    assert status == 2 and line.startswith("gqn: here the camera moves freely, and nothing renders mine")
    (tmp_path / "data").rename(tmp_path / "moved")
    status, line = said_of(capsys, "figure", "predictions", run)
    assert status == 2 and "with mine, a dataset of your own: --data says where it is now" in line
    assert main(["figure", "predictions", run, "--data", "moved"]) == 0


def test_wrong_calls_say_one_line(scenes, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    for argv, line in (
        (["data", "import", scenes, "--name", "jaco", *out], "jaco is the name of a released dataset: give"),
        (
            ["data", "import", scenes, "--name", "m", "--fov", "200", *out],
            "--fov is between 0 and 150 degrees, not 200",
        ),
        (["data", "import", scenes, "--name", "m", "--region", "1", "0", "1", *out], "--region holds three half"),
        (["data", "import", scenes, "--name", "m", "--test-scenes", "11", *out], "11 held-out scenes leave none of 11"),
        (["train", "fast", "-d", "mine", "--dry-run"], "A dataset of your own needs --data"),
        (["train", "fast", "-d", "mine", "--data", scenes, "--dry-run"], "There is no dataset.toml in"),
    ):
        status, said = said_of(capsys, *argv)
        assert status == 2 and line in said, said
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.pt").write_bytes(b"x")
    status, said = said_of(capsys, "data", "import", tmp_path / "theirs", "--name", "jaco", "--up", "y", *out)
    assert status == 2 and "holds no transforms.json and no model of COLMAP's: leave --up away" in said


def test_other_ports_files_become_scenes_of_ones_own_beside_a_dataset_toml(tmp_path):
    (tmp_path / "theirs").mkdir()
    scene = (torch.zeros(4, 16, 16, 3, dtype=torch.uint8), torch.zeros(4, 5))
    torch.save([scene], tmp_path / "theirs" / "a.pt")
    (tmp_path / "out" / "mine").mkdir(parents=True)
    text = as_toml({"name": "mine", "fov": 40, "views": 4, "size": 16, "region": [1, 1, 1]})
    (tmp_path / "out" / "mine" / "dataset.toml").write_text(text)
    conversion.convert(tmp_path / "theirs", "mine", tmp_path / "out", "train")
    assert read(tmp_path / "out")[0].cameras.fov == 40
    assert (tmp_path / "out" / "mine" / "dataset.toml").read_text() == text

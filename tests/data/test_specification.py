"""The table of datasets says of each what its scene family can do, and no more."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from gqn.data.sources import family_of, moves_of
from gqn.data.specification import ABILITIES, DATASETS, as_toml, check, check_size, spec
from gqn.errors import BadInput
from gqn.views import Convention


@pytest.mark.parametrize("name", DATASETS)
def test_what_can_be_asked_for_is_what_the_family_can(name):
    family = family_of(spec(name))
    fields = {field.name for field in dataclasses.fields(family)}
    can = {option for option in ("max_objects", "hold_out") if option in fields}
    can |= {"query"} if hasattr(family, "overhead") else set()
    assert ABILITIES.get(spec(name).family, set()) == can
    for option, asked in {"query": ("overhead", 0, False), "max_objects": ("view", 1, False)}.items():
        if option in can:
            check(name, spec(name), *asked)
        else:
            with pytest.raises(BadInput, match=f"{name} has no .*: leave `{option}` away"):
                check(name, spec(name), *asked)


def test_names_and_sizes():
    with pytest.raises(BadInput, match=r"unknown dataset 'jacko'. Did you mean 'jaco'\?"):
        spec("jacko")
    for size in (16, 64, 84):
        check_size(size)
    for size in (0, 12, 30, -16):
        with pytest.raises(BadInput, match="`image_size` must be a multiple of 4"):
            check_size(size)


OWN = {"name": "mine", "fov": 40, "views": 5, "size": 32, "region": [1, 0.5, 0.25]}


def own(folder, **values):
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine" / "dataset.toml").write_text(as_toml(OWN | values))
    return folder


def test_the_file_beside_scenes_says_what_they_are(tmp_path):
    row = spec("mine", own(tmp_path, clockwise=True, unit=2, eye=0.5, orbit=[1.5, 0.2]))
    assert (row.num_views, row.image_size, row.max_context, row.region) == (5, 32, 4, (1.0, 0.5, 0.25))
    assert row.filmed.convention == Convention(clockwise=True, eye=0.25) and row.filmed.fov == 40
    assert moves_of(row).motion == "around" and moves_of(spec("mine", own(tmp_path))).motion == "walk"
    assert spec("mine", tmp_path / "mine") == spec("mine", tmp_path)
    assert not spec("mine", own(tmp_path)).filmed.clockwise


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"fov": 180}, "fov is between 0 and 180 degrees, not 180"),
        ({"fov": "wide"}, "fov must be a float, not 'wide'"),
        ({"region": [1, 1]}, r"region must be 3 numbers, not \[1, 1\]"),
        ({"region": [1, 1, 0]}, "region holds three half extents"),
        ({"orbit": [0, 1]}, "orbit a radius and z: give positive"),
        ({"views": 1}, "a scene needs at least 2 views, not 1"),
        ({"views": True}, "views must be a int, not True"),
        ({"unit": 0}, "unit must be positive"),
        ({"size": 30}, "must be a multiple of 4"),
        ({"name": "other"}, "is of the dataset other, and not of mine"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, values, says):
    with pytest.raises(BadInput, match=says):
        spec("mine", own(tmp_path, **values))


def test_a_file_that_is_missing_or_no_such_file_is_named(tmp_path):
    path = own(tmp_path) / "mine" / "dataset.toml"
    for text, says in (
        ("fov = ", "is damaged"),
        ("size = 32", "name is missing"),
        ("fox = 3", "unknown key 'fox'"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=says):
            spec("mine", tmp_path)
    path.unlink()
    with pytest.raises(BadInput, match=r"There is no dataset\.toml in"):
        spec("mine", tmp_path)
    with pytest.raises(BadInput, match=r"there is no folder .*gone with mine"):
        spec("mine", tmp_path / "gone")
    with pytest.raises(BadInput, match="Did you mean 'mazes'"):
        spec("mazs")


def test_a_circle_looks_at_the_middle_and_drags_keep_doing_so(tmp_path):
    moves = moves_of(spec("mine", own(tmp_path, orbit=[1.5, 0.2], eye=0.1)))
    circle = moves.orbit(None, 7)
    position = circle.position()
    assert torch.allclose(position[:, :2].norm(dim=1), torch.full((7,), 1.5)) and circle.fov == 40
    assert torch.allclose(position[:, 2], torch.full((7,), 0.3))
    assert torch.allclose(circle.matrix()[:, :3, 2], -position / position.norm(dim=1, keepdim=True), atol=1e-6)
    moved = moves.allowed(None, replace(circle, pose=circle.pose + torch.tensor([0, 0, 0.3, 0.4, 1.0])))
    assert torch.allclose(moved.pose[:, 3], circle.pose[:, 3] + 0.4)
    position = moved.position()
    assert torch.allclose(position[:, :2].norm(dim=1), torch.full((7,), 1.5), atol=1e-6)
    assert torch.allclose(moved.matrix()[:, :3, 2], -position / position.norm(dim=1, keepdim=True), atol=1e-6)
    walk = moves_of(spec("mine", own(tmp_path)))
    assert torch.equal(walk.allowed(None, circle).pose, circle.pose)
    assert torch.equal(walk.orbit(None, 3).pose[:, :3], torch.zeros(3, 3))

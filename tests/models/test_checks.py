"""What models refuse to answer, and what they warn of: every model alike, loaded ones and others."""

import copy
import math
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import gqn
from gqn.artifacts import checkpoint, trained
from gqn.cli.main import main
from gqn.data.sources import family_of, source
from gqn.data.specification import DATASETS, spec
from gqn.data.tasks import rng
from gqn.errors import BadInput, Unfamiliar
from gqn.models import checks
from gqn.models.baselines import constant, nearest
from gqn.views import Convention, Views, stack
from support import TOY, made_run, made_up

MODELS = {
    "gqn": lambda: checkpoint.build(TOY),
    "nearest": nearest,
    "mean-image": lambda: constant(torch.rand(3, 16, 16)),
}
TASK = made_up(queries=2)
CONTEXT, QUERY = TASK.context, TASK.query


def ask(model, context=CONTEXT, query=QUERY):
    """All three verbs; the answers of the last two."""
    [drawn] = model.sample(model.represent(context), query.cameras, torch.Generator().manual_seed(0))
    noise = model.noise(*query.frames.shape[:2], torch.Generator().manual_seed(0))
    return drawn, model(context, query, 1.0, noise).image.mean[0]


def posed(views, function):
    return replace(views, cameras=replace(views.cameras, pose=function(views.cameras.pose)))


def refused(says, act):
    with pytest.raises(BadInput, match=says) as error:
        act()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_shapes_are_checked_always(make):
    for model in (make(), make().eval()):
        r = model.represent(CONTEXT)
        for bad, says in (
            (
                CONTEXT[0],
                r"context frames are \(scenes, views, 3, height, width\), not \(3, 3, 16, 16\): views\[None\]",
            ),
            (CONTEXT[None], r"not \(1, 2, 3, 3, 16, 16\)$"),
            (CONTEXT[:, :0], "the context is empty: give at least one view"),
            (CONTEXT.frames, r"must be Views\(frames, cameras\), not Tensor"),
        ):
            refused(says, lambda bad=bad, model=model: model.represent(bad))
            refused(says, lambda bad=bad, model=model: model(bad, QUERY, 1.0))
        for bad, says in (
            (QUERY.cameras[0], r"query cameras are \(scenes, queries, 5\), not \(2, 5\): cameras\[None\]"),
            (QUERY.cameras[None], r"not \(1, 2, 2, 5\)$"),
            (QUERY.cameras[:1], "the context is of 2 scenes and the query of 1"),
            (QUERY, "not of Views: give its .cameras"),
            (QUERY.cameras.pose, r"not of Tensor: give Cameras\(pose, fov\)"),
        ):
            refused(says, lambda bad=bad, model=model, r=r: model.sample(r, bad))
        refused("query frames are", lambda model=model: model(CONTEXT, QUERY[0], 1.0))
        refused("of 2 scenes and the query of 1", lambda model=model: model(CONTEXT, QUERY[:1], 1.0))
        refused("of 1 scenes and the query of 2", lambda model=model: model(CONTEXT[:1], QUERY, 1.0))


def test_a_gqn_knows_its_image_size_its_device_and_a_representation():
    model, other = checkpoint.build(TOY), made_up(queries=2, size=32)
    refused(
        r"context frames have 32 x 32 .* takes 16 x 16: views.resized\(16\)", lambda: model.represent(other.context)
    )
    refused("query frames have 32 x 32 pixels", lambda: model(CONTEXT, other.query, 1.0))
    ask(model, other.context.resized(16), other.query.resized(16))
    refused("context frames are on meta and the model on cpu: .to", lambda: model.represent(CONTEXT.to("meta")))
    mixed = replace(CONTEXT, cameras=CONTEXT.cameras.to("meta"))
    refused("context cameras are on meta", lambda: model.represent(mixed))
    refused("query cameras are on meta", lambda: model.sample(model.represent(CONTEXT), QUERY.cameras.to("meta")))
    for draw in (model.sample, model.steps):
        refused(r"what represent\(\) gives, and not Views", lambda draw=draw: draw(CONTEXT, QUERY.cameras))
        refused("query cameras are", lambda draw=draw: draw(model.represent(CONTEXT), QUERY.cameras[0]))


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_numbers_are_converted(make):
    """Stored frames are those of 0 to 255; arrays of NumPy are float64."""
    model = make().eval()
    context, query = (replace(v, frames=(255 * v.frames).byte()) for v in (CONTEXT, QUERY))
    expected = ask(model, context.float(), query.float())
    doubles = [
        posed(replace(v.float(), frames=v.float().frames.double()), torch.Tensor.double) for v in (context, query)
    ]
    for given in ((context, query), doubles):
        for a, b in zip(ask(model, *given), expected, strict=True):
            torch.testing.assert_close(a, b)
            assert a.dtype == torch.float32


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_values_are_checked_in_eval_mode_alone(make):
    scale = torch.ones(5)
    scale[4] = math.nan
    bad_frames = [
        (replace(CONTEXT, frames=255 * CONTEXT.frames), "frames: values are from 0"),
        (replace(CONTEXT, frames=2 * CONTEXT.frames - 1), "frames: values are from -"),
        (replace(CONTEXT, frames=CONTEXT.frames / 0 * 0), "frames: some values are not numbers"),
        (posed(CONTEXT, lambda p: p * scale), "not finite"),
        (posed(CONTEXT, lambda p: p / 0), "not finite"),
    ]
    model = make()
    for bad, _ in bad_frames:  # a step of training never waits to look
        ask(model.train(), bad)
        model(CONTEXT, bad, 1.0)
    model.eval()
    for bad, says in bad_frames:
        refused(f"context.*{says}|{says}", lambda bad=bad: model.represent(bad))
        refused(f"query.*{says}|{says}", lambda bad=bad: model(CONTEXT, bad, 1.0))
    r = model.represent(CONTEXT)
    refused("poses of the query .* not finite", lambda: model.sample(r, bad_frames[-1][0].cameras))


# What is loaded knows what it was trained on


@pytest.fixture
def loaded(tmp_path):
    return checkpoint.load(made_run(tmp_path / "toy"))[1]


def scaled(by):
    return lambda pose: torch.cat([pose[..., :3] * by, pose[..., 3:]], -1)


def in_degrees(pose):
    return torch.cat([pose[..., :3], pose[..., 3:].rad2deg()], -1)


def seen_with(fov):
    return lambda views: replace(views, cameras=replace(views.cameras, fov=fov))


WRONG = {
    "fov": (seen_with(50.0), ["toy was trained with other context cameras: a field of view of 20.15 degrees, not 50"]),
    "narrow": (seen_with(19.0), ["not 19"]),
    "far": (lambda v: posed(v, scaled(10)), ["a distance from the origin of 3.333, not 33.33"]),
    "near": (lambda v: posed(v, scaled(0.3)), ["a distance from the origin of 3.333, not 1."]),
    "a little": (lambda v: posed(v, scaled(1.05)), ["a distance from the origin of 3.333, not 3.5."]),
    "degrees": (lambda v: posed(v, in_degrees), ["a pitch of -1.539 to 1.539 radians, not ", "a yaw of 0 to 6.22"]),
    "away": (
        lambda v: posed(v, lambda p: p * torch.tensor([1, 1, 1, 1, -1]) + torch.tensor([0, 0, 0, math.pi, 0])),
        ["a distance of the line of sight from the origin of 0, not 3.333"],
    ),
    "signs": (
        lambda v: posed(v, lambda p: p * torch.tensor([1, 1, 1, -1, 1])),
        ["a distance of the line of sight from the origin of 0, not "],
    ),
}


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_other_cameras_warn_once(loaded, change, says):
    """Whether the context is off, the query, or both, and however often; what is answered is the same."""
    context, query = change(CONTEXT), change(QUERY)
    with pytest.warns(Unfamiliar) as warned:
        for _ in range(3):
            drawn, _ = ask(loaded, context, query)
    assert len(warned) == 1
    assert all(text in str(warned[0].message) for text in says) and "\n" not in str(warned[0].message)
    assert warned[0].filename == __file__  # where it was asked
    torch.testing.assert_close(drawn, ask(checkpoint.build(TOY), context, query)[0])
    loaded.trained_on.told.clear()
    r = loaded.represent(CONTEXT)
    with pytest.warns(Unfamiliar, match="other query cameras") as warned:
        for _ in range(3):
            loaded.sample(r, query.cameras)
    assert len(warned) == 1 and warned[0].filename == __file__


def test_another_mistake_warns_again(loaded):
    for change, says in (WRONG["fov"], WRONG["far"], WRONG["signs"]):
        with pytest.warns(Unfamiliar) as warned:
            ask(loaded, change(CONTEXT), change(QUERY))
        assert len(warned) == 1 and says[-1].split(": ")[-1] in str(warned[0].message)


def test_training_is_not_warned_and_no_value_looked_at(loaded):
    """On the device meta there are none."""
    ask(loaded.train(), posed(CONTEXT, scaled(10)))
    assert not loaded.trained_on.told
    model = constant(torch.zeros(3, 16, 16, device="meta"))
    model.trained_on = loaded.trained_on
    assert ask(model, CONTEXT.to("meta"), QUERY.to("meta"))[0].is_meta
    with pytest.raises(RuntimeError, match="meta"):
        model.eval().represent(CONTEXT.to("meta"))


@pytest.mark.parametrize("name", DATASETS)
def test_a_datasets_cameras_are_known_and_no_others(name):
    """Of many held-out scenes, of the viewer and of orbits; not on another scale, nor with another field of view."""
    model = constant(torch.zeros(3, 16, 16)).eval()
    model.trained_on = checkpoint.trained_on(name, TOY.having(dataset_name=name))
    scenes, family = source(name, "test", num_views=10), family_of(spec(name))

    def look(cameras):
        checks.cameras(model, cameras[None], None)

    for seed in range(150):
        scene, cameras = scenes.scene(seed)
        look(cameras)
        if seed % 10 == 0:
            look(family.orbit(scene, 12))
            anywhere = rng(seed).uniform(-5, 5, (20, 5)) * [1, 1, 1, 1.2, 1]
            look(family.allowed(scene, replace(cameras, pose=torch.from_numpy(anywhere.astype(np.float32)))))
    _, cameras = scenes.scene(0)
    sense = Convention(not cameras.convention.clockwise, cameras.convention.eye)
    for wrong in (
        replace(cameras, pose=scaled(2)(cameras.pose)),
        *([] if family.motion == "walk" else [replace(cameras, pose=scaled(0.5)(cameras.pose))]),  # near the middle
        replace(cameras, convention=sense),
        replace(cameras, pose=in_degrees(cameras.pose)),
        replace(cameras, fov=1.05 * cameras.fov),
        replace(cameras, fov=0.95 * cameras.fov),
    ):
        model.trained_on.told.clear()
        with pytest.warns(Unfamiliar):
            look(wrong)


def test_a_map_is_seen_from_above():
    config = TOY.having(dataset_name="mazes", query="overhead")
    model = checkpoint.build(config).eval()
    model.trained_on = checkpoint.trained_on("map", config)
    scenes = source(**config.scenes("test") | {"num_views": 5})
    context, above = (v[None].float() for v in (scenes.views(0, range(3)), scenes.overhead(0)))
    ask(model, context, above)
    with pytest.warns(Unfamiliar, match=r"other query cameras: a field of view of 8.7.* a height of 6, not 0.0506"):
        model.sample(model.represent(context), context.cameras)


def test_of_files_the_field_of_view_is_known(tmp_path):
    _, model = checkpoint.load(made_run(tmp_path / "files", TOY.having(data_digest="of files")))
    ask(model, posed(CONTEXT, scaled(3)), posed(QUERY, scaled(3)))
    with pytest.warns(Unfamiliar, match="field of view of 20.15 degrees, not 50"):
        model.represent(seen_with(50.0)(CONTEXT))


@pytest.mark.parametrize("name", trained.shipped())
def test_shipped_weights_know_their_scenes(name):
    """And stay what they were: a module that is copied and pickled, of the names of its file."""
    config, model = gqn.load(name)
    views = stack([gqn.scene(config.data.dataset_name, seed, 5, config.data.image_size) for seed in range(2)])
    context, query = views[:, :3], views[:, 3:]
    drawn, _ = ask(model, context, query)
    assert model.state_dict().keys() == load_file(trained.find(name)).keys()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(ask(copied, context, query)[0], drawn)
        with pytest.warns(Unfamiliar):
            copied.represent(seen_with(80.0)(context))
    assert not model.trained_on.told
    assert gqn.mse(drawn, query.frames).mean() < 0.01
    refused(f"takes {config.data.image_size} x", lambda: model.represent(context.resized(16)))


def test_genuine_cameras_are_known(real_data):
    from gqn.data.files.stored import stored

    filmed = spec("shepard_metzler_5_parts").filmed
    scenes = stored([real_data / "shepard_metzler_5_parts_scene_0.tfrecord"], 32, cameras=filmed.cameras)
    views = scenes.views(0, np.arange(6))
    _, model = gqn.load("sm5-32")
    [drawn] = model.sample(model.represent(views[None, :4]), views.cameras[None, 4:])
    assert gqn.mse(drawn, views.frames[None, 4:]).mean() < 0.01


def test_genuine_rooms_are_imagined_from_their_cameras_as_released(real_data):
    """By weights that were trained on rendered ones; the mean of the context views is far worse."""
    with np.load(real_data / "rooms_ring_camera_6_scenes_with_cameras.npz") as data:
        frames, pose = torch.from_numpy(data["frames"]).movedim(-1, 2), torch.from_numpy(data["cameras"])
    views = Views(frames, spec("rooms_ring_camera").filmed.cameras(pose)).resized(32).float()
    _, model = gqn.load("rooms-32")
    drawn = model.sample(model.represent(views[:, :3]), views.cameras[:, 5:], torch.Generator().manual_seed(0), 4)
    assert (drawn - views.frames[:, 5:]).square().mean() < 0.008
    blurred = views.frames[:, :5].mean(1, keepdim=True)
    assert (blurred - views.frames[:, 5:]).square().mean() > 0.02


def test_a_command_warns_in_one_line(tmp_path, capsys, monkeypatch):
    """Of one process; what others warn of is shown as Python shows it."""
    run = made_run(tmp_path / "toy")
    with warnings.catch_warnings():
        warnings.simplefilter("default", Unfamiliar)
        evaluation = ["eval", str(run), "--scenes", "2", "--samples", "1", "-d", "rooms_ring_camera"]
        assert main(evaluation) == 0
        err = capsys.readouterr().err
        assert err.startswith("gqn: toy was trained with other context cameras: a field of") and err.count("\n") == 1
        monkeypatch.setenv("LOCAL_RANK", "1")
        warnings.warn("ours", Unfamiliar, stacklevel=1)
        assert not capsys.readouterr().err
        with pytest.warns(UserWarning, match="theirs"):
            main(["--help"])
            warnings.warn("theirs", UserWarning, stacklevel=1)

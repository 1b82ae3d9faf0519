"""Every figure: arrays that can be kept, numbers that can be read, a picture; and what each claims, by closed forms."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.config import preset
from gqn.data.sources import source
from gqn.data.specification import DATASETS
from gqn.errors import BadInput
from gqn.figures import context, drawing, heldout, nextview, orbit, predictions, rotation, steps, surprise, uncertainty
from gqn.metrics import information
from gqn.models.baselines import nearest
from gqn.objective import Gaussian, Prediction

TINY = preset(
    "founding",
    image_size=16,
    max_context_size=2,
    representation="tower",
    representation_maps=8,
    num_steps=2,
    num_recurrent_maps=4,
    num_canvas_maps=4,
)
SMALL = {  # the least work that each figure's flags allow
    predictions: dict(rows=2, samples=2),
    orbit: dict(views=4),
    rotation: dict(yaws=2, context=2),
    steps: dict(rows=2),
    context: dict(samples=2, scenes=3),
    uncertainty: dict(rows=2, samples=3, views=2),
    surprise: dict(views=2, scenes=3),
    nextview: dict(scenes=3, candidates=3, probes=2, places=5),
}
NAMES = {module: module.__name__.rpartition(".")[2] for module in SMALL}


@pytest.fixture(scope="module")
def model():
    """As it is loaded, so that a figure that asks for what no model knows would fail."""
    model = checkpoint.build(TINY).eval()
    model.trained_on = checkpoint.trained_on("tiny", TINY)
    return model


@pytest.fixture(scope="module")
def made(model):
    return {module: module.compute(TINY, model, **small) for module, small in SMALL.items()}


@pytest.mark.parametrize("module", SMALL, ids=NAMES.values())
def test_contract(module, model, made):
    """Arrays survive their file, numbers are finite and pure of it, pictures are pictures; the same each time."""
    arrays = made[module]
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    file.seek(0)
    kept = dict(np.load(file))
    numbers = module.numbers(kept)
    assert numbers == json.loads(json.dumps(module.numbers(arrays)))
    for value in numbers.values():
        assert np.isfinite(list(value.values()) if isinstance(value, dict) else value).all()
    picture = module.draw(kept)
    assert isinstance(picture, Image.Image) and np.asarray(picture).std() > 0
    again = module.compute(TINY, model, **SMALL[module])
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)


class Oracle:
    """Draws a grey that says how many views it was given, plus noise; its surprise is known too."""

    def represent(self, views):
        return views

    def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
        b, q = cameras.pose.shape[:2]
        noise = torch.randn(b, 1 if share_noise else q, 3, 1, 1, generator=generator).expand(-1, q, -1, 16, 16)
        return (0.5 + 0.05 * noise / representation.frames.shape[1])[None]

    def noise(self, scenes, queries, generator=None, samples=1, share=False):
        return torch.zeros(samples, scenes, 0)

    def __call__(self, context, query, pixel_std, noise=None):
        kl = query.frames.mean((2, 3, 4))[None, ..., None] * torch.tensor([1.0, 2.0]) / context.frames.shape[1]
        return Prediction(Gaussian(query.frames[None], pixel_std), kl, kl)


def test_spread_is_the_standard_deviation_of_samples():
    frames = np.zeros((1, 2, 2, 2, 3), np.uint8)
    frames[0, 0, 0, 0], frames[0, 1, 0, 0] = 10, 30
    spread = predictions.spread({"samples": frames})
    assert spread[0, 0, 0] == pytest.approx(200**0.5) and spread[0, 1, 1] == 0


def test_surprise_is_the_sum_over_steps_given_each_context():
    arrays = surprise.compute(TINY, Oracle(), views=3, scenes=25, scene=1)
    task = heldout.tasks(source(**TINY.scenes("test")), 1, 25, 2, 3)
    expected = 3 * task.query.frames.mean((2, 3, 4)).numpy()
    assert arrays["surprise"].shape == (25, 2, 3)
    np.testing.assert_allclose(arrays["surprise"], np.stack([expected, expected / 2], 1), rtol=1e-5)
    numbers = surprise.numbers(arrays)
    per_scene = expected.mean(1)
    assert numbers["surprise_1_views"]["stderr"] == pytest.approx(per_scene.std(ddof=1) / 5, rel=1e-5)
    assert numbers["surprise_first_minus_last"]["mean"] == pytest.approx(per_scene.mean() / 2, rel=1e-5)


def test_context_measures_against_their_definitions():
    arrays = context.compute(TINY, Oracle(), samples=400, scenes=2)
    for m in (1, 2):  # a sample's noise is 0.05 / m
        assert arrays["spread"][:, m - 1] == pytest.approx(255 * 0.05 / m, rel=0.1)
    truth = heldout.tasks(source(**TINY.scenes("test")), 0, 2, 2).query.frames[:, 0]
    grey = 255 * (truth - 0.5).square().mean((1, 2, 3)).sqrt().numpy()
    assert arrays["rmse_mean"][:, 1] == pytest.approx(grey, rel=0.02)


def test_uncertainty_is_calibrated_if_the_truth_is_one_more_sample():
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (50, 9, 8, 8, 3)).astype(np.uint8)
    numbers = uncertainty.numbers({"truth": drawn[:, 0], "samples": drawn[:, 1:]})
    assert numbers["ratio"]["mean"] == pytest.approx(1, abs=0.02)
    far = uncertainty.numbers({"truth": np.full_like(drawn[:, 0], 255), "samples": np.full_like(drawn[:, 1:], 250)})
    assert far["truth_from_mean"]["mean"] == 5 and far["sample_from_mean"]["mean"] == 0


def test_uncertainty_shows_the_view_on_which_samples_differ_most():
    class OneUnsure(Oracle):
        def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
            highest = cameras.pose[..., 0] == cameras.pose[..., 0].amax(1, keepdim=True)
            return 0.5 + (super().sample(representation, cameras, generator) - 0.5) * highest[..., None, None, None]

    arrays = uncertainty.compute(TINY, OneUnsure(), rows=3, views=4)
    query = heldout.tasks(source(**TINY.scenes("test")), 0, 3, 1, 4).query
    unsure = query.frames[torch.arange(3), query.cameras.pose[..., 0].argmax(1)]
    assert np.array_equal(arrays["truth"], drawing.images(unsure))


def test_orbit_keeps_or_renews_its_noise():
    fixed, fresh = (orbit.compute(TINY, Oracle(), views=5, fresh=f)["sample"].astype(int) for f in (False, True))
    assert (fixed == fixed[:1]).all()
    assert all((a != b).any() for i, a in enumerate(fresh) for b in fresh[:i])


def test_orbit_shows_the_scene_of_its_context():
    """The truth along a way that passes a context camera is the context view."""
    scenes = heldout.rendered(TINY)
    task = heldout.tasks(scenes, 4, 1, 2)
    seen = scenes.render(heldout.described(scenes, 4), task.context.cameras[0])
    assert torch.equal(seen.float().frames, task.context.frames[0])


@pytest.mark.parametrize("name", DATASETS)
def test_orbits_are_where_a_camera_can_be(name):
    """Around the origin at one distance, looking at it; or, in mazes, all ways from one open place."""
    scenes = source(name, "test", 32)
    description, cameras = scenes.scene(0)
    way = scenes.family.orbit(description, 8)
    place, forward = way.pose[:, :3], way.matrix()[:, :3, 2]
    assert way.fov == cameras.fov
    if name == "mazes":
        assert len(place.unique(dim=0)) == 1 and len(forward.unique(dim=0)) == 8
        row, column, rows, columns = scenes.family.factors(description)["rooms"][0]
        assert place[0, :2].tolist() == pytest.approx([(column + columns / 2) / 3.5 - 1, (row + rows / 2) / 3.5 - 1])
    else:
        flat = place[:, :2].norm(dim=1)
        assert torch.allclose(flat, flat[0]) and len(place.unique(dim=0)) == 8
        towards = -place[:, :2] / flat[:, None]
        assert torch.allclose(forward[:, :2] / forward[:, :2].norm(dim=1, keepdim=True), towards, atol=1e-4)
    low, high = cameras.pose[:, 2].aminmax()
    assert low - 0.3 <= place[0, 2] <= high + 0.3
    frames = scenes.family.render(description, way, 32).frames.float()
    assert (frames - frames[0]).abs().mean((1, 2, 3))[1:].min() > 0  # it moves


def test_rotation_is_of_objects_only(model):
    with pytest.raises(BadInput, match="not of rooms_ring_camera"):
        rotation.compute(TINY.having(dataset_name="rooms_ring_camera"), model)


def test_steps_end_with_the_sample(model):
    arrays = steps.compute(TINY, model, rows=2)
    task = heldout.tasks(source(**TINY.scenes("test")), 0, 2, 2)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(heldout.SEED)
        sample = model.sample(model.represent(task.context), task.query.cameras, generator)[0, :, 0]
    assert np.array_equal(arrays["canvas"][:, -1], drawing.images(sample))
    with pytest.raises(BadInput, match="draw in steps"):
        steps.compute(TINY, nearest())


def test_information_is_that_of_a_gaussian_channel():
    """A model whose every answer is the mean of the last view, of which it knows all but at one candidate."""

    class Echo(Oracle):
        def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
            if representation.frames.shape[1] > 1:  # asked for the probes
                last = representation.frames[:, -1:].mean((2, 3, 4), keepdim=True)
                return last.expand(1, -1, cameras.pose.shape[1], 3, 4, 4)
            noise = torch.randn(1, generator=generator)
            dreamt = noise * torch.tensor([0.0, 0.2, 0.1])
            return dreamt[:, None, None, None].expand(1, len(cameras.pose), -1, 3, 4, 4)

    task = heldout.tasks(source(**TINY.scenes("test")), 0, 2, 1, 5)
    first = replace(task.context, frames=task.context.frames[..., :4, :4])
    candidates, probes = task.query.cameras[:, :3], task.query.cameras[:, 3:]
    gain = information.gain(Echo(), first, candidates, probes, 0.5, 4000, heldout.SEED)
    expected = 0.5 * 48 * np.log(1 + np.array([0, 0.2, 0.1]) ** 2 / 0.5**2)
    np.testing.assert_allclose(gain, np.tile(expected, (2, 1)), rtol=0.1)


def test_a_model_that_is_far_off_imagines_all_the_same():
    """Its samples are no images that it would take from a user."""
    model = checkpoint.build(TINY.having(sigmoid_output=False)).eval()
    torch.nn.init.constant_(model.observe.bias, 50.0)
    task = heldout.tasks(source(**TINY.scenes("test")), 0, 1, 1, 3)
    with torch.no_grad():
        gain = information.gain(model, task.context, task.query.cameras, task.query.cameras, 0.7, 2, heldout.SEED)
    assert gain.shape == (1, 3) and gain.isfinite().all()


def test_next_views_are_those_of_the_highest_gain():
    """A model that is right once it was given one candidate, which differs from scene to scene."""
    task = heldout.tasks(replace(heldout.rendered(TINY), num_views=8), 0, 6, 1, 7)
    others, hidden = task.query[:, :5], task.query[:, 5:]
    key = torch.tensor([4, 3, 0, 1, 2, 3])
    best = others.cameras.pose[torch.arange(6), key][:, None]

    class Knows(Oracle):
        def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
            given = (representation.cameras.pose == best).all(2).any(1)
            if cameras.pose.shape[1] == 5:
                return torch.rand(1, 6, 5, 3, 16, 16, generator=generator)
            echo = representation.frames.mean((1, 2, 3, 4))[:, None, None, None, None]
            answer = torch.where(given[:, None, None, None, None], hidden.frames + 0.01 * echo, 0.5)
            return answer.expand(1, 6, 2, 3, 16, 16)

    known = replace(task, query=hidden)
    gain = information.gain(Knows(), task.context, others.cameras, hidden.cameras, 0.5, 4, heldout.SEED)
    assert torch.equal(gain.argmax(1), key)
    errors = nextview._take(Knows(), "predicted", known, others, 3, 0.5, 4, gain)
    assert (errors[:, 0] > 50).all() and (errors[:, 1:] < 2).all()


def test_a_scene_is_the_same_in_all_figures():
    scenes = source(**TINY.scenes("test"))
    many, one = heldout.tasks(scenes, 0, 4, 3, 2), heldout.tasks(scenes, 2, 1, 2, 3)
    assert torch.equal(many.context.frames[2, :2], one.context.frames[0])
    assert torch.equal(many.context.frames[2, 2], one.query.frames[0, 0])
    with pytest.raises(BadInput, match="do not fit"):
        heldout.tasks(scenes, 0, 1, 14, 2)


def test_a_sheet_holds_its_images_enlarged():
    tiles = np.random.default_rng(0).integers(0, 255, (2, 3, 5, 5, 3)).astype(np.uint8)
    picture = np.asarray(drawing.sheet([drawing.Group("a", tiles[:, :1]), drawing.Group("b", tiles[:, 1:])], side=20))
    for tile in tiles.reshape(-1, 5, 5, 3):
        large = tile.repeat(4, 0).repeat(4, 1)
        windows = np.lib.stride_tricks.sliding_window_view(picture, (20, 20, 3))[:, :, 0]
        assert (windows == large).all((2, 3, 4)).any()


def test_heat_orders_values():
    shades = drawing.heat(np.array([[0.0, 0.5, 1.0, 7.0]]), 1).astype(int).sum(-1)[0]
    assert shades[0] < shades[1] < shades[2] == shades[3]


@pytest.mark.parametrize("suffix", drawing.MOVING)
def test_animations_hold_their_frames(suffix):
    frames = [Image.new("RGB", (31, 20), (40 * i, 0, 255 - 40 * i)) for i in range(5)]
    file = io.BytesIO(drawing.animation(frames, suffix))
    if suffix == ".mp4":
        av = pytest.importorskip("av")
        with av.open(file) as film:
            read = [frame.to_image() for frame in film.decode(video=0)]
    else:
        moving = Image.open(file)
        assert moving.info["loop"] == 0
        read = [(moving.seek(i), moving.convert("RGB"))[1] for i in range(moving.n_frames)]
    assert len(read) == 5
    for got, frame in zip(read, frames, strict=True):
        np.testing.assert_allclose(np.asarray(got)[5, 5], np.asarray(frame)[5, 5], atol=8)


def test_a_film_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadInput, match="pip install 'gqn\\[video\\]'"):
        drawing.animation([Image.new("RGB", (8, 8))], ".mp4")


@pytest.fixture
def folder(tmp_path, model):
    from gqn import config as configs

    (tmp_path / checkpoint.CONFIG).write_text(configs.as_json(TINY))
    checkpoint.save_weights(tmp_path, model)
    return tmp_path


def test_command(folder, capsys):
    """Flags are compute's keywords; picture, arrays, numbers and animation lie side by side."""
    assert main(["figure", "orbit", str(folder), "--views", "3", "--scene", "2", "--fresh"]) == 0
    made = {path.suffix for path in folder.glob("orbit.*")}
    assert made == {".png", ".npz", ".json", ".webp"}
    arrays = np.load(folder / "orbit.npz")
    assert arrays["truth"].shape == (3, 16, 16, 3)
    assert json.loads((folder / "orbit.json").read_text()) == orbit.numbers(arrays)
    assert main(["figure", "orbit", str(folder), "--views", "3", "--out", str(folder / "x.gif")]) == 0
    assert {path.suffix for path in folder.glob("x.*")} == {".png", ".npz", ".json", ".gif"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["figure", "orbit", "--help"])
    help = capsys.readouterr().out
    assert "--fresh" in help and "circles the scene" in help


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["steps", "RUN", "--out", "RUN/x.mp4"], "cannot write"),
        (["steps", "RUN", "--out", "RUN/no/x.png"], "there is no such folder"),
        (["steps", "RUN", "--scene", "-1"], "not a whole number"),
        (["steps", "RUN", "--context", "0"], "not a positive whole number"),
        (["nextview", "RUN", "--imagined", "1"], "at least 2 imagined"),
        (["context", "RUN", "--context", "15"], "do not fit"),
        (["surprise", "RUN", "--context", "15"], "do not fit"),
        (["rotation", "RUN", "--rows", "2"], "unrecognized arguments: --rows"),
        (["orbit"], "subject"),
    ],
)
def test_bad_flags(folder, capsys, argv, says):
    try:
        code = main(["figure", *(a.replace("RUN", str(folder)) for a in argv)])
    except SystemExit as stop:
        code = stop.code
    err = capsys.readouterr().err
    assert code == 2 and says in err and "Traceback" not in err


def test_a_run_on_files_gets_rendered_scenes_where_the_camera_is_free(capsys):
    stored = TINY.having(data="nowhere")
    assert heldout.rendered(stored) == heldout.rendered(TINY)
    assert "not those in nowhere" in capsys.readouterr().out

"""Every figure: arrays that can be kept, numbers that can be read, a picture; and what each claims, by closed forms."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gqn.artifacts import checkpoint
from gqn.data.sources import source
from gqn.data.specification import DATASETS
from gqn.errors import BadInput
from gqn.figures import context, drawing, heldout, nextview, orbit, predictions, rotation, steps, surprise, uncertainty
from gqn.figures import scenes as sheet
from gqn.metrics import information
from gqn.models.baselines import nearest
from support import DRAWN as TINY
from support import Oracle, loaded

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
    return loaded(TINY)


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
        assert place[0, :2].tolist() == pytest.approx([(column + columns / 2 - 5) / 10, (row + rows / 2 - 5) / 10])
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


def test_predictions_figure(straight):
    config, model = checkpoint.load(straight)
    arrays = predictions.compute(config, model, rows=3, context=2, samples=2)
    assert arrays["context"].shape == (3, 2, 16, 16, 3)
    assert arrays["samples"].shape == (3, 2, 16, 16, 3)
    picture = predictions.draw(arrays)
    assert picture.size[0] > 5 * 96 and picture.size[1] > 3 * 96


def test_a_contact_sheet_shows_the_whole_walk():
    frames = sheet.compute("mazes", rows=2, columns=3)["frames"]
    views = source("mazes", "train").views(1, np.array([0, 149, 299]))
    np.testing.assert_array_equal(frames[1], views.frames.permute(0, 2, 3, 1))

"""Figures about what representations are made of, and about mazes' maps: against made-up models with known answers."""

import colorsys
from dataclasses import fields, replace

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from torch import nn

from gqn.config import preset
from gqn.data.sources import source
from gqn.data.tasks import rng
from gqn.errors import BadInput
from gqn.figures import algebra, composition, editing, factorisation, heldout, mazemap, tsne
from gqn.models.baselines import nearest
from gqn.scenes import rooms

ROOMS = preset("demo").on("rooms_ring_camera").having(image_size=16)
MAZES = preset("demo").on("mazes").having(image_size=32, query="overhead", max_context_size=3, num_views=6)
FIELDS = {"hue": {"colour"}, "shape": {"shape", "size"}, "size": {"size"}, "place": {"place"}}  # heights follow shapes


class Average(nn.Module):
    """Represents views by their mean image, and answers every camera with it."""

    def represent(self, context):
        return context.frames.mean(1)

    def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
        return representation[None, :, None].expand(samples, -1, cameras.pose.shape[1], -1, -1, -1)


def differences(one, two):
    """Names of the fields, of the room, its lamp and its object, in which two rooms differ."""
    parts = [(one, two), (one.light, two.light), (one.objects[0], two.objects[0])]
    names = {f.name for a, b in parts for f in fields(a) if getattr(a, f.name) != getattr(b, f.name)}
    return names - {"light", "objects"}


@pytest.mark.parametrize("name", editing.PROPERTIES)
def test_a_property_changes_alone(name):
    held_out = editing.scenes(ROOMS)
    generator = rng(0)
    base = editing.base(generator)
    prop = editing.PROPERTIES[name]
    one, two = (prop.edit(base, value) for value in prop.pair(generator))
    for scene in (one, two):
        assert differences(scene, base) <= FIELDS.get(name, {name})
    assert differences(one, two)
    context, query = editing.around(held_out, 4)
    assert context.pose.shape == query.pose.shape == (4, 5)
    seen = editing.seen(held_out, [one, two], context).frames
    assert seen.shape == (2, 4, 3, 16, 16) and (seen[0] != seen[1]).any()


def test_only_rooms_are_edited_and_only_tensors_calculated_with():
    with pytest.raises(BadInput, match="shepard_metzler_5_parts has none"):
        editing.scenes(preset("demo"))
    held_out = editing.scenes(ROOMS)
    seen = editing.seen(held_out, [editing.base(rng(0))], editing.around(held_out, 2)[0])
    with pytest.raises(BadInput, match="needs a model whose are tensors"):
        editing.codes(nearest(), seen)


def test_tsne_neighbours():
    points = np.random.default_rng(0).normal(size=(20, 5))
    oracle = NearestNeighbors(n_neighbors=20).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    np.testing.assert_array_equal(tsne.order(points), oracle)
    scene = np.repeat(np.arange(4), 5)
    arrays = {"scene": scene, "representation": scene[:, None] + 0.1 * points, "pixels": points}
    values = tsne.numbers(arrays)
    assert values["representation_nearest"]["mean"] > 0.9 > values["pixels_nearest"]["mean"]
    assert values["chance"] == pytest.approx(4 / 19)
    halves = tsne.numbers(arrays | {"representation": np.where(scene < 2, 100, 10 * scene)[:, None] + 0.01 * points})
    assert halves["representation_neighbours"]["mean"] == pytest.approx(0.72, abs=0.15)  # two scenes of four mix


def test_tsne_takes_views_one_by_one():
    arrays = tsne.compute(ROOMS, Average(), scenes=3, views=4)
    assert arrays["representation"].shape == arrays["pixels"].shape == (12, 3 * 16 * 16)
    np.testing.assert_array_equal(arrays["representation"], arrays["pixels"])
    task = heldout.tasks(source(**ROOMS.scenes("test")), 0, 3, 4)
    np.testing.assert_array_equal(arrays["pixels"][5], task.context.frames[1, 1].flatten())
    assert tsne.draw(arrays).width > 500


def test_agreement_of_changes():
    units = factorisation.unit(np.random.default_rng(0).normal(size=(60, 4))).reshape(3, 4, 5, 4)
    units[0, 0] = units[0, 0, 0]
    same, chance = factorisation.agreement(units)
    for p in range(3):
        for c in range(4):
            pairs = [units[p, c, i] @ units[p, c, j] for i in range(5) for j in range(5) if i != j]
            other = [a @ b for a in units[p, c] for q in range(3) if q != p for b in units[q, c]]
            np.testing.assert_allclose((same[p, c], chance[p, c]), (np.mean(pairs), np.mean(other)), atol=1e-12)
    assert same[0, 0] == pytest.approx(1)


def test_factorisation_of_images():
    arrays = factorisation.compute(ROOMS, Average(), changes=2, bases=3)
    values = factorisation.numbers(arrays)
    assert values["pixels_wall"]["mean"] > 0.5 > values["pixels_hue"]["mean"]  # walls are where they are, objects not
    assert abs(values["pixels_chance"]["mean"]) < 0.2
    assert factorisation.draw(arrays).width > 500


def test_algebra_of_what_adds_up():
    """Wall and floor show in pixels of their own, so that mean images add up, and those of an object's hue do not."""
    arrays = algebra.compute(ROOMS, Average(), triples=10)
    assert arrays["distance"].shape == (10, 2, 4)
    of_both = [i for i, k in enumerate(arrays["kind"]) if algebra.KINDS[k] == ("wall", "floor")]
    assert len(of_both) == 2 and algebra.hits(arrays)[of_both].all()
    sum_, itself = arrays["drawn"][of_both].astype(int).swapaxes(0, 1)
    assert abs(sum_ - itself).mean() < 8
    assert algebra.numbers(arrays)["sum_wall_floor"]["mean"] == 1
    assert algebra.draw(arrays).width > 500


def test_a_twin_has_a_hue_that_training_shows():
    generator = rng(0)
    family = rooms.Family(only_held_out=True, max_objects=1)
    for _ in range(50):
        scene = family.sample(generator)
        twin = composition.twin(scene, generator)
        start = rooms.HELD_OUT[scene.objects[0].shape]
        for s, inside in ((scene, True), (twin, False)):
            hue = colorsys.rgb_to_hsv(*s.objects[0].colour)[0]
            assert ((hue - start + 1e-6) % 1 < 1 / 7 + 2e-6) == inside
        assert replace(twin, objects=scene.objects) == scene
        assert replace(twin.objects[0], colour=scene.objects[0].colour) == scene.objects[0]


def test_composition():
    arrays = composition.compute(ROOMS, nearest(), scenes=7)
    assert arrays["object"].any((1, 2)).all() and not arrays["hold_out"]
    truth = arrays["truth"]
    differ = (truth[:, 0] != truth[:, 1]).any(-1)
    assert (differ & arrays["object"]).sum() > 0.8 * arrays["object"].sum()  # the twins differ in the object's pixels
    perfect = composition.numbers(arrays | {"drawn": truth})
    assert perfect["all_held_out"]["mean"] == perfect["object_difference"]["mean"] == 0
    twins = composition.numbers(arrays | {"drawn": truth[:, ::-1]})
    assert twins["object_held_out"] == twins["wrong_hue"] and twins["wrong_hue"]["mean"] > 0
    dark = truth // 2
    lighter = dark + np.array([0, 10], np.uint8)[:, None, None, None]
    off = composition.numbers(arrays | {"truth": dark, "drawn": lighter})
    assert off["object_held_out"]["mean"] == pytest.approx(10) and off["object_seen"]["mean"] == 0
    assert composition.draw(arrays).width > 500


def test_rooms_with_one_object():
    scenes = editing.scenes(ROOMS.having(max_objects=1))
    assert all(len(scenes.scene(i)[0].objects) == 1 for i in range(20))


def test_mazemap():
    with pytest.raises(BadInput, match="trained with `query=overhead`"):
        mazemap.compute(MAZES.having(query="view"), Average())
    arrays = mazemap.compute(MAZES, Average(), scenes=3, samples=2)
    assert arrays["spread"].shape == (3, 3) and not arrays["spread"].any()  # it always draws the same
    np.testing.assert_array_equal(arrays["rmse_sample"], arrays["rmse_mean"])
    assert 10 < mazemap.numbers(arrays)["rmse_floor"]["mean"] < 100
    task = heldout.tasks(source(**MAZES.scenes("test")), 0, 3, 3)
    truth, guess = task.query.frames[1, 0], task.context.frames[1, :2].mean(0)
    assert arrays["rmse_mean"][1, 1] == pytest.approx(255 * (truth - guess).square().mean().sqrt().item(), rel=1e-5)
    assert mazemap.draw(arrays).width > 300


def test_cameras_are_marked_where_they_stand():
    """Every place from which a maze is seen is floor, in its map too."""
    scenes = source(**MAZES.scenes("test"))
    scene, cameras = scenes.scene(0)
    places = mazemap.places(cameras, scenes.family.overhead(scene))
    marks = mazemap.marked(np.zeros((90, 90, 3), np.uint8), places)[..., 0] == 220
    open_ = scene.open[::-1].repeat(10, 0).repeat(10, 1)  # row 0 of the scene is at the smallest y
    assert 0 < marks.sum() <= len(places) and open_[marks].all()

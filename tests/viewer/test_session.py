"""The viewer's answers against the package's own functions."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gqn.artifacts import checkpoint
from gqn.data.files.export import export
from gqn.data.sources import source
from gqn.errors import BadInput, Unfamiliar
from gqn.figures import drawing, heldout
from gqn.metrics import images as metrics
from gqn.metrics import information
from gqn.viewer import protocol
from gqn.viewer import session as viewer_session
from gqn.viewer.session import Session
from support import ASKED
from support import SHOWN as TINY

pytestmark = pytest.mark.usefixtures("little_work")


def question(**values):
    return protocol.question(json.dumps(ASKED | values))


def all_of(answers, **values):
    return [part for part in answers(question(**values)) if part is not viewer_session.PAUSE]


def one_of(answers, **values):
    (answer,) = all_of(answers, **values)
    return answer


def noise(seed):
    return torch.Generator().manual_seed(seed)


def test_the_picture_is_a_sample_given_the_context_and_the_truth_is_the_view(answers, model):
    """Scene and context are those of the figures; the query is here their next view."""
    task = heldout.tasks(source(**TINY.scenes("test")), 3, 1, 2)
    numbers, parts = one_of(answers, camera=2)
    with torch.no_grad():
        sample = model.sample(model.represent(task.context), task.query.cameras, noise(7))[0, 0, 0]
    truth = task.query.frames[0, 0]
    assert np.array_equal(parts["sample"], drawing.images(sample))
    assert np.array_equal(parts["truth"], drawing.images(truth))
    assert numbers["pose"] == pytest.approx(task.query.cameras.pose[0, 0].tolist())
    assert numbers["mse"] == pytest.approx(metrics.mse(sample, truth).item(), rel=1e-5)
    assert numbers["psnr"] == pytest.approx(metrics.psnr(sample, truth).item(), rel=1e-5)
    far = (sample - truth).abs().mean(0).numpy()
    assert np.array_equal(parts["difference"], drawing.heat(far, viewer_session.FAR_OFF))


def test_a_camera_goes_where_the_family_allows_and_the_truth_is_rendered_there(answers):
    scenes = heldout.rendered(TINY)
    description = heldout.described(scenes, 3)
    numbers, parts = one_of(answers, camera=[5, 5, 5, 1, -9])
    camera = scenes.family.allowed(None, scenes.family.orbit(None, 1))  # for its type and field of view
    camera = replace(camera, pose=torch.tensor([numbers["pose"]]))
    assert numbers["pose"][3:] == pytest.approx([1, -49 * math.pi / 100])
    assert np.array_equal(parts["truth"][None], drawing.images(scenes.render(description, camera).float().frames))


def test_noise_is_of_the_seed_and_steps_lead_to_the_picture(answers, model):
    def picture(**values):
        return one_of(answers, **values)[1]["sample"]

    assert np.array_equal(picture(), picture())
    assert not np.array_equal(picture(), picture(seed=8))
    assert np.array_equal(picture(step=3), picture())
    scene = answers._scene(TINY.data.dataset_name, 3)
    cameras, _ = scene.at((0, 0, 0, 1, 0.5))
    with torch.no_grad():
        canvases = model.steps(model.represent(scene.views[None, :2].float()), cameras[None], noise(7))[0, 0]
    for step in (1, 2):
        assert np.array_equal(picture(step=step), drawing.images(canvases[step - 1]))


def test_samples_their_mean_spread_and_the_surprise(answers, model):
    surprise, *samples, summary = all_of(answers, about="samples", camera=2)
    task = heldout.tasks(source(**TINY.scenes("test")), 3, 1, 2)
    with torch.no_grad():
        r = model.represent(task.context)
        drawn = torch.stack([model.sample(r, task.query.cameras, noise(7 + i))[0, 0, 0] for i in range(8)]).clamp(0, 1)
        kl = model(task.context, task.query, 1.0, model.noise(1, 1, noise(7))).kl[0, 0, 0]
    assert surprise[0]["kl"] == pytest.approx(kl.tolist(), rel=1e-4)
    for i, (numbers, parts) in enumerate(samples):
        assert numbers["index"] == i and np.array_equal(parts["sample"], drawing.images(drawn[i]))
    numbers, parts = summary
    assert np.array_equal(parts["mean"], drawing.images(drawn.mean(0)))
    assert numbers["spread"] == pytest.approx(255 * drawn.std(0).mean().item(), rel=1e-4)


def test_the_map_is_the_figures_gain(answers, model):
    """Place by place it is what the whole map gives."""
    parts = [numbers for numbers, _ in all_of(answers, about="gain")]
    assert [(p["done"], p["total"]) for p in parts] == [(1, 3), (2, 3), (3, 3)]
    scene = answers._scene(TINY.data.dataset_name, 3)
    places, probes = scene.places()
    with torch.no_grad():
        context = scene.views[None, :2].float()
        std, imagined = TINY.objective.pixel_std_final, viewer_session.IMAGINED
        whole = information.gain(model, context, places[None], probes[None], std, imagined, heldout.SEED)
    assert [p["gain"] for p in parts] == pytest.approx(whole[0].tolist(), rel=1e-4)
    assert torch.tensor([p["pose"] for p in parts]).equal(places.pose)


def test_a_view_from_here_is_context_like_any_other(answers):
    pose = answers._scene(TINY.data.dataset_name, 3).views.cameras.pose[1].tolist()
    by_number, by_pose = (one_of(answers, context=[0, view])[1]["sample"] for view in (1, pose))
    assert np.array_equal(by_number, by_pose)
    assert not np.array_equal(by_number, one_of(answers, context=[0])[1]["sample"])
    shown = one_of(answers, about="scene", context=[0, pose])[1]
    assert np.array_equal(shown["context"], shown["views"][:2])


def test_an_orbit_is_an_animation(answers):
    *progress, (numbers, parts) = all_of(answers, about="orbit")
    assert [p["done"] for p, _ in progress] == [1, 2, 3, 4] and numbers["name"].endswith("-3.webp")
    film = Image.open(io.BytesIO(parts["file"].tobytes()))
    assert film.n_frames == 4


@pytest.mark.parametrize(
    "dataset, motion",
    {
        "shepard_metzler_7_parts": "sphere",
        "rooms_ring_camera": "ring",
        "rooms_free_camera_with_object_rotations": "walk",
        "jaco": "around",
        "mazes": "walk",
    }.items(),
)
@pytest.mark.filterwarnings("ignore::gqn.errors.Unfamiliar")
def test_scenes_of_every_family_can_be_shown(answers, dataset, motion):
    numbers, parts = one_of(answers, about="scene", dataset=dataset)
    k = len(numbers["poses"])
    assert numbers["motion"] == motion and parts["views"].shape == (k, 16, 16, 3) and 2 <= k <= protocol.CONTEXT
    assert ("plan" in parts) == numbers["above"] == (dataset == "mazes")
    numbers, parts = one_of(answers, dataset=dataset, camera="above" if dataset == "mazes" else 2)
    assert {"sample", "truth", "difference"} == parts.keys()
    assert all_of(answers, about="orbit", dataset=dataset)[-1][1]["file"].size > 0


def test_a_free_camera_of_another_dataset_warns_once():
    """However long it is dragged."""
    model = checkpoint.build(TINY).eval()
    model.trained_on = checkpoint.trained_on("tiny", TINY)
    answers = Session("tiny", TINY, model)
    with pytest.warns(Unfamiliar) as warned:
        for yaw in range(4):
            one_of(answers, dataset="rooms_ring_camera", camera=[0, 0, 0, yaw, 0])
    assert len(warned) == 1


def test_a_run_that_draws_maps_begins_above():
    config = TINY.having(dataset_name="mazes", query="overhead")
    model = checkpoint.build(config).eval()
    model.trained_on = checkpoint.trained_on("map", config)
    answers = Session("map", config, model)
    numbers, parts = one_of(answers, about="scene", dataset="mazes")
    assert numbers["start"] == "above"
    assert np.array_equal(one_of(answers, dataset="mazes", camera="above")[1]["truth"], parts["plan"])
    with pytest.raises(BadInput, match="maps alone"):
        all_of(answers, dataset="mazes", about="gain")


def test_a_scene_of_two_views(model):
    answers = Session("tiny", TINY.having(num_views=2, max_context_size=1), model)
    numbers, parts = one_of(answers, about="scene")
    assert numbers["start"] == 1 and len(parts["views"]) == 2


def test_stored_scenes_have_truth_at_their_views_only(model, tmp_path):
    export(TINY.data.dataset_name, tmp_path, 4, 4, splits=("test",), workers=0, image_size=16)
    answers = Session("tiny", TINY, model, str(tmp_path))
    assert answers.about()["datasets"] == [TINY.data.dataset_name]
    numbers, parts = one_of(answers, about="scene")
    assert numbers["anywhere"] is False and len(numbers["poses"]) == 15
    assert np.array_equal(one_of(answers, camera=4)[1]["truth"], parts["views"][4])
    assert one_of(answers)[1].keys() == {"sample"}
    assert "kl" not in all_of(answers, about="samples")[0][0]
    assert len(all_of(answers, about="gain")) == 15 - viewer_session.PROBES
    few = Session("tiny", TINY.having(num_views=3), model, str(tmp_path))
    assert len(all_of(few, about="gain")) == 2
    assert all_of(answers, about="orbit")[-1][1]["file"].size > 0
    with pytest.raises(BadInput, match="own views"):
        all_of(answers, context=[0, [0, 0, 0, 1, 0.5]])


def test_questions_about_what_is_not_there(answers):
    for values, message in [
        (dict(dataset="rooms"), "no dataset rooms"),
        (dict(camera=15), "no view 15"),
        (dict(camera="above"), "no view from above"),
        (dict(context=[15]), "no view 15"),
    ]:
        with pytest.raises(BadInput, match=message):
            all_of(answers, **values)


def test_what_is_kept_is_bounded(model):
    answers = Session("tiny", TINY, model)
    for scene in range(2 * viewer_session.KEPT):
        one_of(answers, scene=scene)
    assert answers._scene.cache_info().currsize == answers._known.cache_info().currsize == viewer_session.KEPT

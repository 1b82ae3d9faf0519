"""`gqn eval`: models that are known, floors, the same numbers however they are computed."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gqn.artifacts import checkpoint
from gqn.data.files.export import export
from gqn.errors import BadInput, Unfamiliar
from gqn.evaluation import results
from gqn.evaluation.compare import compare
from gqn.evaluation.evaluate import Settings, evaluate, measure, noise
from gqn.evaluation.results import MEAN_IMAGE, MODEL, NEAREST
from gqn.metrics.information import bits_per_dimension
from gqn.models.baselines import Baseline, nearest
from gqn.objective import Gaussian, Prediction
from gqn.runtime import reading
from gqn.runtime.files import alone
from gqn.views import Task, Views
from support import TOY, made_run, made_up

SMALL = Settings(context=(1, 2, 4), scenes=7, samples=3, importance_samples=2)


class Perfect:
    """Knows the truth of a task, and says so with certainty."""

    def __init__(self, task):
        self.truth = task.query.frames

    def represent(self, context):
        return None

    def noise(self, scenes, queries, generator=None, samples=1, share=False):
        return torch.zeros(samples, scenes, queries)

    def __call__(self, context, query, pixel_std, noise=None):
        mean = query.frames.expand(len(noise), *query.frames.shape)
        none = mean.new_zeros(*mean.shape[:3], 2)
        return Prediction(Gaussian(mean, pixel_std), none, none)

    def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
        return self.truth.expand(samples, -1, cameras.pose.shape[1], -1, -1, -1)


def test_a_perfect_model(task):
    values = measure(Perfect(task), task, 0.7, noise("cpu", 0), samples=4, draws=3)
    for name in ("mse", "rmse", "mae", "mse_of_best", "mse_of_mean", "excess", "kl", "kl_1", "kl_2", "posterior_mse"):
        assert values[name].tolist() == [0, 0], name
    floor = 3 * 16 * 16 * (np.log(0.7) + 0.5 * np.log(2 * np.pi))
    for name in ("elbo", "importance_bound"):
        assert values[name].tolist() == pytest.approx([-floor] * 2), name


def test_nearest_with_the_query_in_its_context(task):
    frames = torch.cat([task.context.frames, task.query.frames], 1)
    cameras = dataclasses.replace(
        task.query.cameras, pose=torch.cat([task.context.cameras.pose, task.query.cameras.pose], 1)
    )
    values = measure(nearest(), Task(Views(frames, cameras), task.query), 0.7)
    assert values["mse"].tolist() == [0, 0] and values["excess"].tolist() == [0, 0]
    assert (measure(nearest(), task, 0.7)["mse"] > 0.1).all()


def test_mistake_6_results_are_prior_samples(task):
    """A model that knows the query only when it may look at it scores by what it samples."""

    class Cheat(Baseline):
        def forward(self, context, query, pixel_std, noise=None):
            none = query.frames.new_zeros(1, *query.frames.shape[:2], 0)
            return Prediction(Gaussian(query.frames[None], pixel_std), none, none)

    black = Cheat(lambda context, cameras: torch.zeros(*cameras.pose.shape[:2], 3, 16, 16))
    values = measure(black, task, 0.7, noise("cpu", 0))
    assert (values["mse"] > 0.1).all()
    assert (values["posterior_mse"] == 0).all()


def test_samples_and_draws_are_of_one_query_each():
    """Scenes keep apart, and several samples and draws tell what one does, with less noise."""
    model = checkpoint.build(TOY).eval()
    task = made_up(batch=3)
    many = measure(model, task, 0.7, noise("cpu", 0), samples=100, draws=100)
    one = [measure(model, task, 0.7, noise("cpu", i)) for i in range(60)]
    for name in ("mse", "elbo", "kl"):
        mean = torch.stack([values[name] for values in one]).mean(0)
        torch.testing.assert_close(many[name], mean, rtol=3e-3, atol=1e-3)
    assert (many["importance_bound"] > many["elbo"]).all()


def test_what_an_evaluation_leaves(run):
    found = results.load(run)
    written = reading.table(run / "eval.json")
    assert written == found.as_dict()
    assert written["context_views"] == [1, 2, 4] and written["scenes"] == 7
    assert (run / "eval.png").read_bytes()[:4] == b"\x89PNG"
    for k, who in itertools.product(("1", "2", "4"), (MODEL, NEAREST, MEAN_IMAGE)):
        row = written["results"][k][who]
        assert row["mse"]["stderr"] > 0
        assert row["excess"]["mean"] >= row["kl"]["mean"] >= 0
        assert row["ssim"]["mean"] < 1
        assert (row["kl"]["mean"] > 0) == (who == MODEL)
        assert ("calibration" in row) == ("importance_bound" in row) == (who == MODEL)
    mean_images = [found.per_scene(k, MEAN_IMAGE)["mse"] for k in (1, 2, 4)]
    assert (mean_images[0] == mean_images[1]).all() and (mean_images[0] == mean_images[2]).all()  # one query for all


def test_two_do_not_evaluate_one_run(run, tmp_path):
    with alone(tmp_path / "eval"), pytest.raises(BadInput, match=r"another process holds .*eval: wait for it$"):
        evaluate(run, Settings(scenes=2), tmp_path)


def test_parts_of_the_image_add_up(run):
    found = results.load(run)
    for k, who in itertools.product((1, 2, 4), (MODEL, NEAREST)):
        values = found.per_scene(k, who)
        parts = ("seen", "hidden", "background")
        np.testing.assert_allclose(sum(values[f"error_{p}"] for p in parts), values["mse"], rtol=1e-5)
        np.testing.assert_allclose(sum(values[f"share_{p}"] for p in parts), 1, rtol=1e-6)
    seen = [found.per_scene(k, MODEL)["share_seen"] for k in (1, 2, 4)]
    assert (seen[0] <= seen[1]).all() and (seen[1] <= seen[2]).all() and (seen[0] < seen[2]).any()


def test_a_scene_is_answered_alike_whatever_is_asked_beside_it(run, tmp_path):
    before = results.load(run)
    again = evaluate(made_run(tmp_path / "run"), dataclasses.replace(SMALL, context=(2,), scenes=4))
    assert (again.tasks == before.tasks[:4, :4]).all()
    for name, values in again.values.items():
        np.testing.assert_array_equal(values, before.values[name][:4], err_msg=name)
    assert not (tmp_path / "run" / "eval.png").exists()


def test_two_ranks_find_what_one_does(run, tmp_path):
    """An odd number of scenes: none is lost, none counts twice."""
    other = made_run(tmp_path / "run")
    command = [Path(sys.executable).parent / "gqn", "eval", other, "--context", "1,2,4", "--scenes", "7"]
    command += ["--samples", "3", "--importance-samples", "2", "--devices", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("one sample from the prior") == 2  # of the model and the floors, from one rank
    one, two = results.load(run), results.load(other)
    made = two.settings["evaluation"]
    assert "--devices 2" in made["command"] and "2 processes" in made["machine"]
    assert one.settings | {"evaluation": made} == two.settings and (one.tasks == two.tasks).all()
    for name, values in one.values.items():
        np.testing.assert_allclose(two.values[name], values, rtol=1e-4, atol=1e-6, err_msg=name)


def test_files_and_other_datasets(run, tmp_path):
    name = "shepard_metzler_5_parts"
    export(name, tmp_path / "data", 4, 5, image_size=16, num_views=5)
    folder = made_run(tmp_path / "run")
    of_all = Settings(context=(4,), scenes=None, samples=2, importance_samples=1)
    found = evaluate(folder, dataclasses.replace(of_all, data=str(tmp_path / "data")))
    assert sorted(found.tasks[:, 0]) == [0, 1, 2, 3, 4]  # the whole split, each scene once
    (tmp_path / "data").rename(tmp_path / "moved")
    again = made_run(tmp_path / "again")
    evaluate(again, dataclasses.replace(of_all, data=str(tmp_path / "moved")))
    assert compare([folder, again])[0].paired  # the same scenes, wherever they lie
    (tmp_path / "moved").rename(tmp_path / "data")
    assert "mse_seen" not in found.summary(4, MODEL)  # files have no depth
    with pytest.raises(BadInput, match=r"at most `context=4`"):
        evaluate(folder, Settings(context=(3, 5), data=str(tmp_path / "data")))
    with pytest.warns(Unfamiliar, match="field of view of 20.15 degrees, not 50"):
        rooms = evaluate(folder, Settings(scenes=2, samples=2, importance_samples=1, dataset="rooms_ring_camera"))
    assert rooms.settings["dataset"] == "rooms_ring_camera" and "mse_seen" in rooms.summary(3, MODEL)
    with pytest.raises(BadInput, match=r"rooms_ring_camera at 16 px, .* on shepard_metzler_5_parts at 16 px"):
        compare([run, folder])


@pytest.fixture
def files(tmp_path):
    """Three scenes of 5 views for training and two held out, in files of 16 px."""
    export("shepard_metzler_5_parts", tmp_path / "data", 3, 2, image_size=16, num_views=5)
    return tmp_path / "data"


def test_an_evaluation_needs_no_training_scenes(files, tmp_path, capsys):
    """Then the mean image is of held-out ones; it says so, and everything else stays."""
    folder = made_run(tmp_path / "run")
    settings = Settings(context=(2,), scenes=None, samples=2, importance_samples=1, data=str(files))
    with_both = evaluate(folder, settings)
    assert with_both.settings["mean_image_of"] == "train"
    assert "held-out ones" not in capsys.readouterr().out
    shutil.rmtree(files / "shepard_metzler_5_parts" / "train")
    alone = evaluate(folder, settings)
    assert "there are no training scenes: the mean image is of held-out ones" in capsys.readouterr().out
    assert json.loads((folder / "eval.json").read_text())["mean_image_of"] == "test"
    for name, values in alone.values.items():
        assert np.array_equal(values, with_both.values[name]) == (MEAN_IMAGE not in name or "kl" in name), name
    shutil.rmtree(files / "shepard_metzler_5_parts" / "test")
    with pytest.raises(BadInput, match="no files of shepard_metzler_5_parts's test split"):
        evaluate(folder, settings)


def test_the_runs_numbers_of_scenes_and_views_are_of_its_own_scenes(files, tmp_path):
    few = TOY.having(num_train_scenes=1000, num_views=5)
    folder, settings = (
        made_run(tmp_path / "run", few),
        Settings(context=(2,), scenes=2, samples=2, importance_samples=1),
    )
    evaluate(folder, dataclasses.replace(settings, data=str(files)))
    with pytest.raises(BadInput, match="5 views of a scene, and 6 were asked for"):
        evaluate(folder, dataclasses.replace(settings, data=str(files), num_views=6))
    with pytest.warns(Unfamiliar, match="field of view of 20.15 degrees, not 50"):
        rooms = evaluate(folder, dataclasses.replace(settings, dataset="rooms_ring_camera", scenes=9))
    assert rooms.tasks[:, 1:].max() > 4  # views of a released scene, not the first 5
    assert evaluate(folder, dataclasses.replace(settings, scenes=9)).tasks[:, 1:].max() == 4
    with pytest.raises(BadInput, match="at most `context=2`"):
        evaluate(folder, dataclasses.replace(settings, context=(3,), num_views=3))
    own = made_run(tmp_path / "own", few)
    checkpoint.save_known(own / checkpoint.ORIGIN, {"data": str(files)})
    with pytest.raises(BadInput, match="holds 3 scenes, and 1000 were asked for"):
        evaluate(own, settings)


def test_bits_per_dimension_of_a_batch_are_those_of_its_images():
    model, task = checkpoint.build(TOY), made_up(batch=3)
    values = measure(model, task, 0.7, torch.Generator().manual_seed(0))
    expected = bits_per_dimension(values["elbo"], 3 * 16 * 16)
    torch.testing.assert_close(values["bits"], expected)

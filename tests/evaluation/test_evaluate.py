"""`gqn eval` and `gqn compare`: models that are known, floors, the same numbers however they are computed."""

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
from gqn.cli import main as cli
from gqn.data.files.export import export
from gqn.errors import BadInput, Unfamiliar
from gqn.evaluation import curves, results
from gqn.evaluation.compare import compare
from gqn.evaluation.evaluate import Settings, evaluate, measure, noise
from gqn.evaluation.results import MEAN_IMAGE, MODEL, NEAREST, Results
from gqn.metrics.information import bits_per_dimension
from gqn.metrics.statistics import standard_error
from gqn.models.baselines import Baseline, nearest
from gqn.objective import Gaussian, Prediction
from gqn.views import Task, Views
from support import TOY, made_run, made_up

SMALL = Settings(context=(1, 2, 4), scenes=7, samples=3, importance_samples=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, evaluated."""
    folder = made_run(tmp_path_factory.mktemp("evaluated") / "run")
    evaluate(folder, SMALL)
    return folder


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
    written = json.loads((run / "eval.json").read_text())
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


def test_the_table_says_what_a_reader_must_know(run, capsys):
    results.show(results.load(run))
    out = capsys.readouterr().out
    assert "shepard_metzler_5_parts at 16 px, 7 held-out scenes" in out
    assert (
        "4 views*" in out and "2 views " in out and "* more context views than in training, which had at most 3" in out
    )
    for text in ("best of 3 samples", "bound, 2 draws", "nats at pixel std 0.7", "did not see", "calibration"):
        assert text in out
    assert "..." not in out and "…" not in out  # nothing is cut, though nobody said how wide the screen is


def test_curves_show_every_metric(run):
    figure = curves.plot(results.load(run))
    titles = [axis.get_title("left") for axis in figure.axes]
    assert len(titles) == 12 and {"MSE", "SSIM", "calibration (1 is right)", "loss - floor, nats"} <= set(titles)
    mse = figure.axes[titles.index("MSE")]
    assert len(mse.containers) == 5
    line = mse.containers[0].lines[0]
    found = results.load(run)
    assert list(line.get_xdata()) == [1, 2, 4]
    assert list(line.get_ydata()) == [found.summary(k, MODEL)["mse"]["mean"] for k in (1, 2, 4)]


def test_ratios_have_the_errors_of_ratios():
    """The standard error that one data set gives is the spread of the ratio over many."""
    draw = np.random.default_rng(0)
    ratios, errors = [], []
    for _ in range(400):
        share = draw.uniform(0.1, 0.9, 200)
        error = share * draw.gamma(4, 0.25, 200)  # of mean 1
        values = {f"3/gqn/{name}": v for name, v in (("error_seen", error), ("share_seen", share))}
        of = Results({}, np.zeros((200, 2), int), values).summary(3, MODEL)["mse_seen"]
        assert of["mean"] == pytest.approx(error.sum() / share.sum())
        ratios.append(of["mean"])
        errors.append(of["stderr"])
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.1)
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)


# Comparing


def evaluated(folder, mse, tasks=None, **settings):
    """A run with given numbers, from one and three context views."""
    folder.mkdir()
    tasks = np.arange(len(mse)) if tasks is None else tasks
    base = {
        "dataset": "jaco",
        "data": "",
        "image_size": 32,
        "context_views": [1, 3],
        "pixel_std": 0.7,
        "samples": 8,
        "draws": 4,
    }
    mse = np.array(mse, float)
    values = {f"{k}/gqn/{name}": mse * k for k in (1, 3) for name in ("mse", "mse_of_best", "elbo", "importance_bound")}
    task = np.stack([tasks, *[np.zeros_like(tasks)] * 4], 1)
    Results(base | settings, task, values).save(folder)
    return folder


def test_comparing_pairs_the_same_tasks(tmp_path):
    a, b = [1.0, 5.0, 9.0, 2.0], [2.0, 6.5, 9.5, 3.0]
    first = evaluated(tmp_path / "a", a)
    one, three = compare([first, evaluated(tmp_path / "b", b)])
    assert (one.context, three.context, one.paired, one.scenes) == (1, 3, True, [4, 4])
    difference = one.differences[0]["mse"]
    assert difference.mean == pytest.approx(1.0)
    assert difference.stderr == pytest.approx(standard_error(np.array([1.0, 1.5, 0.5, 1.0])))
    assert difference.p < 1e-5
    [unpaired, _] = compare([first, evaluated(tmp_path / "c", b, tasks=np.arange(4) + 9)])
    assert not unpaired.paired
    assert unpaired.differences[0]["mse"].stderr == pytest.approx(
        np.hypot(standard_error(np.array(a)), standard_error(np.array(b)))
    )
    assert unpaired.differences[0]["mse"].p > 0.5
    # another order, and one task that the first does not have
    [some, _] = compare([first, evaluated(tmp_path / "d", [7.0, 3.0, 6.5], tasks=np.array([8, 3, 1]))])
    assert some.paired and some.scenes == [2, 2]
    assert some.differences[0]["mse"].mean == pytest.approx(((6.5 - 5) + (3 - 2)) / 2)


def test_p_values_are_those_of_chance():
    """Of two runs that do not differ, one comparison in twenty has p < 0.05."""
    from gqn.evaluation.compare import difference

    draw = np.random.default_rng(0)
    for paired in (True, False):
        ps = [difference(draw.normal(size=100), draw.normal(size=100), paired).p for _ in range(2000)]
        assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.015)
    same = draw.normal(size=9)
    assert difference(same, same, True).p == 1


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ({"samples": 4}, {"mse", "elbo", "importance_bound"}),
        ({"draws": 1}, {"mse", "mse_of_best", "elbo"}),
        ({"pixel_std": 0.5}, {"mse", "mse_of_best"}),
        ({}, {"mse", "mse_of_best", "elbo", "importance_bound"}),
    ],
)
def test_metrics_that_depend_on_a_setting_compare_at_the_same(tmp_path, setting, left):
    runs = [evaluated(tmp_path / "a", [1, 2]), evaluated(tmp_path / "b", [1, 3], **setting)]
    assert compare(runs)[0].differences[0].keys() == left


def test_what_does_not_compare_is_refused(tmp_path, capsys):
    a = evaluated(tmp_path / "a", [1, 2])
    b = evaluated(tmp_path / "b", [1, 2], image_size=64)
    c = evaluated(tmp_path / "c", [1, 2], context_views=[2])
    made_run(tmp_path / "new")
    made_run(tmp_path / "broken")
    (tmp_path / "broken" / "eval.npz").write_bytes((a / "eval.npz").read_bytes()[:200])
    for others, says in (
        ([], "give two runs or more"),
        ([b], "jaco at 64 px"),
        ([c], "no number of context views"),
        ([tmp_path / "new"], "has not been evaluated: gqn eval"),
        ([tmp_path / "broken"], "is damaged"),
        ([tmp_path / "nowhere"], "there is no run folder"),
    ):
        assert cli.main(["compare", str(a), *map(str, others)]) == 2
        assert says in capsys.readouterr().err


def test_compare_prints_both_sides(tmp_path, capsys):
    runs = [evaluated(tmp_path / name, values) for name, values in (("a", [1, 2, 3]), ("b", [2, 3.1, 4]))]
    assert cli.main(["compare", *map(str, runs)]) == 0
    out = capsys.readouterr().out
    assert "2.00000 ± 0.57735" in out and "1.03333 ± 0.03333" in out and "<0.001" in out
    assert "paired over 3 tasks" in out and str(runs[1]) in out


def test_bits_per_dimension_of_a_batch_are_those_of_its_images():
    model, task = checkpoint.build(TOY), made_up(batch=3)
    values = measure(model, task, 0.7, torch.Generator().manual_seed(0))
    expected = bits_per_dimension(values["elbo"], 3 * 16 * 16)
    torch.testing.assert_close(values["bits"], expected)

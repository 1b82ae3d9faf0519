"""`gqn compare` pairs the same tasks, finds differences as often as chance does, and refuses what does not compare."""

import numpy as np
import pytest

from gqn.cli import main as cli
from gqn.evaluation.compare import compare
from gqn.evaluation.results import Results
from gqn.metrics.statistics import standard_error
from support import made_run


def evaluated(folder, mse, tasks=None, **settings):
    """A run with given numbers, from one and three context views."""
    folder.mkdir()
    tasks = np.arange(len(mse)) if tasks is None else tasks
    base = {
        "dataset": "jaco",
        "data": "",
        "image_size": 32,
        "scenes": len(mse),
        "trained_context": 3,
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

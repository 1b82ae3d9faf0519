"""Tables of an evaluation are whole, and ratios have the errors of ratios."""

import json

import numpy as np
import pytest

from gqn.cli import main as cli
from gqn.errors import BadInput
from gqn.evaluation import evaluate, results
from gqn.evaluation.evaluate import Settings
from gqn.evaluation.results import MODEL, Results
from gqn.runtime import reading
from support import made_run


def test_tables_are_never_cut(tmp_path, monkeypatch, capsys):
    run = made_run(tmp_path / "run")
    found = evaluate.evaluate(run, Settings(context=(1, 2, 3), scenes=2, samples=2, importance_samples=1))
    for environment in ({"TERM": "dumb", "COLUMNS": "40"}, {"COLUMNS": "40"}):
        monkeypatch.delenv("TERM", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        results.show(found)
        shown = capsys.readouterr().out
        assert cli.main(["compare", str(run), str(run)]) == 0
        for text in (shown, capsys.readouterr().out):
            assert "…" not in text
            for context in (1, 2, 3):
                of = found.summary(context, "gqn")["mse"]
                assert f"{of['mean']:.5f} ± {of['stderr']:.5f}" in text


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


def test_evaluations_of_before_are_read(run, tmp_path):
    """gqn 0.1.0 called the spread "pixel_std", and any model "gqn"; nothing else of its files is another thing now."""
    now = results.load(run)
    old = {name.replace("/spread", "/pixel_std"): values for name, values in now.values.items()}
    assert any(name.endswith("/pixel_std") for name in old) and not any(name.endswith("/spread") for name in old)
    settings = {name: value for name, value in now.settings.items() if name != "model"}
    Results(settings, now.tasks, old).save(made_run(tmp_path / "old"))
    before = results.load(tmp_path / "old")
    assert before.values.keys() == now.values.keys()
    assert before.summary(2, MODEL) == now.summary(2, MODEL)
    assert before.settings["pixel_std"] == 0.7


def test_an_evaluation_that_is_none_is_refused_when_it_is_read(run, tmp_path):
    """Not with a traceback when it is compared."""
    now, rows = results.load(run), np.zeros(3)
    name = next(iter(now.values))
    for number, (settings, tasks, values) in enumerate(
        [
            (now.settings | {"samples": "8"}, now.tasks, now.values),
            (now.settings | {"context_views": [1, 2.5]}, now.tasks, now.values),
            ({key: value for key, value in now.settings.items() if key != "dataset"}, now.tasks, now.values),
            (now.settings, now.tasks[:, :3], now.values),
            (now.settings, now.tasks.astype(float), now.values),
            (now.settings, now.tasks[0], now.values),
            (now.settings, now.tasks, now.values | {name: rows}),
            (now.settings, now.tasks, now.values | {name: now.values[name].astype(str)}),
        ]
    ):
        folder = made_run(tmp_path / f"{number}")
        with open(folder / "eval.npz", "wb") as file:
            np.savez_compressed(file, settings=np.array(json.dumps(settings)), tasks=tasks, **values)
        with pytest.raises(BadInput, match=r"eval\.npz is damaged \(.*\): gqn eval .* makes it again") as raised:
            results.load(folder)
        assert "\n" not in str(raised.value)


def test_numbers_that_are_not_finite_are_null_in_the_table(run, tmp_path):
    now = results.load(run)
    results.Results(now.settings, now.tasks, now.values | {"1/gqn/psnr": np.full(7, np.inf)}).save(tmp_path)
    found = reading.table(tmp_path / "eval.json")["results"]["1"]["gqn"]
    assert found["psnr"]["mean"] is None and json.loads(
        (tmp_path / "eval.json").read_text(), parse_constant=pytest.fail
    )
    assert results.cells(found)["psnr"] == "- ± -"


def test_the_models_column_has_its_name(run, capsys):
    one = results.load(run)
    results.show(Results(one.settings | {"model": "mine", "context_views": [2]}, one.tasks, one.values))
    assert "mine" in capsys.readouterr().out

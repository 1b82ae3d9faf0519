"""RESULTS.md is what its script writes, and a row comes out again."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from gqn.artifacts import checkpoint
from gqn.evaluation.evaluate import Settings, evaluate
from support import TOOK, made_run

RUNS = Path(__file__).parents[1] / "runs"


def script(name):
    spec = importlib.util.spec_from_file_location(f"runs_{name}", RUNS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


results, repeat = script("results"), script("repeat")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = made_run(tmp_path_factory.mktemp("run") / "toy")
    checkpoint.save_training(folder, TOOK)
    evaluate(folder, Settings(context=(1, 3), scenes=12, samples=2, importance_samples=2))
    return folder


@pytest.fixture
def kept(run, tmp_path, monkeypatch):
    """A folder with the evaluation of one run, toy, in place of the published ones."""
    shutil.copy(run / "eval.json", tmp_path / "toy.json")
    for module in (results, repeat):
        monkeypatch.setattr(module, "KEPT", tmp_path)
    monkeypatch.setattr(results, "WRITTEN", tmp_path / "RESULTS.md")
    return tmp_path


def test_a_row_holds_what_the_evaluation_found(kept):
    results.main()
    text = (kept / "RESULTS.md").read_text()
    found = json.loads((kept / "toy.json").read_text())
    (row,) = (line for line in text.splitlines() if line.startswith("| [toy]"))
    mse = found["results"]["3"]["gqn"]["mse"]
    for part in (" demo ", " 1,234,567 ", " 2 h 03 min ", TOOK["machine"], f"{mse['mean']:.5f} ± {mse['stderr']:.5f}"):
        assert part in row
    heads = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert heads[0] == heads[1] == heads[2] and len(set(heads[3:])) == 1  # whole tables
    for part in (TOOK["command"], TOOK["commit"], found["evaluation"]["command"], "| 3 | mean image |"):
        assert part in text
    assert len(re.findall(r"\d ± \d", text)) == 6 + 2 * 3 * 7


def test_an_evaluation_that_does_not_say_where_it_comes_from(kept):
    found = json.loads((kept / "toy.json").read_text())
    (kept / "toy.json").write_text(json.dumps(found | {"training": {}}))
    with pytest.raises(SystemExit, match=r"toy\.json has no 'training'"):
        results.main()


def test_a_row_comes_out_again_but_for_what_is_wrong(run, kept, monkeypatch, capsys):
    found = json.loads((kept / "toy.json").read_text())
    found["results"]["3"]["gqn"]["psnr"]["mean"] += 5
    (kept / "toy.json").write_text(json.dumps(found))
    before = (run / "eval.json").read_text()
    monkeypatch.setattr(sys, "argv", ["repeat.py", "toy", "--scenes", "6"])
    assert repeat.main() == 1
    out = capsys.readouterr().out
    assert "of the first 6" in out
    assert "gqn, 3 views, psnr: published" in out and "toy: 1 published numbers" in out
    assert (run / "eval.json").read_text() == before  # the run's own evaluation is left alone


@pytest.mark.skipif(not list((RUNS / "results").glob("*.json")), reason="nothing is published yet")
def test_results_md_is_what_the_script_writes():
    evaluations = {path.stem: results.load(path) for path in sorted((RUNS / "results").glob("*.json"))}
    assert (RUNS.parent / "RESULTS.md").read_text() == results.written(evaluations)

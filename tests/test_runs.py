"""RESULTS.md is what its script writes, and a row comes out again. The scripts for a GPU keep what they find."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
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


def shell(name, *arguments, **environment):
    """A script of the shell, with this Python."""
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(
        [RUNS / f"{name}.sh", *arguments], capture_output=True, text=True, timeout=200, env=environment
    )


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["viewer_load.py", "RUN", "--seconds", "1", "--clients", "2"], "\n0 errors"),
        (["soak.py", "viewer", "--run", "RUN", "--seconds", "1"], "MB, 0 errors"),
        (["soak.py", "train", "--seconds", "0", "-t", "8"], "0 runs, 0 stops: 0 not as the straight one"),
    ],
)
def test_long_measurements_begin(run, command, says):
    command = [sys.executable, RUNS / command[0], *(str(run) if word == "RUN" else word for word in command[1:])]
    said = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert said.returncode == 0, said.stderr
    assert says in said.stdout


@pytest.mark.parametrize("name", ["gpu", "founding"])
def test_scripts_are_shell(name):
    subprocess.run(["bash", "-n", RUNS / f"{name}.sh"], check=True)


def test_a_failing_part_is_named_and_the_next_runs(tmp_path):
    said = shell("gpu", "--dry", PYTHON="false", PARTS="tests tasks", OUT=str(tmp_path))
    assert said.returncode == 1
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["tests: FAILED with 1", "tasks: FAILED with 1"]
    with tarfile.open(tmp_path / "results.tar.gz") as packed:
        assert {"results/tests.log", "results/tasks.log"} <= set(packed.getnames())


def test_parts_that_no_time_is_left_for_are_named(tmp_path):
    said = shell("gpu", "--dry", SECONDS_PARTS="0", PARTS="tests", OUT=str(tmp_path))
    assert said.returncode == 1 and "tests: FAILED, as there is no time left" in said.stdout


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    """A short founding run, at toy size, and the folder that its parts were left in."""
    place = tmp_path_factory.mktemp("slice")
    said = shell("founding", "100", "-t", "4", "-f", "2", DRY="1", LOGDIR=str(place / "log"), OUT=str(place / "parts"))
    assert said.returncode == 0, said.stderr
    (run,) = (place / "log").glob("founding-*")
    assert said.stdout.splitlines()[-1].startswith(f"{run.name}: 4 samples, MSE 0.")
    return run, place / "parts"


def test_the_founding_run_goes_on_from_its_parts_on_another_machine(sliced, tmp_path):
    run, parts = sliced
    there = {"DRY": "1", "LOGDIR": str(tmp_path / "log"), "OUT": str(tmp_path / "parts"), "FROM": str(parts)}
    said = shell("founding", "100", "-t", "8", "-f", "2", **there)
    assert said.returncode == 0, said.stderr
    assert "going on after step 2 of 4" in said.stdout
    assert said.stdout.splitlines()[-1].startswith(f"{run.name}: 8 samples, MSE 0.")
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"founding.sha256", "founding.tar.gz.part-aa"}


@pytest.mark.parametrize("harm", ["damage", "remove", "forget"])
def test_a_part_that_is_damaged_or_missing_is_refused(sliced, tmp_path, harm):
    parts = shutil.copytree(sliced[1], tmp_path / "parts")
    if harm == "damage":
        with open(parts / "founding.tar.gz.part-aa", "r+b") as file:
            file.seek(1000)
            file.write(b"damage")
    else:
        (parts / ("founding.tar.gz.part-aa" if harm == "remove" else "founding.sha256")).unlink()
    said = shell("founding", "100", DRY="1", LOGDIR=str(tmp_path / "log"), OUT=str(parts))
    assert said.returncode == 1 and said.stdout == ""
    (line,) = said.stderr.splitlines()
    assert "is damaged or missing" in line and not (tmp_path / "log").exists()

"""The measurements run, at toy size, and say what they are for."""

import json
import os
import subprocess
import sys

import pytest

from gqn.cli import bench
from gqn.cli.main import main
from gqn.runtime import devices
from support import run

MEASURES = {
    "step": (["--rounds", "1"], {"textbook", "float32", "bf16"}),
    "sampling": (["--rounds", "1"], {"textbook", "float32", "bf16"}),
    "muon": (["--rounds", "1"], {"gram", "float32", "bf16"}),
    "viewer": (["--seconds", "0.5", "--crowd-seconds", "0.5", "--no-browser"], {"socket", "clients"}),
}


@pytest.mark.parametrize("name", MEASURES)
def test_measures(tmp_path, name):
    program = "import sys; from gqn.cli.main import main; sys.exit(main(sys.argv[1:]))"
    own, expected = MEASURES[name]
    flags = ["bench", name, "--toy", "--threads", "1", *own, "--json", str(tmp_path / "figures.json")]
    subprocess.run(
        [sys.executable, "-c", program, *flags], check=True, capture_output=True, timeout=200, env=os.environ
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {"machine", *expected} <= figures.keys()
    assert all(figures[form] for form in expected - {"bf16"})
    if "bf16" in expected:
        assert (figures["bf16"] is not None) == devices.has_bfloat16(gpu=False)


@pytest.mark.parametrize("name", ["step", "sampling"])
def test_arithmetic_that_the_machine_has_not_is_not_measured(tmp_path, monkeypatch, capsys, name):
    """Without hardware a product in bfloat16 takes a hundred times as long: minutes."""
    monkeypatch.setattr(devices, "has_bfloat16", lambda gpu: False)
    monkeypatch.setattr(sys, "argv", sys.argv)
    out = tmp_path / "figures.json"
    assert main(["bench", name, "--toy", "--threads", "1", "--rounds", "1", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["bf16"] is None and figures["textbook"] and figures["float32"]


def test_an_unknown_measurement_names_the_known_ones(capsys):
    assert main(["bench", "stpe"]) == 2
    assert "Did you mean 'step'?" in capsys.readouterr().err


def test_bench_outside_a_checkout(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "a" / "b" / "c" / "d" / "bench.py"))
    code, _, err = run(capsys, "bench", "step")
    assert code == 2 and "needs a checkout of the project" in err

"""The measurements run, at toy size, and say what they are for."""

import json
import os
import subprocess
import sys

import pytest
import torch

from gqn.cli import bench
from gqn.cli.main import main
from gqn.models import kernels
from gqn.runtime import devices
from support import run
from training.test_graphs import Plain, Refusing

MEASURES = {
    "step": (["--rounds", "1", "--batch", "2"], {"textbook", "float32", "bf16"}),
    "sampling": (["--rounds", "1"], {"textbook", "float32", "bf16"}),
    "muon": (["--rounds", "1"], {"gram", "float32", "bf16"}),
    "tasks": ([], {"datasets", "main_ms_per_batch"}),
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


@pytest.fixture
def step(tmp_path, monkeypatch, capsys):
    """step(*flags): what `gqn bench step` finds of a toy model."""
    monkeypatch.setattr(sys, "argv", sys.argv)

    def measure(*flags):
        out = tmp_path / "figures.json"
        assert main(["bench", "step", "--toy", "--threads", "1", "--batch", "2", *flags, "--json", str(out)]) == 0
        return json.loads(out.read_text())

    return measure


def test_every_form_of_a_step_has_the_same_fields_also_without_a_gpu(step, monkeypatch):
    assert step("--rounds", "0")["graph"] is None
    monkeypatch.setitem(sys.modules["forms"].RECORDERS, "cpu", lambda device, parameters: Plain())
    figures = step("--rounds", "1", "--forms", "textbook,float32,graph")
    forms = [figures[name] for name in ("textbook", "float32", "graph")]
    assert forms[0].keys() == forms[1].keys() == forms[2].keys()
    assert all(value is not None for form in forms for value in form.values())
    assert forms[2]["peak_memory_mb"] == Plain.bytes / 2**20
    assert figures["waiting_for_data"] is not None


def test_a_graph_that_cannot_be_recorded_is_null(step, monkeypatch):
    step("--rounds", "0", "--forms", "float32")
    monkeypatch.setitem(sys.modules["forms"].RECORDERS, "cpu", lambda device, parameters: Refusing())
    figures = step("--rounds", "0", "--forms", "float32,graph")
    assert figures["graph"] is None and figures["float32"]


def test_work_that_is_only_counted(step):
    """The preset's own optimizer counts: Muon's products are launches. Unlike speed, these do not need the hardware."""
    figures = {preset: step("--rounds", "0", "--forms", "float32", "--preset", preset) for preset in ("paper", "fast")}
    assert "adam" in figures["paper"]["model"] and "muon" in figures["fast"]["model"]
    for found in figures.values():
        assert found["float32"]["samples_per_second"] is None and found["waiting_for_data"] is None
        assert found["float32"]["launches"] > 100 and found["float32"]["gbyte_per_sample"] > 0
    assert figures["paper"]["float32"]["launches"] < figures["fast"]["float32"]["launches"]


def test_what_is_counted_are_launches_and_the_bytes_that_they_touch(step):
    step("--rounds", "0", "--forms", "float32")  # so that bench is where modules are looked for
    forms = sys.modules["forms"]
    x, w, b = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3, requires_grad=True), torch.ones(4, requires_grad=True)

    def counted(work):
        return forms.count(work)[1:]

    assert counted(lambda: x.view(-1)[3:].unsqueeze(0).detach()) == (0, 0)
    assert counted(lambda: torch.empty(5)) == (0, 0)
    assert counted(lambda: x + 1) == (1, 2 * 4 * x.numel())
    assert counted(lambda: x[:, :1].expand(2, 1000, 8, 8).neg())[1] == 4 * (x.numel() + 2 * 1000 * 64)
    assert counted(lambda: x.mul_(2)) == (1, 2 * 4 * x.numel())
    convolved = torch.conv2d(x, w, b)
    assert counted(lambda: torch.conv2d(x, w))[0] == 1 and counted(lambda: torch.conv2d(x, w, b))[0] == 2
    assert counted(lambda: torch.autograd.grad(convolved, (w, b), torch.ones_like(convolved)))[0] == 2 + 1


def test_a_kernel_of_the_packages_own_is_a_launch(step, monkeypatch):
    step("--rounds", "0", "--forms", "float32")
    launched = []
    monkeypatch.setattr(kernels, "_launch", lambda *given: launched.append(given))
    x = torch.ones(2, 4, 1, 1)
    count = sys.modules["forms"].count(lambda: kernels._launch(None, x, None, x))
    assert count == (0, 1, 2 * 4 * x.numel()) and len(launched) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--forms", "float23"], "Did you mean 'float32'?"),
        (["--forms", "graph"], "unknown form 'graph'"),
        *([(["--gpu"], "asks for 1 GPU(s)")] if not torch.cuda.is_available() else []),
    ],
)
def test_what_cannot_be_measured_here_is_said_in_a_line(monkeypatch, capsys, flags, said):
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert main(["bench", "step", "--toy", *flags]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_an_unknown_measurement_names_the_known_ones(capsys):
    assert main(["bench", "stpe"]) == 2
    assert "Did you mean 'step'?" in capsys.readouterr().err


def test_bench_outside_a_checkout(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "a" / "b" / "c" / "d" / "bench.py"))
    code, _, err = run(capsys, "bench", "step")
    assert code == 2 and "needs a checkout of the project" in err

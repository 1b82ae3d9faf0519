"""The command line as a person meets it: every mistake is a line that names it, and never a traceback."""

import os
import subprocess
import sys

import pytest

import gqn
from support import run


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["train", "papre"], "unknown preset 'papre'. Did you mean 'paper'?"),
        (["train", "demo", "--image-size", "30"], "multiple of 4"),
        (["train", "demo", "-c", "15"], "whose scenes have 15 views: at most 14"),
        (["train", "demo", "-d", "rooms_ring_camra"], "Did you mean 'rooms_ring_camera'?"),
        (["train", "demo", "--batch-size", "0"], "--batch-size must be positive"),
        (["train", "demo", "--kernel-size", "4"], "must be odd"),
        (["train", "demo", "--representation-maps", "20"], "multiple of 8"),
        (["train", "demo", "--sigmoid-output"], "the lattice starts from a picture"),
        (["train", "demo", "--config", "nowhere.toml"], "cannot read nowhere.toml"),
        (["train", "demo", "--nonsense", "1"], "--nonsense"),
        (["train", "demo", "--devices", "0"], "--devices must be at least 1"),
        (["train", "demo", "--seed", "-1"], "--seed must be"),
        (["train", "demo", "--hold-out", "--dry-run"], "no documented hold-out"),
        (["figure", "nowhere.png", "RUN"], "unknown name in figures 'nowhere.png'"),
        (["train", "demo", "--num-steps", "many"], "many"),
        (["train", "demo", "--logdir", "/proc/nowhere"], "cannot write"),
        (["eval", "nowhere"], "there is no run folder nowhere"),
        (["eval", "nowhere", "--scenes", "0"], "not a positive whole number"),
        (["eval", "nowhere", "--context", "1,x"], "'x' is not a positive whole number"),
        (["compare", "nowhere", "nowhere"], "there is no run folder nowhere"),
        (["figure", "prediction", "nowhere"], "Did you mean 'predictions'?"),
        (["tran"], "Did you mean 'train'?"),
        ([], "usage"),
        (["train", "--gpu", "demo"], "demo; PRESET comes first: gqn train demo"),
        (["train", "demo", "--imge-size", "32"], "--imge-size, 32: did you mean --image-size? (gqn train --help"),
        (["train", "demo", "--run-suffix"], "Missing value for argument '--run-suffix'"),
        (["train", "demo", "--data-digest", "0"], "--data-digest"),
        (["train", "demo", "--model", "gqm"], "unknown name in models 'gqm'. Did you mean 'gqn'?"),
        (["train", "demo", "--model", "layers"], "unknown name in models 'layers'"),
        (["train", "demo", "--model", "json"], "unknown name in models 'json'"),
        (["train", "demo", "--init", "nowhere"], "there is no run folder nowhere"),
        (["train", "demo", "--init", "sm5-32", "-u", "32"], "--num-recurrent-maps: 32 here, 64 there"),
        (["eval"], "the following arguments are required: RUN (gqn eval --help"),
        (["eval", "--", "nowhere"], "there is no run folder nowhere"),
        (["data"], "usage"),
        (["data", "rendr"], "'rendr'"),
        (["data", "info"], "required: PATH (gqn data info --help"),
        (["figure"], "usage"),
        (["figure", "--list"], "--list (gqn figure --help"),
        (["figure", "orbit"], "required: subject (gqn figure orbit --help"),
        (["bench"], "usage"),
        (["help", "tran"], "Did you mean 'train'?"),
    ],
)
def test_bad_input(capsys, argv, says):
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert says in out + err
    assert "Traceback" not in out + err
    assert out.startswith("usage") if says == "usage" else err.startswith("gqn: ") and err.count("\n") == 1


COMMANDS = (
    "train, eval, compare, figure, figure orbit, figure scenes, export, data, data render, data info, view, bench"
)


@pytest.mark.parametrize("command", COMMANDS.split(", "))
def test_help_before_a_command_is_help_after_it(capsys, command):
    code, out, _ = run(capsys, "help", *command.split())
    assert code == 0 and out.startswith(f"usage: gqn {command.split()[0]}")
    for flag in ("--help", "-h"):
        assert run(capsys, *command.split(), flag) == (code, out, "")
    assert run(capsys, "help") == run(capsys, "--help")


@pytest.mark.parametrize("module", ["gqn", "gqn.cli.main"])
def test_the_package_is_a_program(module):
    found = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, f"gqn {gqn.__version__}\n")


def test_help_does_not_import_torch():
    code = "import sys, gqn.cli.main, gqn.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0

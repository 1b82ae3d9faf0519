"""A model that is dropped on the path is trained, measured, drawn, exported, viewed by name; nothing else changes."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from gqn import models
from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.models import DrawsInSteps
from gqn.viewer.protocol import Question
from gqn.viewer.session import Session

FILE = Path(__file__).parent / "dropped" / "blend.py"
SETS = "--image-size 16 -c 2 -y 8 -b 4 -t 80 -v 8 -ri 0.02 -pi 0.3 -pf 0.3 --workers 0"


@pytest.fixture
def name(tmp_path, monkeypatch):
    """The model in a folder of the path, as a user has it, or in a package of theirs."""
    shutil.copy(FILE, tmp_path / "blend.py")
    monkeypatch.syspath_prepend(tmp_path)
    yield "blend"
    sys.modules.pop("blend", None)


@pytest.fixture
def run(name, tmp_path, capsys):
    assert main(["train", "--model", name, *SETS.split(), "--logdir", str(tmp_path)]) == 0
    return tmp_path / "founding-shepard_metzler_5_parts-16px"


def test_a_model_of_its_own_by_every_command(run, tmp_path, capsys, monkeypatch):
    config = json.loads((run / "config.json").read_text())
    assert config["model"] == {"name": "blend", "hidden": 8}
    losses = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in losses if line["kind"] == "train"]
    assert train[-1]["kl"] == 0 and train[-1]["kl_steps"] == []
    for command in (
        f"train --model blend {SETS} --logdir {tmp_path} -t 160",  # goes on
        f"eval {run} --scenes 8 --context 1,2 --samples 2",
        f"compare {run} {run}",
        f"figure predictions {run} --rows 2",
        f"figure orbit {run} --views 4",
        f"figure context {run} --scenes 4",
        f"export {run} --to safetensors --out {tmp_path / 'given'}",
        f"eval {tmp_path / 'given'} --scenes 2 --context 2",
        f"train --init {run} --logdir {tmp_path / 'other'} -t 4 -b 4 -v 4 --workers 0 -c 2",
    ):
        assert main(command.split()) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "MSE" in out and "model `blend`" in (tmp_path / "given" / "README.md").read_text()
    assert main(f"figure steps {run}".split()) == 2
    assert "this one does not" in capsys.readouterr().err
    again = json.loads((tmp_path / "other" / "founding-shepard_metzler_5_parts-16px" / "config.json").read_text())
    assert again["model"] == {"name": "blend", "hidden": 8}  # those of --init


def test_a_model_may_choose_its_own_std(tmp_path, monkeypatch, capsys):
    """Of every pixel: its loss has no floor, which is said where others have one, and validation goes by the loss."""
    text = FILE.read_text()
    for before, after in (
        ("(mean, pixel_std)", "(mean, self.std.exp().expand_as(mean))"),
        ("self.image_size = image_size\n", "self.image_size = image_size\n        self.std = size_of(image_size)\n"),
        (
            "class Blend",
            "def size_of(size):\n    return nn.Parameter(torch.full((3, size, size), -1.0))\n\n\nclass Blend",
        ),
    ):
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "own.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["train", "--model", "own", *SETS.split(), "-f", "40", "--logdir", str(tmp_path)]) == 0
    run = tmp_path / "founding-shepard_metzler_5_parts-16px"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert not any("excess" in line for line in lines)
    losses = [-line["elbo"] for line in lines if line["kind"] == "val"]
    assert checkpoint.read_state(run / "best.ckpt")["best"] == pytest.approx(min(losses))
    capsys.readouterr()
    assert main(f"eval {run} --scenes 4 --context 1,2 --samples 2".split()) == 0
    assert "own chooses the std of pixels itself: its loss has no floor" in capsys.readouterr().out
    found = json.loads((run / "eval.json").read_text())["results"]["1"]
    assert "excess" not in found["gqn"] and "excess" in found["nearest view"]
    assert main(f"export {run} --to safetensors --out {tmp_path / 'given'}".split()) == 0
    card = (tmp_path / "given" / "README.md").read_text()
    assert "chooses the std of pixels itself" in card and "| 1 | own | 0." in card and "| gqn |" not in card
    assert "this model (`own`) draws" in card
    sys.modules.pop("own")


def test_another_model_than_that_of_the_weights_keeps_the_preset(run, capsys):
    assert main(["train", "demo", "--init", str(run), "--model", "gqn", "--dry-run"]) == 0
    assert '"representation": "separable_lattice"' in capsys.readouterr().out


def test_other_weights_do_not_fit(run, tmp_path, capsys):
    """What is said is in which options both models differ, and not what one of them lacks."""
    command = (
        f"train --init {run} --model gqn --logdir {tmp_path / 'other'} -t 4 -b 4 -v 4 --workers 0 -c 2 --image-size 16"
    )
    assert main(command.split()) == 2
    assert "do not fit (--model: 'gqn' here, 'blend' there): unless" in capsys.readouterr().err


def test_it_learns(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "val"] == [20]
    config, model = checkpoint.load(run)
    fresh = checkpoint.build(config)
    assert not torch.equal(model.shade, fresh.shade)


def test_its_sampler_runs_without_pytorch(run, tmp_path):
    pytest.importorskip("onnxruntime")
    assert main(f"export {run} --to onnx --out {tmp_path / 'onnx'}".split()) == 0
    assert (tmp_path / "onnx" / "sampler.onnx").exists()


def test_it_is_viewed(run):
    config, model = checkpoint.load(run)
    assert not isinstance(model, DrawsInSteps)
    session = Session("blend", config, model)
    assert session.about()["steps"] == 1
    for about in ("scene", "view", "samples"):
        question = Question(
            about=about, id=1, dataset=config.data.dataset_name, scene=0, context=(0, 1), camera=2, seed=0, step=0
        )
        parts = list(session(question))
        assert parts


def test_it_has_help_and_wrong_options_are_a_line(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--model", name, "--help"])
    assert stop.value.code == 0 and "--hidden" in capsys.readouterr().out
    assert main(["train", "--model", name, "--hidden", "0"]) == 2
    assert "--hidden must be positive" in capsys.readouterr().err
    assert main(["train", "--model", name, "--num-steps", "3"]) == 2
    assert "--num-steps" in capsys.readouterr().err


def test_a_files_options_may_be_the_models(name, run, tmp_path, capsys):
    """Of the model that --model names, or of that whose weights the file starts from."""
    file = tmp_path / "my.toml"
    file.write_text("hidden = 5\n")
    assert main(["train", "--model", name, "--config", str(file), "--dry-run"]) == 0
    file.write_text(f"hidden = 5\ninit = '{run}'\n")
    assert main(["train", "--config", str(file), "--dry-run"]) == 0
    assert capsys.readouterr().out.count('"hidden": 5') == 2
    assert main(["train", "--model", "", "--dry-run"]) == 2


def test_a_model_of_a_package_has_a_dotted_name(tmp_path, monkeypatch):
    (tmp_path / "mine_here").mkdir()
    (tmp_path / "mine_here" / "__init__.py").write_text("")
    shutil.copy(FILE, tmp_path / "mine_here" / "blend.py")
    monkeypatch.syspath_prepend(tmp_path)
    options = models.options("mine_here.blend")()
    assert models.name_of(options) == "mine_here.blend"
    assert isinstance(models.build(options, 16, (1.0, 1.0, 1.0)), torch.nn.Module)


def test_the_contract_holds_for_it(name):
    """As in test_contract.py, of which it is an example."""
    from support import made_up

    model = models.build(models.options(name)(), 16, (1.0, 1.0, 1.0))
    task = made_up(batch=2, context=3, queries=4)
    prediction = model(task.context, task.query, 0.7, model.noise(2, 4, samples=5))
    assert prediction.image.mean.shape == (5, 2, 4, 3, 16, 16)
    r = model.represent(task.context)
    assert model.sample(r, task.query.cameras, samples=3).shape == (3, 2, 4, 3, 16, 16)


@pytest.mark.parametrize("taken", ["seed", "optimizer", "model"])
def test_its_options_have_names_of_their_own(tmp_path, monkeypatch, capsys, taken):
    (tmp_path / "taken.py").write_text(FILE.read_text().replace("hidden", taken))
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["train", "--model", "taken", "--dry-run"]) == 2
    assert f"two options are called --{taken}: rename" in capsys.readouterr().err
    sys.modules.pop("taken")


def test_only_a_model_is_imported(tmp_path, monkeypatch, capsys):
    """A config that a stranger wrote names any module; one that is no model is not run."""
    (tmp_path / "trap.py").write_text("raise SystemExit('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"format": 2, "model": {"name": "trap"}}))
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    assert main(["eval", str(tmp_path / "run")]) == 2
    (tmp_path / "run" / "model.safetensors").unlink()
    assert main(["eval", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "unknown name in models 'trap'" in said and "A model of your own must be on Python's path" in said
    assert "trap" not in sys.modules

"""A model by any of its names, and what is made of it."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gqn.artifacts import checkpoint, trained
from gqn.cli.main import main
from gqn.errors import BadInput
from support import TOY, made_run, refused


@pytest.fixture
def hub(run, monkeypatch, tmp_path):
    """A hub that has one repository, me/toy."""

    def snapshot_download(repository, allow_patterns):
        if repository != "me/toy":
            raise OSError(f"404 Client Error: {repository}\nand much more")
        cache = tmp_path / "cache"
        shutil.copytree(run, cache, dirs_exist_ok=True, ignore=lambda _, names: set(names) - set(allow_patterns))
        return str(cache)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))


@pytest.fixture
def shipped(run, monkeypatch, tmp_path):
    """A package that ships one model, toy-16."""
    shutil.copytree(run, tmp_path / "weights" / "toy-16")
    monkeypatch.setattr(trained, "SHIPPED", tmp_path / "weights")


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_four_names_open_one_model(run, hub, shipped, elsewhere):
    config, model = checkpoint.load(run)
    assert config == TOY
    for name in (str(run), str(run / "model.safetensors"), "toy-16", "hf://me/toy"):
        again, same = checkpoint.load(name)
        assert again == config, name
        assert all(torch.equal(a, b) for a, b in zip(same.parameters(), model.parameters(), strict=True)), name
        assert not any(p.requires_grad for p in same.parameters())


def test_a_checkpoint_is_a_model(tmp_path, capsys):
    """best.ckpt by its name, with what is made of it in a folder of its own: that of the final weights stays."""
    run = made_run(tmp_path / "run")
    final = checkpoint.load(run)[1].state_dict()
    best = {name: weight + 1 for name, weight in final.items()}
    torch.save({"model": best, "step": 7, "seconds": 5.4}, run / "best.ckpt")
    config, model, took = checkpoint.opened(run / "best.ckpt")
    assert config == TOY and took == {"samples": 7 * TOY.optimizer.batch_size, "seconds": 5}
    assert all(torch.equal(weight, best[name]) for name, weight in model.state_dict().items())
    assert f"{run}/best.ckpt after 7 of {TOY.steps} steps" in capsys.readouterr().out.replace("\n", "")
    assert trained.name(run / "best.ckpt") == "run-best"
    for name, folder in ((run, run), (run / "best.ckpt", run / "best")):
        assert main(["eval", str(name), "--scenes", "2", "--samples", "2"]) == 0
        assert f"{folder}/eval.json" in capsys.readouterr().out
        assert main(["figure", "predictions", str(name), "--rows", "1"]) == 0
        assert (folder / "predictions.png").exists()
    before, after = (json.loads((folder / "eval.json").read_text()) for folder in (run, run / "best"))
    assert before["results"] != after["results"] and before["training"] == {} and after["training"] == took
    assert main(["compare", str(run), str(run / "best.ckpt")]) == 0
    assert main(["export", str(run / "best.ckpt"), "--to", "safetensors", "--out", str(tmp_path / "gift")]) == 0
    given = checkpoint.load(tmp_path / "gift")[1].state_dict()
    assert all(torch.equal(weight, best[name]) for name, weight in given.items())
    assert f"{took['samples']} samples in" in (tmp_path / "gift" / "README.md").read_text()
    for content, says in ((b"half", "is damaged"), (None, "is no checkpoint")):
        torch.save([1], run / "best.ckpt") if content is None else (run / "best.ckpt").write_bytes(content)
        refused(run / "best.ckpt", says)


def test_what_is_here_comes_before_what_is_shipped(run, shipped, elsewhere):
    made_run(Path("toy-16"), TOY.having(num_steps=5))
    assert checkpoint.load("toy-16")[0].model.num_steps == 5


def test_repositories_of_one_name_are_told_apart(elsewhere):
    assert len({trained.beside(name) for name in ("hf://me/toy", "hf://you/toy")}) == 2


def test_what_is_made_lies_beside_or_in_log(run, hub, shipped, elsewhere, capsys):
    """By commands: figures, an evaluation, and its comparison."""
    assert trained.beside(run) == trained.beside(run / "model.safetensors") == run
    for name, folder in (("toy-16", "log/toy-16"), ("hf://me/toy", "log/me--toy")):
        assert main(["figure", "predictions", name, "--rows", "2", "--samples", "2"]) == 0
        assert f"{folder}/predictions.png" in capsys.readouterr().out
        assert {path.name for path in Path(folder).iterdir()} >= {"predictions.png", "predictions.json"}
    assert main(["eval", "toy-16", "--scenes", "2", "--samples", "2"]) == 0
    assert "log/toy-16/eval.json" in capsys.readouterr().out
    assert main(["compare", "toy-16", str(trained.SHIPPED / "toy-16")]) == 0
    assert "run 1: toy-16" in capsys.readouterr().out
    assert sorted(path.name for path in (trained.SHIPPED / "toy-16").iterdir()) == ["config.json", "model.safetensors"]
    made = json.loads(Path("log/toy-16/eval.json").read_text())["evaluation"]
    assert made["run"] == "toy-16" and made["version"] and made["machine"] and made["command"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["eval", "toy-61"], "no run folder toy-61, nor are weights of this name shipped (toy-16 are)"),
        (["eval", "hf://me/none"], "hf://me/none: 404 Client Error: me/none"),
        (["eval", "x" * 300], "x: File name too long"),
        (["compare", "toy-16", "toy-16"], "toy-16 has not been evaluated: gqn eval toy-16"),
        (["export", "hf://me/none", "--to", "safetensors"], "hf://me/none: 404"),
    ],
)
def test_there_is_no_such_model(hub, shipped, elsewhere, capsys, argv, says):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_the_hub_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadInput, match=r"pip install 'gqn\[hub\]'"):
        checkpoint.load("hf://me/toy")


def test_usage_names_what_is_shipped(shipped, capsys):
    main(["--help"])
    assert "toy-16" in capsys.readouterr().out


# What is shipped


@pytest.mark.parametrize("name", trained.shipped())
def test_shipped_weights(name, elsewhere):
    """Small, with a card and an evaluation, and worth showing: better than both floors."""
    folder = trained.find(name).parent
    assert (folder / "model.safetensors").stat().st_size <= 15 * 2**20
    assert {path.name for path in folder.iterdir()} == set(trained.FILES)
    config, _ = checkpoint.load(name)
    assert not config.origin.data
    found = json.loads((folder / "eval.json").read_text())
    assert found["dataset"] == config.data.dataset_name and found["training"]
    mse = {who: numbers["mse"]["mean"] for who, numbers in found["results"]["3"].items()}
    assert mse["gqn"] < min(mse["nearest view"], mse["mean image"])
    card = (folder / "README.md").read_text()
    assert config.data.dataset_name in card and f"{mse['gqn']:.5f}" in card
    assert main(["figure", "predictions", name, "--rows", "1", "--samples", "1"]) == 0

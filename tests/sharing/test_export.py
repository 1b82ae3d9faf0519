"""Models to give away: a folder with its card, a repository on the hub, and what is not given away."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch

from gqn.artifacts import checkpoint, trained
from gqn.artifacts.provenance import provenance
from gqn.cli.main import main
from gqn.errors import BadInput
from gqn.runtime import files
from gqn.sharing import export
from support import TOOK, made_run


def test_an_exported_model_is_the_model(run, tmp_path, capsys):
    assert main(["export", str(run), "--to", "safetensors", "--out", str(tmp_path / "gift")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/gift\n"
    assert {path.name for path in (tmp_path / "gift").iterdir()} == set(trained.FILES)
    config, model = checkpoint.load(run)
    given, same = checkpoint.load(tmp_path / "gift")
    assert config.origin.data == "/home/me/secret"
    assert given == config and given.origin.data == "" and given.stored
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), model.parameters(), strict=True))
    assert checkpoint.known(tmp_path / "gift" / "training.json") == TOOK
    again = export.export(tmp_path / "gift", tmp_path / "again", "bf16")
    assert "bfloat16" in (again / "README.md").read_text()
    assert (again / "eval.json").read_text() == (tmp_path / "gift" / "eval.json").read_text()
    assert "read from files" in (again / "README.md").read_text()  # though it is not known where they lie


def test_places_here_are_not_given_away(run, tmp_path, monkeypatch):
    for argv in (["--data", "/home/me/secret"], ["--data=/home/me/secret"]):
        monkeypatch.setattr("sys.argv", ["/usr/bin/gqn", "train", "demo", *argv, "-b", "8"])
        assert provenance(False, 1)["command"] == "gqn train demo --data DATA -b 8"
    for program in ("/usr/bin/gqn", "/home/me/secret/gqn/__main__.py"):
        monkeypatch.setattr("sys.argv", [program, "train", "--init=/home/me/secret/best.ckpt", "--config", "/secret/x"])
        assert provenance(False, 1)["command"] == "gqn train --init=best.ckpt --config x"
    monkeypatch.setattr("sys.argv", ["gqn", "train", "--data", "gs://gqn-dataset"])
    assert provenance(False, 1)["command"] == "gqn train --data gs://gqn-dataset"
    shutil.copytree(run, tmp_path / "run")
    found = json.loads((run / "eval.json").read_text()) | {"data": "/home/me/secret"}
    found["evaluation"]["run"] = "/home/me/secret/run"
    del found["checksum"]  # as whoever edits it must
    (tmp_path / "run" / "eval.json").write_text(json.dumps(found))
    old = checkpoint.config_of(run).flat() | {"data": "/home/me/secret"}  # as it was kept before, in format 1
    del old["model"], old["world"], old["own"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(old))
    for file in export.export(tmp_path / "run", tmp_path / "gift").iterdir():
        assert b"secret" not in file.read_bytes(), file


def test_two_do_not_export_to_one_folder(run, tmp_path):
    refused = r"another process holds .*gift: wait for it, or give another `out`"
    with files.alone(tmp_path / "gift"), pytest.raises(BadInput, match=refused):
        export.export(run, tmp_path / "gift")
    assert not (tmp_path / "gift").exists()


def test_what_cannot_be_exported(run, tmp_path, capsys):
    unfinished = made_run(tmp_path / "unfinished")
    (unfinished / "model.safetensors").unlink()
    (tmp_path / "file").write_text("")
    gift = export.export(run, tmp_path / "gift")
    for argv, says in (
        ([run, "--to", "safetensors", "--out", run], "is the model's own folder"),
        ([run, "--to", "safetensors", "--out", tmp_path / "file" / "x"], "cannot write"),
        ([run, "--to", "onnx", "--out", tmp_path / "file" / "x"], "cannot write"),
        ([unfinished, "--to", "safetensors", "--out", tmp_path / "x"], "has no final weights yet"),
        ([run, "--to", "hub"], "--repo OWNER/NAME go together"),
        ([run, "--to", "onnx", "--dtype", "bf16"], "leave --dtype away"),
        ([gift, "--to", "hub", "--repo", "me/toy", "--dtype", "bf16"], "as it is: leave --dtype away"),
    ):
        assert main(["export", *map(str, argv)]) == 2
        err = capsys.readouterr().err
        assert says in err and err.count("\n") == 1


def test_only_an_exported_model_is_written_over(run, tmp_path):
    """Neither another run nor a project loses its files; what was known of the model before is not left beside it."""
    other, project = made_run(tmp_path / "other"), tmp_path / "project"
    project.mkdir()
    (project / "README.md").write_text("# A project")
    for folder, name in ((other, "config.json"), (project, "README.md")):
        before = (folder / name).read_bytes()
        with pytest.raises(BadInput, match=f"holds {name}, which is not of an exported model"):
            export.export(run, folder)
        assert (folder / name).read_bytes() == before
    gift = export.export(run, tmp_path / "gift")
    (gift / "predictions.png").write_text("")  # a figure of it
    export.export(made_run(tmp_path / "plain"), gift)
    assert {p.name for p in gift.iterdir()} == {"model.safetensors", "config.json", "README.md", "predictions.png"}


def test_a_kill_leaves_no_mixture_of_two_models(run, tmp_path, monkeypatch):
    gift, plain = export.export(run, tmp_path / "gift"), made_run(tmp_path / "plain")
    monkeypatch.setattr(checkpoint, "save_weights", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export.export(plain, gift)
    with pytest.raises(BadInput, match="holds no weights yet"):
        checkpoint.load(gift)


def test_an_evaluation_of_before_the_end_is_not_given_away(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    checkpoint.save_training(copy, TOOK | {"samples": 2345678})  # it went on
    with pytest.raises(BadInput, match=r"is not of the weights beside it: gqn eval .*copy makes it again"):
        export.export(copy, tmp_path / "gift")


@pytest.mark.parametrize("text", ["[1]", "{", '{"training": 1}', json.dumps({"results": {}, "training": TOOK})])
def test_an_evaluation_that_is_none_is_refused_in_one_line(run, tmp_path, text):
    copy, gift = tmp_path / "copy", export.export(run, tmp_path / "gift")
    shutil.copytree(run, copy)
    (copy / "eval.json").write_text(text)
    with pytest.raises(BadInput, match=r"eval\.json") as error:
        export.export(copy, gift)
    assert "\n" not in str(error.value)
    checkpoint.load(gift)  # what was there before is left alone


def test_the_hub_gets_the_folder(run, tmp_path, monkeypatch, capsys):
    """And one that was exported before goes as it is, with what a person wrote into its card."""
    calls = []

    class HfApi:
        def create_repo(self, repository, exist_ok):
            calls.append((repository, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
            calls.append((repo_id, folder_path, allow_patterns))
            if repo_id == "not/mine":
                raise OSError("403 Forbidden: not yours\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=HfApi))
    gift = tmp_path / "gift"
    assert main(["export", str(run), "--to", "hub", "--repo", "me/toy", "--out", str(gift)]) == 0
    assert capsys.readouterr().out == "hf://me/toy\n"
    assert calls == [("me/toy", True), ("me/toy", gift, trained.FILES)]
    (gift / "README.md").write_text("mine")
    assert export.upload(gift, tmp_path / "other", "f32", "me/again") == "hf://me/again"
    assert calls[-1][1] == gift and (gift / "README.md").read_text() == "mine" and not (tmp_path / "other").exists()
    assert main(["export", str(run), "--to", "hub", "--repo", "not/mine", "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == "gqn: hf://not/mine: 403 Forbidden: not yours more\n"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadInput, match=r"gqn\[hub\]"):
        export.upload(gift, tmp_path, "f32", "me/toy")

"""How a run begins: in which folders, on to how many samples, from which weights."""

import dataclasses
import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from gqn import config as configs
from gqn.artifacts import checkpoint
from gqn.cli import main as cli
from gqn.errors import BadInput
from gqn.training import loop as training
from gqn.training.loop import Stopped, train
from support import BRIEF as TOY
from support import HERE, copied, records, same_weights


def test_another_config_is_refused(straight):
    with pytest.raises(BadInput, match="`num_steps`: 3 here, 2 there"):
        train(TOY.having(num_steps=3), HERE, straight)


LONGER = TOY.having(num_train_samples=80)


def test_a_finished_run_goes_on_to_more_samples(straight, tmp_path, capsys):
    """With the schedules of the longer run from there on; the weights of the shorter one stay."""
    run = copied(straight, tmp_path / "run")
    train(LONGER, HERE, run)
    said = capsys.readouterr().out
    rate, new = (training.schedule(config, 48)[1] for config in (TOY, LONGER))
    assert "begun with `num_train_samples=48`; from sample 48 on" in said and f"{rate:.2g} becomes {new:.2g}" in said
    assert (run / "model-48.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    assert checkpoint.config_of(run) == LONGER and not same_weights(straight, run)
    assert [r["step"] for r in records(run, "val")] == [4, 8, 12, 16, 20]
    took = checkpoint.known(run / "training.json")
    assert checkpoint.opened(run / "model-48.safetensors")[2] == {}  # that is not what these weights took
    assert took["samples"] == 80 and took["schedules"] == [{"until": 48, "of": 48}]
    assert records(run, "train")[-1]["learning_rate"] == training.schedule(LONGER, 76)[1]
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    train(LONGER, HERE, run)
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before
    for fewer in (48, 79):
        with pytest.raises(BadInput, match=f"has done 80 samples, and `num_train_samples` is {fewer}"):
            train(TOY.having(num_train_samples=fewer), HERE, run)
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_an_unfinished_run_goes_on_to_another_number_however_it_is_stopped(straight, tmp_path, at_step, monkeypatch):
    """A kill between any two steps of going on, and in training, changes nothing of the result."""
    train(LONGER, HERE, copied(straight, tmp_path / "once"))

    class Killed(BaseException):
        pass

    def die(*given):
        raise Killed

    run = copied(straight, tmp_path / "run")
    for where, what in ((checkpoint, "save_known"), (type(run), "rename"), (checkpoint, "write")):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, die)
            with pytest.raises(Killed):
                train(LONGER, HERE, run)
    at_step(17, die)
    with pytest.raises(Killed):
        train(LONGER, HERE, run)
    at_step(-1, die)
    with pytest.raises(BadInput, match="has done 64 samples, and `num_train_samples` is 48"):
        train(TOY, HERE, run)
    train(LONGER, HERE, run)
    assert same_weights(tmp_path / "once", run)
    assert checkpoint.known(run / "training.json")["schedules"] == [{"until": 48, "of": 48}]


def test_without_a_checkpoint_a_finished_run_has_no_more_samples(straight, tmp_path):
    run = copied(straight, tmp_path / "run")
    for path in run.glob("*.ckpt"):
        path.unlink()
    with pytest.raises(BadInput, match="keeps no checkpoint to go on from: `init="):
        train(LONGER, HERE, run)
    assert checkpoint.finished(run)


@pytest.fixture
def begun(straight, tmp_path):
    """Weights to start from."""
    return copied(straight, tmp_path / "first")


def test_a_run_starts_from_weights(begun, tmp_path, monkeypatch):
    """At its first step it is the model that they are, and not the one that its seed draws."""
    config = TOY.having(init=str(begun), seed=5, learning_rate_initial=1e-12, learning_rate_final=1e-12)
    train(config, HERE, tmp_path / "run")
    a, b = (load_file(folder / "model.safetensors") for folder in (begun, tmp_path / "run"))
    assert all(torch.allclose(a[name], b[name], atol=1e-8, rtol=0) for name in a)
    assert checkpoint.known(tmp_path / "run" / "training.json")["init"] == "first"
    text = (tmp_path / "run" / "config.json").read_text()
    assert str(tmp_path) not in text and json.loads(text)["run"]["init_digest"] == checkpoint.digest(
        checkpoint.load(begun)[1].state_dict()
    )


def test_first_weights_are_known_by_what_they_are(begun, tmp_path, at_step):
    """Stopped, and gone on with while they lie elsewhere, or nowhere; others are refused."""
    config = TOY.having(init=str(begun), seed=5)
    train(config, HERE, tmp_path / "straight")
    at_step(9, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        train(config, HERE, tmp_path / "run")
    at_step(-1, None)
    stopped = copied(tmp_path / "run", tmp_path / "other")
    begun.rename(tmp_path / "moved")
    with pytest.raises(BadInput, match=r"no run folder .*first.*leave `init` away to go on"):
        train(config, HERE, tmp_path / "run")
    with pytest.raises(BadInput, match=f"init: other weights here, {begun} there"):
        train(config.having(init=str(tmp_path / "moved" / "previous.ckpt")), HERE, tmp_path / "run")
    moved = str(tmp_path / "moved" / "model.safetensors")
    for run, init in ((tmp_path / "run", moved), (stopped, "")):
        train(config.having(init=init), HERE, run)
        assert same_weights(tmp_path / "straight", run)
        assert checkpoint.config_of(run).run.init_digest == checkpoint.config_of(tmp_path / "straight").run.init_digest
    train(TOY, HERE, tmp_path / "random")
    with pytest.raises(BadInput, match="init: other weights here, none there"):
        train(TOY.having(init=moved), HERE, tmp_path / "random")


def test_first_weights_that_do_not_fit_are_refused(begun, tmp_path):
    other = TOY.having(init=str(begun), num_recurrent_maps=8)
    with pytest.raises(BadInput, match=r"do not fit \(`num_recurrent_maps`: 8 here, 4 there\)"):
        train(other, HERE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_init_brings_the_options_of_the_model(begun, tmp_path, capsys):
    """By flag or file, below other flags; nothing else of the run that they are of."""
    flags = ["train", "demo", "-t", "32", "-v", "4", "-b", "16", "--workers", "0", "--logdir", str(tmp_path)]
    (tmp_path / "my.toml").write_text(f"init = '{begun / 'best.ckpt'}'")
    shown = []
    for where in (["--init", str(begun)], ["--config", str(tmp_path / "my.toml")]):
        assert cli.main([*flags, *where, "--dry-run"]) == 0
        out = capsys.readouterr().out
        shown.append(json.loads(out[: out.index("\n}") + 2]))
        assert f"init: {begun}" in out
    demo = configs.preset("demo", num_train_samples=32, num_val_samples=4, batch_size=16).with_model_of(TOY)
    assert shown[0] == shown[1] == json.loads(configs.as_json(demo))
    assert cli.main([*flags, "--init", str(begun / "best.ckpt"), "--precision", "32-true"]) == 0
    [folder] = tmp_path.glob("demo-*")
    assert checkpoint.known(folder / "training.json")["init"] == "first/best.ckpt"


def test_no_resume_starts_over(straight, tmp_path):
    other = TOY.having(num_train_samples=16)
    train(other, HERE, tmp_path / "run")
    train(TOY, dataclasses.replace(HERE, resume=False), tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "precious").write_text("mine")
    for resume in (True, False):
        with pytest.raises(BadInput, match="other files"):
            train(TOY, dataclasses.replace(HERE, resume=resume), tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_a_kill_leaves_of_a_new_folder_is_no_obstacle(straight, tmp_path):
    """A kill while the config was written; a folder that has a config but no state yet may take another config."""
    run = tmp_path / "run"
    run.mkdir()
    (run / ".config.json.part").write_text("{")
    train(TOY, HERE, run)
    assert same_weights(straight, run)
    other = tmp_path / "other"
    training.open_folder(other, TOY.having(seed=9), resume=True)
    train(TOY, HERE, other)
    assert same_weights(straight, other)

"""Training end to end at toy size: what it leaves on disk, and that nothing is lost however it is stopped."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

import support
from gqn import config as configs
from gqn.artifacts import checkpoint
from gqn.cli import main as cli
from gqn.config import Place
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.figures import predictions
from gqn.runtime import files
from gqn.runtime.console import Forecast
from gqn.training import loop as training
from gqn.training.finite import NotFinite
from gqn.training.loop import Stopped, train
from gqn.training.watch import foretell
from support import needs_gpu

TOY = support.TOY.having(batch_size=4, num_train_samples=48, num_val_samples=8, val_freq=16)
HERE = Place(workers=0)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of 12 steps with a validation every 4, never interrupted."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    train(TOY, HERE, folder)
    return folder


def same_weights(a, b):
    a, b = (load_file(folder / "model.safetensors") for folder in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def records(folder, kind):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_what_a_run_leaves(straight):
    names = {path.name for path in straight.iterdir()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "metrics.jsonl",
        "latest.ckpt",
        "previous.ckpt",
        "best.ckpt",
        "predictions.png",
        "training.json",
    }
    took = checkpoint.known(straight / "training.json")
    assert took["samples"] == 48 and took.keys() >= {"seconds", "command", "version", "commit", "machine"}
    assert not [name for name in names if name.startswith(".")]  # half-written
    assert any(name.startswith("events") for name in names)
    assert [r["step"] for r in records(straight, "val")] == [4, 8, 12]
    last = records(straight, "train")[-1]
    assert {"loss", "excess", "kl", "mse", "kl_steps", "pixel_std", "learning_rate"} <= last.keys()
    assert len(last["kl_steps"]) == 2


def test_tensorboard_has_curves_histograms_and_pictures(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight)).Reload().Tags()
    assert {"train/loss", "val/excess", "train/learning_rate", "train/pixel_std"} <= set(events["scalars"])
    assert "predictions" in events["images"]
    assert any(name.startswith("gradients/") for name in events["histograms"])


def test_mistake_5_validation_is_at_the_final_std_on_fixed_tasks(straight):
    _, model = checkpoint.load(straight)
    tasks = training.validation_tasks(TOY, source(**TOY.scenes("test")))
    assert sum(len(t.query.frames) for t in tasks) == 8
    again = training.validate(Fabric(accelerator="cpu"), model, tasks, TOY.objective.pixel_std_final)
    recorded = records(straight, "val")[-1]
    for name, value in again.items():
        assert value == pytest.approx(recorded[name], rel=1e-5), name


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_and_resumed(straight, tmp_path, at_step, signum):
    at_step(5, lambda: os.kill(os.getpid(), signum))
    with pytest.raises(Stopped, match="after step 6"):
        train(TOY, HERE, tmp_path / "run")
    at_step(-1, None)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    before = checkpoint.load_state(tmp_path / "run", print)["seconds"]
    train(TOY, HERE, tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")
    assert records(tmp_path / "run", "train")[-1]["seconds"] > before > 0  # of both parts


def test_stopped_and_resumed_with_muon(tmp_path, at_step):
    config = TOY.having(optimizer="muon")
    train(config, HERE, tmp_path / "straight")
    at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        train(config, HERE, tmp_path / "run")
    at_step(-1, None)
    train(config, HERE, tmp_path / "run")
    assert same_weights(tmp_path / "straight", tmp_path / "run")


@pytest.mark.parametrize("moments", [(2,), (5, 9), (11,)])
def test_mistake_10_killed_and_resumed(straight, tmp_path, at_step, moments):
    """Death between checkpoints loses the steps since the last one, and nothing else."""

    class Killed(BaseException):
        pass

    def die():
        raise Killed

    for moment in moments:
        at_step(moment, die)
        with pytest.raises(Killed):
            train(TOY, HERE, tmp_path / "run")
    at_step(-1, die)
    train(TOY, HERE, tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")
    steps = [r["step"] for r in records(tmp_path / "run", "val")]
    assert steps == [4, 8, 12]


def copied(folder, to):
    shutil.copytree(folder, to)
    return to


def test_killed_while_saving(straight, tmp_path):
    """What a SIGKILL leaves at each moment of a save: the newest whole state is found, and the next save works."""
    state = checkpoint.load_state(straight, print)
    cut = b"half"
    for name, moment in {
        "while writing": lambda run: (run / "..new.ckpt.part").write_bytes(cut),
        "before the latest steps back": lambda run: shutil.copy(run / "latest.ckpt", run / ".new.ckpt"),
        "before the new one steps in": lambda run: (run / "latest.ckpt").rename(run / "previous.ckpt"),
        "while writing the best": lambda run: (run / ".best.ckpt.part").write_bytes(cut),
    }.items():
        run = copied(straight, tmp_path / name)
        moment(run)
        assert checkpoint.load_state(run, print)["step"] == 12
        checkpoint.save(run, state, best=True)
        assert checkpoint.load_state(run, print)["step"] == 12
        assert torch.load(run / "best.ckpt", weights_only=True)["step"] == 12


def test_a_damaged_checkpoint_never_takes_the_place_of_the_good_one(straight, tmp_path, monkeypatch):
    run = copied(straight, tmp_path / "run")
    (run / "latest.ckpt").write_bytes(b"damaged")
    state = checkpoint.load_state(run, print)
    assert state["step"] == 8
    monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt))  # killed in the save
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(run, state, best=False)
    assert checkpoint.load_state(run, print)["step"] == 8


def test_a_reader_takes_nothing_away_from_the_run_that_writes(straight, tmp_path, monkeypatch):
    """Which, while the last checkpoint is read, moves it and puts a newer one into its place."""
    run = copied(straight, tmp_path / "run")
    latest, load, said = run / "latest.ckpt", torch.load, []
    newer = shutil.copy(latest, run / ".new.ckpt")

    def meanwhile(path, **options):
        if path == latest:
            os.replace(latest, run / "previous.ckpt")
        try:
            return load(path, **options)
        finally:
            if path == latest:
                os.replace(newer, latest)

    monkeypatch.setattr(torch, "load", meanwhile)
    assert checkpoint.load_state(run, said.append)["step"] == 12
    assert latest.exists() and not list(run.glob("*.damaged")) and said == []


def test_full_disk_is_a_clear_line_and_loses_nothing(tmp_path, monkeypatch):
    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    train(TOY, HERE, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(BadInput, match=r"cannot write .*file write failed"):
            checkpoint.save(tmp_path / "run", {"step": 0}, best=False)
    assert checkpoint.load_state(tmp_path / "run", print)["step"] == 12
    assert not list((tmp_path / "run").glob(".*"))


def test_truncated_checkpoint_falls_back(straight, tmp_path):
    train(TOY, HERE, tmp_path / "run")
    latest, previous = (tmp_path / "run" / name for name in ("latest.ckpt", "previous.ckpt"))
    latest.write_bytes(latest.read_bytes()[:1000])
    said = []
    assert checkpoint.load_state(tmp_path / "run", said.append)["step"] == 8
    assert "latest.ckpt is damaged" in said[0]
    train(TOY, HERE, tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")
    latest.write_bytes(b"")
    previous.write_bytes(b"")
    with pytest.raises(BadInput, match="no checkpoint"):
        checkpoint.load_state(tmp_path / "run", said.append)


@pytest.mark.parametrize("change", [lambda state: state.pop("optimizers"), lambda state: state["model"].popitem()])
def test_a_checkpoint_of_another_version_is_refused_in_one_line(straight, tmp_path, change):
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    (run / "model.safetensors").unlink()
    state = torch.load(run / "latest.ckpt", weights_only=True)
    change(state)
    torch.save(state, run / "latest.ckpt")
    before = (run / "latest.ckpt").read_bytes()
    with pytest.raises(BadInput, match="is of another version of gqn") as error:
        train(TOY, HERE, run)
    assert "\n" not in str(error.value) and (run / "latest.ckpt").read_bytes() == before


def test_a_finished_run_is_left_as_it_is(straight):
    before = {path: path.stat().st_mtime_ns for path in straight.iterdir()}
    train(TOY, HERE, straight)
    assert {path: path.stat().st_mtime_ns for path in straight.iterdir()} == before


def test_another_config_is_refused(straight):
    with pytest.raises(BadInput, match="`num_steps`: 3 here, 2 there"):
        train(TOY.having(num_steps=3), HERE, straight)


def test_the_best_validation_is_still_the_best_after_a_resume(tmp_path, monkeypatch, at_step):
    """It came first, the run was stopped, and what comes later is worse, if better than other validations."""
    excess = iter([1.0, 5.0, 3.0])
    validate = training.validate
    monkeypatch.setattr(training, "validate", lambda *given: validate(*given) | {"excess": next(excess)})
    at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        train(TOY, HERE, tmp_path / "run")
    at_step(-1, None)
    train(TOY, HERE, tmp_path / "run")
    assert checkpoint.read_state(tmp_path / "run" / "best.ckpt")["step"] == 4
    assert checkpoint.read_state(tmp_path / "run" / "latest.ckpt")["best"] == 1.0
    assert next(excess, None) is None


# Going on to more samples

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


# Starting from weights


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
        checkpoint.load(begun)[1]
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


# How long it takes


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        ([(4, 3.0), (8, 4.0), (40, 12.0)], (60 * 9 / 36, False)),  # the first step, of 3 s, does not count
        ([(4, 3.0), (8, 4.0)], None),
        ([(4, 3.0), (8, 4.0), "overdue"], ((100 - 8) * 22 / 4, False)),
        ([(4, 20.0), "overdue"], (24 * 20.0, False)),
        (["overdue", (4, 40.0), (8, 80.0)], (25 * 25.0, True)),
    ],
)
def test_how_long_it_takes_is_said_once(happens, said):
    told = []
    forecast = Forecast(100, 0, 4, lambda *given: told.append(given))
    forecast.began = 0.0
    for event in happens:
        if event == "overdue":
            forecast.overdue(25.0)
        else:
            forecast.update(*event)
    forecast.update(100, 1000.0) if said else None
    assert told == ([pytest.approx(said)] if said else [])


def test_a_long_training_on_a_cpu_says_how_to_have_less(capsys):
    foretell(TOY, HERE, print, 10 * 60, False)
    assert capsys.readouterr().out == "this takes about 10.0 min from here\n"
    foretell(TOY, HERE, print, 13 * 60, False)
    assert "for less" in capsys.readouterr().out
    foretell(TOY, HERE, print, 3 * 86400, True)
    out = capsys.readouterr().out
    for text in ("more than 3 days", "fewer `num_train_samples` than 48", "predictions sm5-32", "`gpu`"):
        assert text in out
    foretell(TOY, Place(gpu=True), print, 3 * 3600, False)
    assert capsys.readouterr().out == "this takes about 3 h 00 min from here\n"


def test_two_do_not_train_one_run(tmp_path):
    with files.alone(tmp_path / "run"), pytest.raises(BadInput, match=r"another process holds .*run: wait for it"):
        train(TOY, HERE, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with files.alone(tmp_path / "run"):
        pass  # the lock went with its holder


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


@pytest.mark.parametrize(
    ("samples", "says"), [(20, r"log_likelihood is not finite at step 6"), (28, r"weight .* step 8")]
)
def test_what_is_not_finite_is_named_and_never_saved(tmp_path, monkeypatch, samples, says):
    """Poison after step 5, and in the very step whose weights are to be saved."""

    def poisoned(config, seen):
        return 0.7, float("nan") if seen == samples else 1e-3

    monkeypatch.setattr(training, "schedule", poisoned)
    with pytest.raises(NotFinite, match=rf"{says}.*: the last good checkpoint is .*latest\.ckpt"):
        train(TOY, HERE, tmp_path / "run")
    state = checkpoint.load_state(tmp_path / "run", print)
    assert state["step"] == 4 and all(weight.isfinite().all() for weight in state["model"].values())


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


def test_workers_do_not_change_the_result(straight, tmp_path):
    train(TOY, dataclasses.replace(HERE, workers=2), tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")


def test_seeds_differ(straight, tmp_path):
    train(TOY.having(seed=1), HERE, tmp_path / "run")
    assert not same_weights(straight, tmp_path / "run")


def test_gpu_is_refused_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(BadInput, match="leave `gpu` away"):
        train(TOY, Place(gpu=True), tmp_path / "run")


@needs_gpu
def test_trains_on_a_gpu(tmp_path):
    half = TOY.having(num_train_samples=24)
    train(half, Place(gpu=True), tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(configs.as_json(TOY))
    (tmp_path / "run" / "model.safetensors").unlink()
    train(TOY, Place(gpu=True), tmp_path / "run")
    assert records(tmp_path / "run", "val")[-1]["step"] == 12


FOUNDING = "founding --image-size 16 --representation tower --representation-maps 8 -c 3 -s 2 -u 4 --num-canvas-maps 4"
PROGRAM = """
import os, signal, sys
from gqn.cli.main import main
from gqn.training import loop, watch
schedule = loop.schedule
def stopping(config, samples):
    if samples == STOP * config.optimizer.batch_size and os.environ.get("LOCAL_RANK", "0") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return schedule(config, samples)
loop.schedule, watch.LOG_EVERY = stopping, 1
sys.exit(main(sys.argv[1:]))
"""


def started(tmp_path, name, *flags, stop=-1):
    """A run of 50 steps in processes of its own, of which the second one is killed at a step."""
    (tmp_path / "program.py").write_text(PROGRAM.replace("STOP", str(stop)))
    command = [sys.executable, tmp_path / "program.py", "train", *FOUNDING.split(), "-b", "4", "-t", "200", "-f", "100"]
    command += ["-v", "12", "--workers", "0", "--logdir", tmp_path / name, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The records of the run on one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert started(folder, "run").returncode == 0
    return curves(folder / "run")


def curves(logdir):
    (folder,) = logdir.glob("[!.]*")
    kept = ("loss", "excess", "kl", "mse")
    return [
        {k: r[k] for k in ("step", *kept)} for kind in ("train", "val") for r in records(folder, kind) if "loss" in r
    ] + [{k: v for k, v in r.items() if k not in ("kind", "samples")} for r in records(folder, "val")]


def assert_same_curves(ours, theirs):
    assert len(ours) == len(theirs) == 52
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("flags", [["--devices", "2"], ["--accumulate", "2"], ["--devices", "2", "--accumulate", "2"]])
def test_a_batch_in_parts_trains_as_a_whole(alone, tmp_path, flags):
    """On two ranks, one part after the other, and both: loss of each of 50 steps, and both validations."""
    assert started(tmp_path, "run", *flags).returncode == 0
    assert_same_curves(curves(tmp_path / "run"), alone)


def test_a_killed_rank_ends_the_others_and_one_rank_goes_on(alone, tmp_path):
    killed = started(tmp_path, "run", "--devices", "2", stop=30)
    assert killed.returncode not in (0, None)
    assert killed.stderr.count("process 0 ends, as another process of this run ended") == 1
    assert "Traceback" not in killed.stderr
    resumed = started(tmp_path, "run")
    assert resumed.returncode == 0 and "going on after step 25 of 50" in resumed.stdout
    assert_same_curves(curves(tmp_path / "run"), alone)


# Figure of a run


def test_predictions_figure(straight):
    config, model = checkpoint.load(straight)
    arrays = predictions.compute(config, model, rows=3, context=2, samples=2)
    assert arrays["context"].shape == (3, 2, 16, 16, 3)
    assert arrays["samples"].shape == (3, 2, 16, 16, 3)
    picture = predictions.draw(arrays)
    assert picture.size[0] > 5 * 96 and picture.size[1] > 3 * 96


def test_damaged_runs_are_refused(straight, tmp_path):
    with pytest.raises(BadInput, match="no run folder"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds no run"):
        checkpoint.load(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((straight / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((straight / "model.safetensors").read_bytes()[:500])
    with pytest.raises(BadInput, match=r"model\.safetensors is damaged"):
        checkpoint.load(tmp_path)
    other = TOY.having(num_recurrent_maps=8)
    checkpoint.save_weights(tmp_path, checkpoint.build(other))
    with pytest.raises(BadInput, match="not of the model"):
        checkpoint.load(tmp_path)

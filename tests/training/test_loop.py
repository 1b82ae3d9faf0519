"""Training end to end at toy size: what it leaves on disk, and that nothing is lost however it is stopped."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from gqn import config as configs
from gqn.artifacts import checkpoint
from gqn.config import Place
from gqn.errors import BadInput
from gqn.runtime import devices, files
from gqn.training import loop as training
from gqn.training import watch
from gqn.training.loop import Stopped, train
from support import BRIEF as TOY
from support import HERE, copied, needs_gpu, records, same_weights


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


@pytest.mark.parametrize("moments", [(2,), (6, 10), (5, 9, 11)])
@pytest.mark.parametrize("signum", [signal.SIGTERM, None])
def test_records_are_those_of_a_run_that_was_never_interrupted(tmp_path, monkeypatch, at_step, moments, signum):
    """Line by line, but for times; records are due after 5, 10 and 12 steps, checkpoints after 4, 8 and 12."""
    monkeypatch.setattr(watch, "LOG_EVERY", 5)
    train(TOY, HERE, tmp_path / "straight")

    def end():
        if signum is None:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signum)

    for moment in moments:
        at_step(moment, end)
        with pytest.raises(KeyboardInterrupt if signum is None else Stopped):
            train(TOY, HERE, tmp_path / "run")
    at_step(-1, end)
    train(TOY, HERE, tmp_path / "run")
    one, other = (timeless(tmp_path / name) for name in ("straight", "run"))
    assert one == other and [record["step"] for record in one if record["kind"] == "train"] == [5, 10, 12]


def test_a_record_is_the_mean_of_the_steps_since_the_last(tmp_path, monkeypatch):
    for every in (1, 5):
        monkeypatch.setattr(watch, "LOG_EVERY", every)
        train(TOY, HERE, tmp_path / f"{every}")
    each, means = ([record["loss"] for record in records(tmp_path / name, "train")] for name in ("1", "5"))
    assert means == pytest.approx([sum(each[a:b]) / (b - a) for a, b in ((0, 5), (5, 10), (10, 12))])


def timeless(folder):
    """The records of a run without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = ("samples_per_second", "seconds", "waiting_for_data")
    return [{name: value for name, value in line.items() if name not in times} for line in lines]


def unfinished(straight, folder, **changes):
    """A copy of a run after 8 steps, whose latest checkpoint has other values, or none for None."""
    run = copied(straight, folder)
    (run / "model.safetensors").unlink()
    state = torch.load(run / "previous.ckpt", weights_only=True) | changes
    torch.save({name: value for name, value in state.items() if value is not None}, run / "latest.ckpt")
    return run


@pytest.mark.parametrize("recent", [None, {"loss": torch.zeros(3)}])
def test_a_checkpoint_without_the_records_of_this_version_is_gone_on_with(straight, tmp_path, recent):
    run = unfinished(straight, tmp_path / "run", recent=recent)
    train(TOY, HERE, run)
    assert same_weights(straight, run) and records(run, "train")[-1]["step"] == 12


def test_optimizer_states_that_do_not_fit_are_damage(straight, tmp_path, capsys):
    for number, change in enumerate([{"exp_avg": torch.zeros(3)}, {"step": torch.zeros(2)}, {"x": torch.zeros(1)}]):
        [adam] = torch.load(straight / "latest.ckpt", weights_only=True)["optimizers"]
        adam["state"][0] |= change
        run = unfinished(straight, tmp_path / str(number), optimizers=[adam])
        train(TOY, HERE, run)
        said = capsys.readouterr().out.replace("\n", " ")
        assert "latest.ckpt is damaged (what an optimizer keeps of parameter 0 is not what it needs)" in said
        assert same_weights(straight, run)


def test_options_of_optimizers_are_the_configs(straight, tmp_path):
    """Not what a checkpoint says of them."""
    [adam] = torch.load(straight / "previous.ckpt", weights_only=True)["optimizers"]
    adam["param_groups"][0] |= {"betas": "x", "eps": 1.0}
    run = unfinished(straight, tmp_path / "run", optimizers=[adam])
    train(TOY, HERE, run)
    assert same_weights(straight, run)


def test_a_finished_run_is_left_as_it_is(straight):
    before = {path: path.stat().st_mtime_ns for path in straight.iterdir()}
    train(TOY, HERE, straight)
    assert {path: path.stat().st_mtime_ns for path in straight.iterdir()} == before


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


def test_two_do_not_train_one_run(tmp_path):
    refused = r"another process holds .*run: wait for it, or give another `run_suffix`"
    with files.alone(tmp_path / "run"), pytest.raises(BadInput, match=refused):
        train(TOY, HERE, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with files.alone(tmp_path / "run"):
        pass  # the lock went with its holder


def test_workers_do_not_change_the_result(straight, tmp_path):
    train(TOY, dataclasses.replace(HERE, workers=2), tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")


def test_as_many_workers_as_a_gpu_needs_or_one(monkeypatch):
    """Unless a number is given."""
    monkeypatch.setattr(training, "batches", lambda *given, pin: (given[3], pin))
    monkeypatch.setattr(devices, "cores", lambda: 16)
    fabric = SimpleNamespace(global_rank=0, world_size=1)
    scenes = SimpleNamespace(order=100, num_views=10)

    def workers(**place):
        return training.training_tasks(TOY, Place(**place), fabric, scenes, 0)

    assert workers() == (1, False)
    assert workers(gpu=True) == (16, True) and workers(gpu=True, devices=4) == (4, True)
    assert workers(gpu=True, devices=32) == (1, True)
    assert workers(gpu=True, workers=0) == (0, True) and workers(workers=3) == (3, False)


def test_fewer_workers_than_none_are_refused(tmp_path):
    with pytest.raises(BadInput, match="`workers` must be at least 0"):
        train(TOY, Place(workers=-1), tmp_path / "run")


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
    if samples == STOP * config.optimizer.batch_size and os.environ.get("LOCAL_RANK", "0") == "RANK":
        os.kill(os.getpid(), signal.SIGNAL)
    return schedule(config, samples)
loop.schedule, watch.LOG_EVERY = stopping, 1
sys.exit(main(sys.argv[1:]))
"""


def started(tmp_path, name, *flags, stop=-1, rank="1", signum="SIGKILL"):
    """A run of 50 steps in processes of its own, of which one is sent a signal at a step."""
    program = PROGRAM.replace("STOP", str(stop)).replace('"RANK"', f"'{rank}'").replace("SIGNAL", signum)
    (tmp_path / "program.py").write_text(program)
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


def test_ranks_on_cpus_stop_after_the_step_in_which_a_signal_comes(tmp_path):
    """Ten steps may take minutes there, and it would seem that nothing happens."""
    stopped = started(tmp_path, "run", "--devices", "2", stop=3, rank="0", signum="SIGINT")
    assert (stopped.returncode, stopped.stderr) == (130, "")
    assert "stopped by SIGINT after step 4" in stopped.stdout

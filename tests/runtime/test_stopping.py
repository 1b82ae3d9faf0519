"""Ctrl-C and SIGTERM: one line, one exit code, nobody left, at any moment and to whichever processes they are sent."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from gqn.cli import main as cli
from gqn.runtime import devices, stopping
from support import failing, made_run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")

# What says, on stdout, where each rank is. MOMENT "waiting": the second rank works, and the first one waits for it.
PROGRAM = """
import os, sys, time
from gqn.cli import data, evaluate, main, train
from gqn.runtime import stopping
rank = os.environ.get("LOCAL_RANK", "0")

def say(what):
    print(f"{what} {rank}", flush=True)

def before(room, name, what):
    then = getattr(room, name)
    def act(*arguments, **options):
        what()
        return then(*arguments, **options)
    setattr(room, name, act)

def scene():
    say("scene")
    if os.environ["MOMENT"] == "waiting" and rank == "1":
        time.sleep(1000)

def patched(command):
    from lightning_fabric import Fabric
    from gqn.data.files import export
    from gqn.evaluation import evaluate
    from gqn.runtime import devices
    from gqn.training import loop
    before(evaluate, "seen_of", scene)
    before(Fabric, "all_reduce", lambda: say("waiting"))
    before(devices, "together", lambda: say("launched"))
    before(loop, "schedule", lambda: say("step"))
    before(export.Reporter, "update", lambda: say("written"))
    before(stopping.Watch, "__init__", lambda: say("starting"))
    return command

for room, name in ((evaluate, "evaluate"), (train, "train"), (data, "data")):
    before(room, name, lambda: patched(None))
sys.exit(main.main())
"""


def stopped(tmp_path, moment, to, signum, *command, again=False):
    """Start a command in a process group of its own, signal it when it says `moment`; its exit code and stderr.

    That both streams end says that no process is left that has them.
    """
    (tmp_path / "program.py").write_text(PROGRAM)
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path)
    environment = os.environ | {"MOMENT": moment.split()[0]}
    with subprocess.Popen([sys.executable, "program.py", *command], env=environment, **options) as process:
        for line in process.stdout:
            if line.startswith(moment):
                break
        else:
            pytest.fail(f"it never said {moment!r}: {process.stderr.read()}")
        for _ in range(1 + again):
            (os.killpg if to == "all" else os.kill)(process.pid, signum)
        try:
            _, err = process.communicate(timeout=100)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    print(err)
    return process.returncode, err


@pytest.mark.parametrize(
    ("moment", "to", "signum"),
    [
        ("starting 0", "all", signal.SIGINT),
        ("scene 1", "first", signal.SIGTERM),
        ("waiting 0", "first", signal.SIGINT),
    ],
)
def test_an_evaluation_on_two_ranks(tmp_path, moment, to, signum):
    run = made_run(tmp_path / "run")
    scenes = "2" if moment.startswith("waiting") else "2000"
    code, err = stopped(tmp_path, moment, to, signum, "eval", str(run), "--scenes", scenes, "--devices", "2")
    assert (code, err) == (128 + signum, "gqn: interrupted\n")
    assert {path.name for path in run.glob("[!.]*")} == {"config.json", "model.safetensors"}


FLAGS = "--image-size 16 -c 2 --representation tower --representation-maps 8 -s 2 -u 4 --num-canvas-maps 4 -b 4 -v 4"


@pytest.mark.parametrize(("to", "signum"), [("all", signal.SIGINT), ("first", signal.SIGTERM)])
def test_a_training_on_two_ranks(tmp_path, to, signum):
    """With workers; it saves and can be gone on with, though one asks twice."""
    flags = [*FLAGS.split(), "-t", "4000000", "-f", "4000000", "--workers", "1", "--devices", "2"]
    code, err = stopped(tmp_path, "step 0", to, signum, "train", *flags, again=True)
    assert (code, err) == (128 + signum, "")
    (run,) = (tmp_path / "log").glob("[!.]*")
    assert {path.name for path in run.iterdir() if not path.name.startswith("events")} == {
        "config.json",
        "latest.ckpt",
        "metrics.jsonl",
    }


@pytest.mark.parametrize(("to", "signum"), [("all", signal.SIGINT), ("first", signal.SIGTERM)])
def test_workers_end_with_their_command(tmp_path, to, signum):
    command = ["data", "render", "shepard_metzler_5_parts", "--scenes", "100000", "--workers", "2", "--out", "data"]
    code, err = stopped(tmp_path, "written 0", to, signum, *command, "--image-size", "16", "--views", "2", again=True)
    assert (code, err) == (128 + signum, "gqn: interrupted\n")
    assert [path.name for path in (tmp_path / "data").rglob("[!.]*") if path.is_file()] == ["recipe.json"]


def test_the_first_signal_raises_and_its_echo_does_not():
    with pytest.raises(stopping.Interrupted) as raised, stopping.by_signals(process=False):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
    assert stopping.code(raised.value) == 143 and stopping.code(KeyboardInterrupt()) == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_ends_the_process_at_once(monkeypatch):
    ended = []
    monkeypatch.setattr(stopping, "end", ended.append)
    monkeypatch.setattr(stopping, "TWICE", -1)
    with pytest.raises(stopping.Interrupted), stopping.by_signals(process=False):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    assert ended == [signal.SIGTERM]


def test_signals_that_are_ignored_stay_so():
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.by_signals(process=False), stopping.noted() as come:
            os.kill(os.getpid(), signal.SIGINT)
            assert come.signum == 0 and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_held_signals_come_later_and_never_to_what_was_started():
    with pytest.raises(KeyboardInterrupt), stopping.by_signals(process=False):
        with stopping.held():
            code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT)"
            assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # other threads do not hold theirs
            there = True
        pytest.fail("it did not come")
    assert there


def test_a_thread_leaves_signals_alone():
    before = [signal.getsignal(signum) for signum in stopping.STOPS]
    seen = []

    def work():
        with stopping.by_signals(process=True), stopping.noted():
            seen.extend(signal.getsignal(signum) for signum in stopping.STOPS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before == [signal.getsignal(signum) for signum in stopping.STOPS]


SWALLOWS = """
import signal, time
from gqn.runtime import stopping
stopping.GRACE = 0.3
with stopping.by_signals(process=True):
    try:
        print("here", flush=True)
        time.sleep(1000)
    except BaseException:
        pass
    if LATER:  # work in which Python runs no handlers
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        stopping.Watch()
    time.sleep(1000)
"""


@pytest.mark.parametrize("later", ["False", "True"])
def test_a_signal_whose_exception_is_swallowed_ends_the_process_all_the_same(later):
    """Some library catches all exceptions while it is imported; the ranks are watched only from later on."""
    command = [sys.executable, "-c", SWALLOWS.replace("LATER", later)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "gqn: interrupted\n")


def test_a_signal_at_any_moment_of_a_command_is_a_line(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", failing(stopping.Interrupted(signal.SIGTERM)))
    assert cli.main(["train"]) == 143
    assert capsys.readouterr().err == "gqn: interrupted\n"


def test_a_rank_that_loses_the_first_one_while_it_starts_says_nothing(monkeypatch, capfd):
    """The first one has said why it ends."""
    monkeypatch.setattr(stopping, "started_by_first", lambda: True)
    monkeypatch.setattr(stopping, "end_with_first", lambda: None)
    monkeypatch.setattr(devices.os, "_exit", lambda code: sys.exit(code))
    monkeypatch.setattr(devices.Fabric, "launch", failing(torch.distributed.DistNetworkError("Failed to recv")))
    with pytest.raises(SystemExit, match="2"):
        devices.launch(False, 2)
    assert capfd.readouterr().err == ""

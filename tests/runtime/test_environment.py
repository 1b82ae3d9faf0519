"""Where the package runs: read-only homes, ASCII screens, full disks, little memory, threads, other systems."""

import ast
import io
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import gqn
from gqn import errors
from gqn.artifacts import checkpoint
from gqn.cli import main as cli
from gqn.config import Place
from gqn.data.files import tfrecord
from gqn.errors import BadInput
from gqn.evaluation import evaluate, results
from gqn.evaluation.evaluate import Settings
from gqn.figures import predictions
from gqn.runtime import console as logs
from gqn.runtime import files, streams
from gqn.training import loop as training
from support import TOY, made_run

SMALL = TOY.having(batch_size=4, num_train_samples=16, num_val_samples=4, val_freq=8)
MAIN = [sys.executable, "-c", "import sys; from gqn.cli.main import main; sys.exit(main())"]


def started(*arguments, stdout=subprocess.PIPE, code=None, **environment):
    """A command, or `code`, in a process of its own."""
    command = [sys.executable, "-c", code, *arguments] if code else [*MAIN, *arguments]
    options = dict(stdout=stdout, stderr=subprocess.PIPE, timeout=300, env=os.environ | environment)
    return subprocess.run(command, **options)


# Output that cannot be written


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "--help"]])
def test_a_full_disk_behind_the_output_is_a_line(arguments):
    with open("/dev/full", "w") as full:
        ended = started(*arguments, stdout=full, PYTHONUNBUFFERED="")
    assert ended.returncode == 1
    assert ended.stderr == b"gqn: cannot write the output (No space left on device): going on without it\n"


class Full(io.StringIO):
    """What a disk is when it is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_a_training_goes_on_without_its_output(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full())
    flags = "--image-size 16 -c 2 --representation tower --representation-maps 8 -s 1 -u 4 --num-canvas-maps 4 -b 4"
    command = ["train", *flags.split(), "-t", "8", "-v", "4", "--workers", "0", "--logdir", str(tmp_path)]
    assert cli.main(command) == 1
    assert (tmp_path / "founding-shepard_metzler_5_parts-16px" / "model.safetensors").exists()
    assert capsys.readouterr().err.count("cannot write the output") == 1


def test_a_reader_that_leaves_is_no_error(monkeypatch, capsys):
    class Left(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Left())
    assert cli.main(["--help"]) == 1 and capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--dry-run"]])
def test_no_output_at_all(monkeypatch, arguments):
    """As under pythonw, or with >&-."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    try:
        assert cli.main(arguments) == 0
    except SystemExit as stop:
        assert not stop.code
    assert sys.stdout is None


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_an_encoding_lacks_is_spelt(monkeypatch, encoding):
    screen = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    with streams.standard():
        print("1 ± 2 … λ\udcff")
    screen.flush()
    said = screen.buffer.getvalue().decode(encoding)
    assert said == {
        "ascii": "1 +- 2 ... \\u03bb\\udcff\n",
        "cp1252": "1 ± 2 … \\u03bb\\udcff\n",
        "utf-8": "1 ± 2 … λ\\udcff\n",
    }[encoding].replace("\n", os.linesep)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_ascii_screens_and_files(tmp_path, monkeypatch):
    """Every table, and every file that is text, whatever the locale says."""
    run = made_run(tmp_path / "run")
    code = """
import sys
from gqn.cli.main import main
run, out = sys.argv[1:]
codes = [main(["eval", run, "--scenes", "2", "--samples", "2"]), main(["compare", run, run])]
codes += [main(["export", run, "--to", "safetensors", "--out", out]), main(["export", out, "--to", "safetensors"])]
sys.exit(max(codes))
"""
    monkeypatch.chdir(tmp_path)
    ended = started(str(run), str(tmp_path / "out"), code=code, **ASCII)
    assert ended.returncode == 0, ended.stderr
    assert b"+- standard error over scenes" in ended.stdout and ended.stdout.isascii()
    assert "±" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_text_files_have_an_encoding():
    """That of the package and not of the locale, wherever one is opened."""
    names = {"read_text", "write_text"}
    for path in sorted(Path(gqn.__file__).parent.rglob("*.py")):
        for call in calls(path):
            name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
            binary = any("b" in str(getattr(a, "value", "")) for a in call.args[1:2])
            text = name in names or (name == "open" and hasattr(call.func, "id") and not binary)
            assert not text or "encoding" in {k.arg for k in call.keywords}, f"{path}:{call.lineno}"


def calls(path):
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


# Narrow and dumb terminals


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_no_terminal_is_too_narrow_for_numbers(monkeypatch, width):
    from rich.console import Console

    screen = io.StringIO()
    options = dict(force_terminal=True, color_system=None, soft_wrap=True, highlight=False)
    monkeypatch.setattr(logs, "console", Console(file=screen, width=width, _environ={"TERM": "xterm"}, **options))
    with logs.Reporter("train", 80_000, 40_000, "samples") as report:
        report.update(41_000, "excess 142.9  kl 8.76  mse 0.00232")
    for number in ("41000/80000", "(51.2%)", "142.9", "8.76", "0.00232"):
        assert number in screen.getvalue()
    assert "…" not in screen.getvalue()


def test_dumb_terminals_get_lines(monkeypatch):
    from rich.console import Console

    screen = io.StringIO()
    monkeypatch.setattr(logs, "console", Console(file=screen, force_terminal=True, _environ={"TERM": "dumb"}))
    with logs.Reporter("verify", 2, 0, "files") as report:
        report.update(2)
    assert screen.getvalue().startswith("verify 2/2 (100.0%)") and screen.getvalue().count("\n") == 1


def test_tables_are_never_cut(tmp_path, monkeypatch, capsys):
    run = made_run(tmp_path / "run")
    found = evaluate.evaluate(run, Settings(context=(1, 2, 3), scenes=2, samples=2, importance_samples=1))
    for environment in ({"TERM": "dumb", "COLUMNS": "40"}, {"COLUMNS": "40"}):
        monkeypatch.delenv("TERM", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        results.show(found)
        shown = capsys.readouterr().out
        assert cli.main(["compare", str(run), str(run)]) == 0
        for text in (shown, capsys.readouterr().out):
            assert "…" not in text
            for context in (1, 2, 3):
                of = found.summary(context, "gqn")["mse"]
                assert f"{of['mean']:.5f} ± {of['stderr']:.5f}" in text


# Folders that cannot be written

UNWRITABLE = """
import sys, numba.core.caching as caching
def refused(self):
    raise PermissionError(13, "Permission denied")
caching._CacheLocator.ensure_cache_path = refused
from gqn.figures import drawing
from gqn.scenes import raycast
assert raycast._dot((1.0, 2.0, 3.0), (1.0, 2.0, 3.0)) == 14
assert drawing.font(12)
"""


def test_nothing_but_the_result_need_be_writable(tmp_path):
    """Neither home, nor the package, nor the caches of numba and matplotlib."""
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file")
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"), nowhere)
    ended = started(code=UNWRITABLE, **places)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(b"point NUMBA_CACHE_DIR to a folder with room") == 1
    assert b"Traceback" not in ended.stderr


def test_a_full_disk_does_not_stop_the_renderer(monkeypatch, capsys):
    from gqn.scenes import raycast

    def full(*compilation):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.FunctionCache.save_overload", full)
    raycast._say_not_kept.cache_clear()
    double = raycast._compiled(lambda x: 2 * x)
    assert (double(3), double(1.5)) == (6, 3.0)
    assert capsys.readouterr().err.count("point NUMBA_CACHE_DIR") == 1


def test_without_a_home_there_is_a_cache_all_the_same(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    assert tfrecord.cache().name == "gqn"


# Little memory

SHORT = [
    MemoryError(),
    MemoryError("Unable to allocate 3.00 TiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried 12 bytes"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."),
    OSError(12, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:20])
def test_too_little_memory_is_a_line(error):
    with pytest.raises(BadInput, match="too little memory: ask for less"), errors.within_memory("ask for less"):
        raise error


def test_other_errors_are_what_they_are():
    for error in (RuntimeError("shapes do not match"), OSError(28, "full"), ValueError("can't allocate memory")):
        with pytest.raises(type(error)), errors.within_memory("ask for less"):
            raise error


def failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.parametrize("error", SHORT[1:4], ids=lambda error: str(error)[:20])
def test_commands_that_need_too_much_memory_say_what_needs_less(tmp_path, monkeypatch, capsys, error):
    run = made_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "measure", failing(error))
        with pytest.raises(BadInput, match=r"too little memory: fewer `samples` .* or fewer `devices`"):
            evaluate.evaluate(run, Settings(scenes=2))
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "compute", failing(error))
        assert cli.main(["figure", "predictions", str(run)]) == 2
    said = capsys.readouterr().err
    assert "too little memory" in said and said.count("\n") == 1


def test_a_training_that_needs_too_much_memory_keeps_its_checkpoint(tmp_path, at_step):
    at_step(3, failing(SHORT[2]))
    with pytest.raises(BadInput, match=r"too little memory: `accumulate=2` .* `batch_size`"):
        training.train(SMALL, Place(workers=0), tmp_path / "run")
    at_step(-1, None)
    assert checkpoint.load_state(tmp_path / "run", print)["step"] == 2
    training.train(SMALL, Place(workers=0, accumulate=2), tmp_path / "run")
    assert checkpoint.finished(tmp_path / "run")


def test_a_checkpoint_for_which_memory_is_short_is_not_damaged(tmp_path, monkeypatch):
    training.train(SMALL, Place(workers=0), tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", failing(SHORT[2]))
        with pytest.raises(BadInput, match="too little memory"):
            training.train(SMALL, Place(workers=0), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.damaged"))
    assert checkpoint.load_state(tmp_path / "run", print)["step"] == 4


# Threads


def test_trains_in_a_thread(tmp_path):
    """As servers of notebooks do; signals are left to the main one."""
    raised = []

    def work():
        try:
            training.train(SMALL, Place(workers=1), tmp_path / "run")
            assert cli.main(["eval", str(tmp_path / "run"), "--scenes", "2"]) == 0
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised == [] and checkpoint.finished(tmp_path / "run")


# Locks


def test_a_lock_is_of_one_thread_and_waits(tmp_path, monkeypatch):
    order, refused = [], threading.Event()

    class Seen(files.FileLock):
        def _acquire(self):
            super()._acquire()
            if not self.is_locked:
                refused.set()

    def work():
        with files.locked(tmp_path / "lock", wait=True):
            order.append("second")

    with files.locked(tmp_path / "lock"):
        monkeypatch.setattr(files, "FileLock", Seen)
        thread = threading.Thread(target=work)
        thread.start()
        assert refused.wait(60)
        with pytest.raises(BlockingIOError), files.locked(tmp_path / "lock"):
            pass
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


HOLDER = """
import os, sys, time
from pathlib import Path
from gqn.runtime import files
with files.locked(Path(sys.argv[1])):
    if os.fork() == 0:
        if sys.argv[2] == "exec":
            os.execvp("sh", ["sh", "-c", "echo held; sleep 60"])
        print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("child", ["exec", "fork"])
def test_a_lock_ends_with_its_process_though_a_worker_lives(tmp_path, child):
    command = [sys.executable, "-c", HOLDER, tmp_path / "lock", child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), files.locked(tmp_path / "lock"):
            pass
        holder.kill()
        holder.wait()
        with files.locked(tmp_path / "lock"):
            pass
        os.killpg(holder.pid, 9)  # the worker


def test_file_systems_without_locks_are_used_without(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", failing(OSError(38, "Function not implemented")))
    with files.alone(tmp_path / "run"), files.locked(tmp_path / "other", wait=True):
        pass
    monkeypatch.setattr(fcntl, "flock", failing(OSError(95, "Operation not supported")))
    with files.alone(tmp_path / "run"), files.locked(tmp_path / "other", wait=True):
        pass


# Other systems

WINDOWS = """
import importlib, multiprocessing, os, pkgutil, signal, sys
import filelock  # which has another lock there
sys.modules["fcntl"] = None
for module, names in ((os, "pread pwrite fork"), (signal, "SIGHUP SIGALRM SIGUSR1 pthread_sigmask sigwait alarm")):
    for name in names.split():
        vars(module).pop(name, None)
fsync = os.fsync
def writable_fsync(handle):
    os.write(handle, b"")
    fsync(handle)
os.fsync = writable_fsync

def main():
    multiprocessing.set_start_method("spawn")
    from torch.utils.data._utils import signal_handling
    signal_handling._set_SIGCHLD_handler = lambda: None  # as torch does there
    import gqn
    for module in pkgutil.walk_packages(gqn.__path__, "gqn."):
        importlib.import_module(module.name)
    from gqn.cli.main import main
    tiny = "--image-size 16 -c 2 --representation tower --representation-maps 8 -s 1 -u 4 --num-canvas-maps 4 -b 4"
    run = "log/founding-shepard_metzler_5_parts-16px"
    for command in (
        "data render shepard_metzler_5_parts --scenes 4 --workers 0 --views 4 --image-size 16 --out data",
        "data verify data --workers 0",
        f"train {tiny} -t 8 -v 4 --workers 1 --data data",
        f"eval {run} --scenes 1 --samples 2",
        "figure scenes shepard_metzler_5_parts --out scenes.png",
    ):
        assert main(command.split()) == 0, command

if __name__ == "__main__":
    main()
"""


def test_works_as_on_windows(tmp_path):
    """Without what that system lacks: fcntl, pread, fork, signals; fsync of what was opened for reading.

    SIGCHLD and getppid stay, as torch's own workers need them on any other system.
    """
    (tmp_path / "program.py").write_text(WINDOWS)
    command = [sys.executable, "program.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_workers_can_be_started_anew():
    """What goes to a worker that is not forked can be pickled."""
    from gqn.data.files.export import _Payloads
    from gqn.data.files.inspect import _Verified
    from gqn.data.sources import source
    from gqn.data.specification import DATASETS
    from gqn.data.tasks import _collate, _Tasks
    from gqn.runtime.stopping import leave_signals_to_the_parent

    for name in DATASETS:
        scenes = source(name, "train", image_size=16)
        for thing in (_Tasks(scenes), _Payloads({"train": scenes}), _Verified([])):
            assert type(pickle.loads(pickle.dumps(thing))) is type(thing)
    assert pickle.loads(pickle.dumps((_collate, leave_signals_to_the_parent)))


def test_reads_are_of_the_place_asked_for(tmp_path):
    """From several threads at a time."""
    payloads = [bytes([i]) * (100 + i) for i in range(50)]
    tfrecord.write(tmp_path / "a.tfrecord", payloads)
    file = tfrecord.scan(tmp_path / "a.tfrecord")
    read = {}
    threads = [
        threading.Thread(target=lambda k=k: read.update({i: file.payload(i) for i in range(k, 50, 4)}))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [read[i] for i in range(50)] == payloads

"""Where the package runs: locales, read-only homes, full disks, threads, other systems."""

import ast
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import gqn
from gqn.artifacts import checkpoint
from gqn.cli import main as cli
from gqn.config import Place
from gqn.data.files import tfrecord
from gqn.training import loop as training
from support import TOY, made_run, started

SMALL = TOY.having(batch_size=4, num_train_samples=16, num_val_samples=4, val_freq=8)
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
    from gqn.data.tasks import Sampler, _Batches
    from gqn.runtime.stopping import leave_signals_to_the_parent

    for name in DATASETS:
        scenes = source(name, "train", image_size=16)
        for thing in (
            _Batches(scenes, Sampler(scenes.order, scenes.num_views, 4, 1, 2)),
            _Payloads({"train": scenes}),
            _Verified([]),
        ):
            assert type(pickle.loads(pickle.dumps(thing))) is type(thing)
    assert pickle.loads(pickle.dumps(leave_signals_to_the_parent))


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

"""Locks are of one thread of one process, and end with it."""

import os
import subprocess
import sys
import threading

import pytest

from gqn.runtime import files
from support import failing


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

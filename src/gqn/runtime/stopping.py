"""Ctrl-C and SIGTERM: how a command ends together with the processes that it started.

Only the process that the user started reacts to these signals. The processes that it starts do not see them: it ends
its workers, and the other ranks end when it is gone. So there is one message, one exit code, and no process left over.
"""

import atexit
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)
FIRST = "GQN_FIRST_RANK"  # environment variable with the process id of the first rank, for the ranks that it starts
TWICE = 1.0  # seconds: a second signal within them is a duplicate, as a terminal and a wrapper program may both send it
GRACE = 3.0  # seconds after which a process that does not react to a signal, as it waits for another, is ended
GLANCE = 0.2  # seconds between two checks of other processes
_come = 0  # the signal that raised Interrupted in the open `by_signals`, or 0


class Interrupted(KeyboardInterrupt):
    """A command was stopped by the signal `signum`, SIGINT or SIGTERM."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


def code(stop: KeyboardInterrupt) -> int:
    """The exit code of a command that was stopped by a signal, 128 + its number."""
    return 128 + getattr(stop, "signum", signal.SIGINT)


@contextmanager
def by_signals(process: bool) -> Iterator[None]:
    """While open, the first SIGINT or SIGTERM raises Interrupted; another one, over a second later, ends the process.

    Set `process` if the process exits after this block: after a signal the handlers then stay until it exits, and if it
    has not exited after GRACE seconds, it is ended, as code may catch every exception, or wait for a killed worker.
    Signals that are ignored stay ignored. Does nothing in a thread other than the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _come
    _come, began = 0, 0.0

    def stop(signum: int, frame: Any) -> None:
        global _come
        nonlocal began
        if not _come:
            _come, began = signum, time.monotonic()
            if process and hasattr(signal, "setitimer"):  # not on Windows
                signal.signal(signal.SIGALRM, lambda *_: end(signum))
                signal.setitimer(signal.ITIMER_REAL, GRACE)
            end_workers()  # before the pipes that they write to are closed
            raise Interrupted(signum)
        if time.monotonic() - began > TWICE:
            end(signum)

    before = {s: signal.signal(s, stop) for s in STOPS if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield
    finally:
        if not (_come and process):
            for signum, handler in before.items():
                signal.signal(signum, handler)
            _come = 0
        else:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)
            if os.environ.get(FIRST) == str(os.getpid()):  # at exit Fabric would wait for the other ranks
                sys.stdout.flush()
                _end(128 + _come)


def end(signum: int) -> None:
    """End this process and its workers at once, with a message."""
    _end(128 + signum, "interrupted")


def _end(code: int, why: str = "") -> None:
    with suppress(OSError, ValueError):
        if why:
            print(f"gqn: {why}", file=sys.stderr)
        sys.stderr.flush()
    end_workers()
    os._exit(code)


@atexit.register
def end_workers() -> None:
    """Kill the workers that an error left behind. They ignore SIGTERM, so at exit Python would wait forever."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


@contextmanager
def held() -> Iterator[None]:
    """While open, SIGINT and SIGTERM are blocked in this thread; processes started meanwhile keep them blocked.

    Does nothing on Windows.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_the_parent(worker: int = 0) -> None:
    """Ignore the signals in a worker process, as its `worker_init_fn`; needed on Windows, where `held` does nothing."""
    for signum in STOPS:  # a terminal or `timeout` sends them to the whole process group
        signal.signal(signum, signal.SIG_IGN)


class Watch:
    """Watches the other ranks of a run, from the process that starts them.

    A thread ends this process, after GRACE seconds, if one of them fails or a signal comes: the main thread may be
    waiting for them, where no exception reaches it. Call `leave` when the main thread has ended the work by itself.
    """

    def __init__(self) -> None:
        os.environ[FIRST] = str(os.getpid())
        self.processes: list[subprocess.Popen] = []
        self.over = threading.Event()
        self.read, self.write = socket.socketpair()
        self.read.settimeout(GLANCE)
        self.write.setblocking(False)
        self.woken = -1
        if threading.current_thread() is threading.main_thread():
            self.woken = signal.set_wakeup_fd(self.write.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._look, daemon=True, name="ranks").start()

    def leave(self) -> None:
        """Stop watching."""
        self.over.set()
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self.woken, warn_on_full_buffer=False)

    def _look(self) -> None:
        signum = _come  # not 0 if one came before, and code that catches every exception went on
        until = float("inf")
        while not self.over.is_set():
            with suppress(TimeoutError):
                byte = self.read.recv(1)[0]
                signum = byte if byte in STOPS else signum
            if signum or any(process.poll() for process in self.processes):
                until = min(until, time.monotonic() + GRACE)
            if time.monotonic() > until and not self.over.is_set():
                if signum:
                    end(signum)
                _end(2, other_ended(0))


def other_ended(rank: int) -> str:
    """The message of a rank that ends because another one ended."""
    return f"process {rank} ends, as another process of this run ended"


def started_by_first() -> bool:
    """Whether this process is a rank that the first rank started."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and FIRST in os.environ


@cache
def end_with_first() -> None:
    """In a rank that the first rank started: end this process and its workers when the first rank is gone."""
    if not started_by_first() or os.name != "posix":  # on Windows it cannot be seen that a parent is gone
        return

    def look() -> None:
        while os.environ[FIRST] == str(os.getppid()):
            time.sleep(GLANCE)
        _end(2)

    threading.Thread(target=look, daemon=True, name="first rank").start()


@contextmanager
def noted() -> Iterator["Noted"]:
    """While open, SIGINT and SIGTERM are only recorded, in the yielded `Noted`, for a loop to act on.

    Does nothing in a thread other than the main thread.
    """
    come = Noted()
    if threading.current_thread() is not threading.main_thread():
        yield come
        return

    def note(signum: int, frame: Any) -> None:
        come.signum = signum

    woken = signal.set_wakeup_fd(-1, warn_on_full_buffer=False)  # so that `Watch` does not react to them
    before = {s: signal.signal(s, note) for s in STOPS if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield come
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)


class Noted:
    """Holds the number of the last signal that came, or 0."""

    signum = 0

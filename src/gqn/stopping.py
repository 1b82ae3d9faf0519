"""Ctrl-C and SIGTERM: how a command ends, and the processes that it started with it.

One process of a command decides, the one that the user started. Those that it starts never see these signals: workers
are ended by it, and other ranks end when it is gone. So there is one line, one exit code, and nobody is left.
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
FIRST = "GQN_FIRST_RANK"  # environment variable that tells the ranks that a process starts who that is
TWICE = 1.0  # seconds in which a second signal is the same one: a terminal and a program in between both pass it on
GRACE = 3.0  # seconds after which a process that does not answer a signal, as it waits for another, is ended
GLANCE = 0.2  # seconds between two looks at other processes


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM, `signum`, stopped a command."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


def code(stop: KeyboardInterrupt) -> int:
    """The exit code that says which signal it was."""
    return 128 + getattr(stop, "signum", signal.SIGINT)


@contextmanager
def by_signals(process: bool) -> Iterator[None]:
    """While open, the first SIGINT or SIGTERM raises Interrupted, and a second one, a second later, ends the process.

    If all that the `process` is for is this, the second one does so to its very end. In a thread other than the main
    one, signals stay as they are; those that are ignored stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first, began = 0, 0.0

    def stop(signum: int, frame: Any) -> None:
        nonlocal first, began
        if not first:
            first, began = signum, time.monotonic()
            end_workers()  # before what they write to is gone
            raise Interrupted(signum)
        if time.monotonic() - began > TWICE:
            end(signum)

    before = {s: signal.signal(s, stop) for s in STOPS if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield
    finally:
        if not (first and process):
            for signum, handler in before.items():
                signal.signal(signum, handler)
        elif os.environ.get(FIRST) == str(os.getpid()):  # at its end the engine would wait for the other ranks
            sys.stdout.flush()
            _end(128 + first)


def end(signum: int) -> None:
    """End this process and its workers at once, saying so."""
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
    """End the workers that an error left behind: they ignore the SIGTERM after which Python would wait for them."""
    if left := [child for child in multiprocessing.active_children() if child.daemon]:
        if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report their end as a crash
        for child in left:
            child.kill()


@contextmanager
def held() -> Iterator[None]:
    """While open, this thread's signals wait; processes that it starts never see any, from their first moment on."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_the_parent(worker: int = 0) -> None:
    """What a worker process does first, wherever `held` is not known."""
    for signum in STOPS:  # sent to the whole group by a terminal or `timeout`
        signal.signal(signum, signal.SIG_IGN)


class Watch:
    """Looks after the other ranks of a run, from the process that starts them: they end when it does.

    A thread sees to it that this process ends too, if one of them fails or a signal comes, though it may be waiting for
    them, where no exception reaches it. Once it knows of either by itself, `leave` is told.
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
        """Nothing more to look after."""
        self.over.set()
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self.woken, warn_on_full_buffer=False)

    def _look(self) -> None:
        signum = 0
        until = float("inf")
        while not self.over.is_set():
            with suppress(TimeoutError):
                signum = self.read.recv(1)[0]
            if signum or any(process.poll() for process in self.processes):
                until = min(until, time.monotonic() + GRACE)
            if time.monotonic() > until and not self.over.is_set():
                if signum:
                    end(signum)
                _end(2, other_ended(0))


def other_ended(rank: int) -> str:
    """Why a rank ends that did nothing wrong."""
    return f"process {rank} ends, as another process of this run ended"


def started_by_first() -> bool:
    """Whether this process is a rank that the first one started and looks after."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and FIRST in os.environ


@cache
def end_with_first() -> None:
    """In a rank that the first one started: see to it that this process and its workers end when that does."""
    if not started_by_first() or os.name != "posix":  # Windows does not tell when a parent is gone
        return

    def look() -> None:
        while os.environ[FIRST] == str(os.getppid()):
            time.sleep(GLANCE)
        _end(2)

    threading.Thread(target=look, daemon=True, name="first rank").start()


@contextmanager
def noted() -> Iterator["Noted"]:
    """While open, SIGINT and SIGTERM are noted for a loop to act on, and do nothing else.

    In a thread other than the main one they stay as they are.
    """
    come = Noted()
    if threading.current_thread() is not threading.main_thread():
        yield come
        return

    def note(signum: int, frame: Any) -> None:
        come.signum = signum

    woken = signal.set_wakeup_fd(-1, warn_on_full_buffer=False)  # nobody else is to act on them
    before = {s: signal.signal(s, note) for s in STOPS if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield come
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)


class Noted:
    """The last signal that came, or 0."""

    signum = 0

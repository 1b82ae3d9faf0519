"""Where a number comes from: the command, the code and the machine that made it, kept beside it."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from gqn import __version__

CHECKOUT = Path(__file__).parents[2]


def provenance(gpu: bool, devices: int) -> dict[str, Any]:
    """The present command, this package's version and commit (None if it is not a checkout), and what it runs on.

    Of a `--data` on this machine the command says DATA, and of other absolute places their last part, as it may be
    given away.
    """
    words = [
        word for given in sys.argv[1:] for word in (given.split("=", 1) if given.startswith("--data=") else [given])
    ]
    places = [
        public(word) if before == "--data" else _shortened(word)
        for before, word in zip(["", *words], words, strict=False)
    ]
    program = Path(sys.argv[0]).name
    command = shlex.join(["gqn" if program in ("__main__.py", "cli.py") else program, *places])
    return {"command": command, "version": __version__, "commit": commit(), "machine": machine(gpu, devices)}


def public(data: str) -> str:
    """A place of data as others may know it: an address, or DATA for a folder here."""
    return data if "://" in data or not data else "DATA"


def named(place: str) -> str:
    """A place as others may know it: the last part of one that is absolute on this machine."""
    return Path(place).name if Path(place).is_absolute() else place


def _shortened(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + named(value)


def commit() -> str | None:
    """The checkout's commit, marked if files differ from it; None if the package is installed without one."""
    if not (CHECKOUT / ".git").exists():
        return None
    describe = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    try:
        return subprocess.run(describe, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or not ours to read
        return None


def machine(gpu: bool, devices: int) -> str:
    """The devices, in words."""
    if gpu:
        import torch

        return f"{devices} x {torch.cuda.get_device_name()}"
    return f"{_processor()}, {devices} process{'es' * (devices > 1)} on {os.cpu_count()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

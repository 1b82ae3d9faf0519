"""Provenance of a result: the command, the code and the machine that made it, stored with the result."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from gqn import __version__

CHECKOUT = Path(__file__).parents[3]


def provenance(gpu: bool, devices: int) -> dict[str, Any]:
    """The current command, the version and commit (None without a checkout) of this package, and the machine.

    The result may be published, so local paths are hidden: the value of `--data` becomes DATA if it is a folder, and
    any other absolute path is reduced to its last part.
    """
    words = [
        word for given in sys.argv[1:] for word in (given.split("=", 1) if given.startswith("--data=") else [given])
    ]
    places = [
        public(word) if before == "--data" else _shortened(word)
        for before, word in zip(["", *words], words, strict=False)
    ]
    program = Path(sys.argv[0]).name
    command = shlex.join(["gqn" if program in ("__main__.py", "main.py") else program, *places])
    return {"command": command, "version": __version__, "commit": commit(), "machine": machine(gpu, devices)}


def public(data: str) -> str:
    """The place of data in a form fit to publish: an address as it is, DATA for a local folder."""
    return data if "://" in data or not data else "DATA"


def named(place: str) -> str:
    """A path in a form fit to publish: only the last part of an absolute path."""
    return Path(place).name if Path(place).is_absolute() else place


def _shortened(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + named(value)


def commit() -> str | None:
    """The commit of the checkout, marked "-dirty" if files differ from it; None if there is no checkout or no git."""
    if not (CHECKOUT / ".git").exists():
        return None
    describe = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    try:
        return subprocess.run(describe, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no permission to read the repository
        return None


def machine(gpu: bool, devices: int) -> str:
    """The devices in words: number and name of GPUs, or processor, processes and cores."""
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

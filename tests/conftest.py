"""What several tests share."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from support import BRIEF as TOY
from support import HERE, made_up

settings.register_profile("gqn", deadline=None)  # machines are shared: no timing asserts
settings.load_profile("gqn")
torch.set_num_threads(1)  # pytest-xdist has a process per core,
os.environ["OMP_NUM_THREADS"] = "1"  # and so have the commands that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it; tests send it


@pytest.fixture
def task():
    return made_up()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with genuine frames, which is not part of the project."""
    root = Path(os.environ.get("GQN_SHARED", Path(__file__).parents[2] / "shared"))
    folder = root / "data" / "real"
    if not folder.is_dir():
        pytest.skip(f"genuine frames are not here: {folder} (set GQN_SHARED)")
    return folder


@pytest.fixture
def at_step(monkeypatch):
    """at_step(step, act): call act() in training, when a step (from 0) begins."""
    from gqn.training import loop

    schedule = loop.schedule

    def install(step, act):
        def hooked(config, samples):
            if samples == step * config.optimizer.batch_size:
                act()
            return schedule(config, samples)

        monkeypatch.setattr(loop, "schedule", hooked)

    return install


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of 12 steps with a validation every 4, never interrupted."""
    from gqn.training.loop import train

    folder = tmp_path_factory.mktemp("straight") / "run"
    train(TOY, HERE, folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, as Debian's package installs it (or GQN_CHROMIUM)."""
    api = pytest.importorskip("playwright.sync_api", exc_type=ImportError)
    path = os.environ.get("GQN_CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("no Chromium here: apt-get install chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


CHROMIUM_ARGUMENTS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()

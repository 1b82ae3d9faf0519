"""What several tests share."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from gqn import checkpoint
from gqn import config as configs
from gqn.config import Config
from gqn.views import Cameras, Task, Views

settings.register_profile("gqn", deadline=None)  # machines are shared: no timing asserts
settings.load_profile("gqn")
torch.set_num_threads(1)  # pytest-xdist has a process per core,
os.environ["OMP_NUM_THREADS"] = "1"  # and so have the commands that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it; tests send it


TOY = Config(
    image_size=16,
    max_context_size=3,
    representation="tower",
    representation_maps=8,
    num_steps=2,
    num_recurrent_maps=4,
    num_canvas_maps=4,
    kernel_size=3,
)


def made_run(folder, config=TOY):
    """A run that has not learnt anything."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(configs.as_json(config))
    checkpoint.save_weights(folder, checkpoint.build(config))
    return folder


def made_up(batch=2, context=3, queries=1, size=16, seed=0):
    """A task of noise images and random cameras looking at the origin."""
    g = torch.Generator().manual_seed(seed)

    def views(n):
        yaw = torch.rand(batch, n, generator=g) * 6.28
        pitch = torch.rand(batch, n, generator=g) - 0.5
        forward = torch.stack([yaw.cos() * pitch.cos(), -yaw.sin() * pitch.cos(), pitch.sin()], -1)
        pose = torch.cat([forward * -10 / 3, yaw[..., None], pitch[..., None]], -1)
        return Views(torch.rand(batch, n, 3, size, size, generator=g), Cameras(pose, 20.0))

    return Task(views(context), views(queries))


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
    from gqn import train

    schedule = train.schedule

    def install(step, act):
        def hooked(config, samples):
            if samples == step * config.batch_size:
                act()
            return schedule(config, samples)

        monkeypatch.setattr(train, "schedule", hooked)

    return install


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

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

"""What several tests import: toy configs, runs and tasks of them, records of files, commands and what they leave."""

import json
import math
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gqn import config as configs
from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.config import Place
from gqn.data.files import example, jpeg, tfrecord
from gqn.errors import BadInput
from gqn.models.gqn import GQN
from gqn.objective import Gaussian, Prediction
from gqn.runtime.content import masked_crc32c
from gqn.views import Cameras, Task, Views


def needs_gpu(test):
    """Marks a test that needs a GPU: `pytest -m gpu` selects it, and without one it is skipped."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")(test))


TOY = configs.preset(
    "founding",
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


def loaded(config):
    """A fresh model as it is loaded: it warns of cameras unlike those that it would have been trained with."""
    model = checkpoint.build(config).eval()
    model.trained_on = checkpoint.trained_on("tiny", config)
    return model


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


def made_record(views=3, seed=0):
    """A scene of noise as a record of a file holds it."""
    rng = np.random.default_rng(seed)
    frames = [jpeg.encode(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(views)]
    return frames, rng.normal(size=(views, 5)).astype(np.float32)


def framed(payload):
    """A record of a file of a payload."""
    length = struct.pack("<Q", len(payload))
    return length + masked_crc32c(length) + payload + masked_crc32c(payload)


def made_files(folder, sizes=(3, 1, 2), views=3):
    """Files with as many scenes of noise as given; scene i is made_record(views, i)."""
    folder.mkdir(parents=True)
    first = 0
    for n, size in enumerate(sizes):
        scenes = [example.example(*made_record(views, first + i)) for i in range(size)]
        tfrecord.write(folder / f"{n + 1}-of-{len(sizes)}.tfrecord", scenes)
        first += size
    return sorted(folder.glob("*.tfrecord"))


TRAIN_TINY = (
    "train demo --image-size 16 -c 2 --representation tower --representation-maps 8 -s 1 -u 4 --num-canvas-maps 4 "
    "--precision 32-true -b 3 -t 6 -v 2 --workers 0"
).split()

TOOK = {  # by a training, as training.json has it
    "samples": 1234567,
    "seconds": 7384,
    "command": "gqn train demo -t 1234567",
    "version": "0.1.0",
    "commit": "abcdef0123",
    "machine": "an abacus, 2 processes on 2 cores",
}

BRIEF = TOY.having(batch_size=4, num_train_samples=48, num_val_samples=8, val_freq=16)  # trains for 12 steps
HERE = Place(workers=0)
SHOWN = TOY.having(max_context_size=2, num_steps=3)  # by the viewer

DRAWN = configs.preset(  # in figures
    "founding",
    image_size=16,
    max_context_size=2,
    representation="tower",
    representation_maps=8,
    num_steps=2,
    num_recurrent_maps=4,
    num_canvas_maps=4,
)

MAIN = [sys.executable, "-c", "import sys; from gqn.cli.main import main; sys.exit(main())"]


def started(*arguments, stdout=subprocess.PIPE, code=None, **environment):
    """A command, or `code`, in a process of its own."""
    command = [sys.executable, "-c", code, *arguments] if code else [*MAIN, *arguments]
    options = dict(stdout=stdout, stderr=subprocess.PIPE, timeout=300, env=os.environ | environment)
    return subprocess.run(command, **options)


def failing(error):
    """A function that raises an error, whatever it is given."""

    def fail(*arguments, **options):
        raise error

    return fail


def same_weights(a, b):
    """Whether two runs ended with the same weights, to the bit."""
    a, b = (load_file(folder / "model.safetensors") for folder in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def records(folder, kind):
    """What a run recorded of a kind, "train" or "val"."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def copied(folder, to):
    """A copy of a run."""
    shutil.copytree(folder, to)
    return to


SMALL = dict(image_size=16, representation_maps=16, num_steps=3, num_recurrent_maps=8, num_canvas_maps=12, head_size=5)


def small(options, seed=0):
    """A GQN that is small but for what the options say."""
    torch.manual_seed(seed)
    model = GQN(**SMALL | options)
    with torch.no_grad():  # default weights are so small that mistakes would hide
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def scored(model, task, seed=0, pixel_std=0.7, samples=1):
    """A prediction of a task, with the noise of a seed."""
    b, q = task.query.frames.shape[:2]
    noise = model.noise(b, q, torch.Generator().manual_seed(seed), samples)
    return model(task.context, task.query, pixel_std, noise)


class Oracle:
    """Draws a grey that says how many views it was given, plus noise; its surprise is known too."""

    def represent(self, views):
        return views

    def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
        b, q = cameras.pose.shape[:2]
        noise = torch.randn(b, 1 if share_noise else q, 3, 1, 1, generator=generator).expand(-1, q, -1, 16, 16)
        return (0.5 + 0.05 * noise / representation.frames.shape[1])[None]

    def noise(self, scenes, queries, generator=None, samples=1, share=False):
        return torch.zeros(samples, scenes, 0)

    def __call__(self, context, query, pixel_std, noise=None):
        kl = query.frames.mean((2, 3, 4))[None, ..., None] * torch.tensor([1.0, 2.0]) / context.frames.shape[1]
        return Prediction(Gaussian(query.frames[None], pixel_std), kl, kl)


ASKED = {
    "about": "view",
    "id": 1,
    "dataset": SHOWN.data.dataset_name,
    "scene": 3,
    "context": [0, 1],
    "camera": [0, 0, 0, 1, 0.5],
    "seed": 7,
    "step": 0,
}


def unpacked(message):
    """An answer of the viewer's server: its header, and its arrays by name."""
    (length,) = struct.unpack_from("<I", message)
    header, at, parts = json.loads(message[4 : 4 + length]), 4 + length, {}
    for name, shape in header.pop("parts"):
        size = math.prod(shape)
        parts[name] = np.frombuffer(message, np.uint8, size, at).reshape(shape)
        at += size
    assert at == len(message)
    return header, parts


def same(a, b):
    """Whether two scenes have the same frames and cameras."""
    return a[0] == b[0] and np.array_equal(a[1], b[1])


def cached(tmp_path):
    """The remote files that are in the cache of a test."""
    return list((tmp_path / "cache").rglob("*.tfrecord"))


def refused(path, says):
    """Loading a model from there is refused in one line that says this."""
    with pytest.raises(BadInput, match=says) as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)


def run(capsys, *argv):
    """A command's exit code, output and error."""
    try:
        code = main(list(argv))
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err

"""What several tests import: a toy config, runs and tasks of it, records of files."""

import struct

import numpy as np
import pytest
import torch

from gqn import config as configs
from gqn.artifacts import checkpoint
from gqn.data.files import example, jpeg, tfrecord
from gqn.runtime.content import masked_crc32c
from gqn.views import Cameras, Task, Views

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

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

"""Mental rotation: an object from all sides, yaw by pitch, imagined from one, two and three views (paper, supplement).

Each sheet is one sample: all its views share the same noise. What to expect: from one view, the side that it shows is
right and the others are guesses; with more views, the sheets approach the truth.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.errors import BadInput
from gqn.figures import drawing, heldout
from gqn.figures.drawing import Group
from gqn.metrics import statistics
from gqn.models import Model
from gqn.scenes import shepard_metzler

Arrays = dict[str, NDArray[np.uint8]]
SUBJECT = "run"
PITCHES = (60, 30, 0, -30, -60)  # degrees, seen from below to seen from above


@torch.no_grad()
def compute(config: Config, model: Model, scene: int = 0, context: int = 3, yaws: int = 8) -> Arrays:
    """`context` (M, H, W, 3); `truth` (pitches, yaws, H, W, 3); `samples` (M, pitches, yaws, H, W, 3), from 1..M views.

    BadInput if the run is not of Shepard-Metzler objects.
    """
    scenes = heldout.rendered(config)
    if not isinstance(scenes.family, shepard_metzler.Family):
        raise BadInput(f"rotation is of Shepard-Metzler objects and not of {config.data.dataset_name}: see orbit")
    task = heldout.tasks(scenes, scene, 1, min(context, config.data.max_context_size))
    pitch, yaw = np.meshgrid(np.radians(PITCHES), np.arange(yaws) * 2 * math.pi / yaws, indexing="ij")
    cameras = scenes.family.sphere(yaw.ravel(), pitch.ravel())
    truth = scenes.render(heldout.described(scenes, scene), cameras).float()
    samples = []
    for m in range(1, task.context.frames.shape[1] + 1):
        generator = torch.Generator().manual_seed(heldout.SEED)
        samples.append(
            model.sample(model.represent(task.context[:, :m]), cameras[None], generator, share_noise=True)[0]
        )
    parts = {
        "context": task.context.frames[0],
        "truth": truth.frames.unflatten(0, yaw.shape),
        "samples": torch.cat(samples).unflatten(1, yaw.shape),
    }
    return {name: drawing.images(part) for name, part in parts.items()}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """RMSE (0-255) over the sheet, from 1..M views."""
    rmse = statistics.rmse(arrays["samples"].astype(float), arrays["truth"])
    return {f"rmse_{m}_views": float(x) for m, x in enumerate(rmse, 1)}


def draw(arrays: Arrays) -> Image.Image:
    """The context, the truth, and a sheet for each number of views: columns are yaws, rows pitches."""
    rows = [f"pitch\n{pitch}°" for pitch in PITCHES]
    yaws = arrays["truth"].shape[1]
    columns = [f"{360 * i // yaws}°" for i in range(yaws)]
    rmse = numbers(arrays).values()
    headings = [f"from {m} view{'s' * (m > 1)}: RMSE {x:.1f} of 255" for m, x in enumerate(rmse, 1)]
    groups = [Group(h, x, columns) for h, x in zip(headings, arrays["samples"], strict=True)]
    groups.insert(0, Group("truth, by yaw and pitch of the camera", arrays["truth"], columns))
    pairs = [drawing.sheet(groups[i : i + 2], rows, side=64) for i in range(0, len(groups), 2)]
    return drawing.below(drawing.sheet([Group("context views", arrays["context"][None])]), *pairs)

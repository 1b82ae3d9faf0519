"""Scene algebra, the paper's figure 4: samples drawn from r(A) - r(B) + r(C), beside the scene D that they should show.

B is a room with one object. A differs from B in one property, C in another, and D in both: red sphere - red box +
blue box = blue sphere. The same context cameras see all four scenes. Samples from the prior are drawn at query cameras
between those. A triple succeeds if its samples are nearer to D than to A, B or C, as seen by the query cameras (mean
squared error over all of them); by chance, one in four does.
The same is measured for samples drawn from r(D) itself: what fails there is not a failure of the algebra.

What to expect of a factorised code: about as many successes with the sum as with r(D).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.data.tasks import rng
from gqn.figures import drawing, editing, heldout
from gqn.figures.drawing import Group
from gqn.metrics import statistics
from gqn.models import Model
from gqn.views import Cameras

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
KINDS = (("shape", "hue"), ("place", "hue"), ("wall", "hue"), ("wall", "shape"), ("wall", "floor"))
DRAWN = ("sum", "itself")  # drawn from r(A) - r(B) + r(C), and from r(D)


def compute(config: Config, model: Model, scene: int = 0, triples: int = 100) -> Arrays:
    """Triples from number `scene` on, of all KINDS in turn; BadInput if the dataset is not of rooms.

    `kind` (T,): index into KINDS; `truth` (T, 4, H, W, 3): A, B, C and D at one query camera; `drawn` (T, 2, H, W, 3):
    the samples at that camera, as in DRAWN; `distance` (T, 2, 4): mean squared error of each to A, B, C and D.
    """
    held_out = editing.scenes(config)
    context, query = editing.around(held_out, config.data.max_context_size)
    kind = np.arange(scene, scene + triples) % len(KINDS)
    rows = [_triple(model, held_out, context, query, number) for number in range(scene, scene + triples)]
    parts = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {"kind": kind, **parts}


@torch.no_grad()
def _triple(model: Model, held_out: Any, context: Cameras, query: Cameras, number: int) -> Arrays:
    generator = rng(heldout.SEED, number)
    first, second = (editing.PROPERTIES[name] for name in KINDS[number % len(KINDS)])
    base, (x, other_x), (y, other_y) = editing.base(generator), first.pair(generator), second.pair(generator)
    a, b, c, d = [
        second.edit(first.edit(base, value), other)
        for value, other in ((other_x, y), (x, y), (x, other_y), (other_x, other_y))
    ]
    r = editing.codes(model, editing.seen(held_out, [a, b, c, d], context))
    truth = editing.seen(held_out, [a, b, c, d], query).frames  # (4, Q, 3, H, W)
    both = torch.stack([r[0] - r[1] + r[2], r[3]])
    noise = torch.Generator().manual_seed(number)
    cameras = replace(query, pose=query.pose.expand(2, -1, -1))
    drawn = model.sample(both, cameras, noise)[0]
    distance = (drawn[:, None] - truth).square().flatten(2).mean(2)
    return {
        "truth": drawing.images(truth[:, 0]),
        "drawn": drawing.images(drawn[:, 0]),
        "distance": distance.numpy(),
    }


def hits(arrays: Arrays) -> NDArray[np.bool_]:
    """Whether each triple succeeds, drawn from the sum and from r(D): (T, 2)."""
    return arrays["distance"].argmin(2) == 3


def numbers(arrays: Arrays) -> dict[str, Any]:
    """The share of triples that succeed, over all kinds and for each, drawn from the sum and from r(D)."""
    values: dict[str, Any] = {"chance": 0.25}
    for name, hit in zip(DRAWN, hits(arrays).T, strict=True):
        values[name] = statistics.estimate(hit)
        for k in np.unique(arrays["kind"]):
            values[f"{name}_{'_'.join(KINDS[k])}"] = statistics.estimate(hit[arrays["kind"] == k])
    return values


def draw(arrays: Arrays) -> Image.Image:
    """The first triple of each kind, labelled with the success rate of its kind."""
    values, kinds = numbers(arrays), np.unique(arrays["kind"])
    shown = [int(np.flatnonzero(arrays["kind"] == k)[0]) for k in kinds]
    truth, drawn = arrays["truth"][shown], arrays["drawn"][shown]
    labels = [f"{' and '.join(KINDS[k])}\n{100 * values['sum_' + '_'.join(KINDS[k])]['mean']:.0f} %" for k in kinds]
    rate = {name: f"{100 * values[name]['mean']:.0f} ± {100 * values[name]['stderr']:.0f} %" for name in DRAWN}
    groups = [
        Group("A", truth[:, [0]]),
        Group("- B", truth[:, [1]]),
        Group("+ C", truth[:, [2]]),
        Group("= drawn from the sum", drawn[:, [0]]),
        Group("D, the truth", truth[:, [3]]),
        Group("drawn from r(D)", drawn[:, [1]]),
    ]
    title = (
        f"nearest to D: {rate['sum']} of {len(arrays['kind'])} sums, {rate['itself']} from r(D) itself (chance 25 %)"
    )
    return drawing.sheet(groups, labels, side=128, title=title)

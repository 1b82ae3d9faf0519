"""Where to look next: predicted information gain over the camera space, and how much looking there helps.

The gain (`gqn.metrics.information.gain`) of a candidate camera c measures how far the model's predictions of probe
views p differ between imagined views x_c, each given to the model as one more context view. Why: by the law of total
variance, Var[E[x_p | x_c]] is the expected reduction of the variance of x_p by seeing c. Gaussians have the most
entropy, so the sum is an upper bound (given enough x_c) on the mutual information between the views at c and at p. The
surprise KL(q || p) of the imagined x_c would be cheaper, but it is about the view at c itself, not about other views.

Each of many scenes then begins with one view, and takes more from the same candidates by one of three policies: the
highest predicted gain, random, or farthest from the views taken so far (by the cameras' 7-vectors). Probes are views
that are never taken; the gain uses their cameras, not their images. For the first choice, the candidates that turned
out to be best, median and worst are shown too. What to expect: predicted gain is high where hidden sides are seen, and
looking there beats looking at random, most in the first choice. The paper has no such figure.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gqn.config import Config
from gqn.data.tasks import rng
from gqn.errors import BadInput
from gqn.figures import drawing, heldout
from gqn.figures.drawing import Group
from gqn.metrics import statistics
from gqn.metrics.information import gain as gain_of
from gqn.models import Model
from gqn.runtime.console import Reporter
from gqn.views import Task, Views, joined

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
BATCH = 10  # scenes at a time
POLICIES = ("predicted", "random", "farthest")


@torch.no_grad()
def compute(
    config: Config,
    model: Model,
    scene: int = 0,
    scenes: int = 100,
    candidates: int = 8,
    probes: int = 4,
    context: int = 3,
    imagined: int = 2,
    places: int = 120,
) -> Arrays:
    """Take up to `context` views of each of `scenes` rendered scenes, from number `scene` on, among N candidates.

    `error` (scenes, policies, context): RMSE at the probes, 0-255, of a sample given 1, 2, ... views. For the first
    choice, `gain` and `after` (scenes, N): predicted gain in nats, and the error after taking that candidate.
    For the first scene, `map_pose` (places, 5), `map_look` (places, 2) and `map_gain` (places,): random cameras, x and
    y of the direction that each looks in, and their gains; `first_pose` (5,): the first view's; `images` (5, H, W, 3)
    uint8: the first view, the views of highest and lowest predicted gain as imagined, and these two as they are.
    """
    if imagined < 2 or places < 3:
        raise BadInput("a gain takes at least 2 imagined images, and a map at least 3 places")
    most, std = min(context, config.data.max_context_size, 1 + candidates), config.objective.pixel_std_final
    held_out = replace(heldout.rendered(config), num_views=1 + candidates + probes)
    parts: list[Arrays] = []
    shown: Arrays = {}
    with Reporter("nextview", scenes, 0, "scenes") as report:
        for first in range(0, scenes, BATCH):
            count = min(BATCH, scenes - first)
            task = heldout.tasks(held_out, scene + first, count, 1, candidates + probes)
            others, hidden = task.query[:, :candidates], task.query[:, candidates:]
            if first == 0:
                description = heldout.described(held_out, scene)
                cameras = held_out.family.cameras(rng(heldout.SEED, scene), description, places)
                probe = hidden.cameras[:1]
                gain = gain_of(model, task.context[:1], cameras[None], probe, std, 3 * imagined, heldout.SEED)[0]
                extremes = cameras[torch.stack([gain.argmax(), gain.argmin()])]
                dreamt = model.sample(model.represent(task.context[:1]), extremes[None], noise())[0, 0]
                pictures = torch.cat(
                    [task.context.frames[0], dreamt, held_out.render(description, extremes).float().frames]
                )
                shown = {"images": drawing.images(pictures)}
                shown |= {
                    "map_pose": cameras.pose.numpy(),
                    "map_look": cameras.matrix()[..., :2, 2].numpy(),
                    "map_gain": gain.numpy(),
                }
                shown["first_pose"] = task.context.cameras.pose[0, 0].numpy()
            known = Task(task.context, hidden)
            gain = gain_of(model, task.context, others.cameras, hidden.cameras, std, imagined, heldout.SEED)
            after = [error(model, Task(joined(task.context, others[:, n : n + 1]), hidden)) for n in range(candidates)]
            taken = [_take(model, policy, known, others, most, std, imagined, gain) for policy in POLICIES]
            parts.append(
                {"error": torch.stack(taken, 1).numpy(), "gain": gain.numpy(), "after": torch.stack(after, 1).numpy()}
            )
            report.update(first + count)
    return shown | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """RMSE at the probes by policy and number of views, and how much less it is than that of random (paired).

    For the first choice: the error of the best, median and worst candidate, and the correlation over a scene's
    candidates of predicted gain and true improvement.
    """
    error, after = arrays["error"], arrays["after"]
    values = {}
    for p, policy in enumerate(POLICIES):
        for m in range(error.shape[2]):
            values[f"rmse_{policy}_{m + 1}_views"] = error[:, p, m]
            if policy != "random" and m:
                values[f"saved_by_{policy}_{m + 1}_views"] = error[:, 1, m] - error[:, p, m]
    values |= {f"rmse_{name}_2_views": x for name, x in _bounds(after).items()}
    pairs = [np.corrcoef(g, -a)[0, 1] for g, a in zip(arrays["gain"], after, strict=True) if g.std() * a.std() > 0]
    values["correlation_of_gain_and_improvement"] = np.array(pairs or [0.0])
    return {name: statistics.estimate(value) for name, value in values.items()}


def draw(arrays: Arrays) -> Image.Image:
    """Views of the first scene, above its map of predicted gain and the curves of all scenes."""
    from matplotlib.figure import Figure

    first, best, worst, best_view, worst_view = arrays["images"]
    low, high = arrays["map_gain"].min(), arrays["map_gain"].max()
    groups = [
        Group("first view", first[None, None]),
        Group(f"highest gain: {high:.1f} nats", np.stack([best, best_view])[None], ["imagined", "true"]),
        Group(f"lowest gain: {low:.1f} nats", np.stack([worst, worst_view])[None], ["imagined", "true"]),
    ]
    figure = Figure((11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _map(figure, left, arrays)
    error, after = arrays["error"], arrays["after"]
    views = np.arange(1, error.shape[2] + 1)
    for p, policy in enumerate(POLICIES):
        apart = statistics.standard_error(error[:, p] - error[:, POLICIES.index("random")])
        right.errorbar(views, error[:, p].mean(0), apart, label=f"{policy} next view", marker="o", ms=4, capsize=3)
    for (name, value), marker in zip(_bounds(after).items(), "^_v", strict=True):
        right.plot(2, value.mean(), marker, color="black", ms=8)
        right.annotate(f"{name} choice", (2, value.mean()), (8, 0), textcoords="offset points", va="center", fontsize=9)
    title = f"what looking there does, {len(error)} scenes\nbars: standard error of the difference from random"
    right.set_title(title, fontsize=9)
    right.grid(alpha=0.3)
    right.legend(fontsize=9)
    right.set(
        xticks=views,
        xlim=(0.9, views[-1] + 0.4),
        xlabel="views seen",
        ylabel="error at views never taken (RMSE of 255)",
    )
    return drawing.below(drawing.sheet(groups, side=128), drawing.plot(figure))


def _bounds(after: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"best": after.min(1), "median": np.median(after, 1), "worst": after.max(1)}


def _map(figure: Any, axes: Any, arrays: Arrays) -> None:
    """Predicted gain by yaw and pitch; if all cameras are level, on the plan, as arrows in the cameras' directions."""
    pose, gain, first = arrays["map_pose"], arrays["map_gain"], arrays["first_pose"]
    best = pose[gain.argmax()]
    if np.ptp(pose[:, 4]) > 0:
        x, y = np.degrees(pose[:, 3:].T)
        axes.tricontourf(x, y, gain, levels=16)
        axes.plot(x, y, ".", color="white", ms=2)
        marks = [np.degrees(p[3:]) for p in (first, best)]
        axes.set(xlabel="yaw of the camera, degrees", ylabel="pitch, degrees (below 0: from above)")
    else:
        x, y = pose[:, :2].T
        axes.quiver(x, y, *arrays["map_look"].T, gain, scale=18, width=0.008, headwidth=4)
        marks = [p[:2] for p in (first, best)]
        axes.set(xlabel="x of the camera", ylabel="y of the camera (arrow: where it looks)", aspect="equal")
        axes.margins(0.12)
    figure.colorbar(axes.collections[0], ax=axes, label="predicted gain, nats per probe")
    for (u, v), marker, name in zip(marks, "X*", ("first view", "best next view"), strict=True):
        axes.plot(u, v, marker, color="red", ms=15, mec="white", label=name)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2, frameon=False)


def error(model: Model, task: Task) -> Tensor:
    """RMSE of a sample, 0-255, over all queries of each scene: (B,)."""
    sample = model.sample(model.represent(task.context), task.query.cameras, noise())[0]
    return 255 * statistics.rmse(sample.clamp(0, 1), task.query.frames)


def noise() -> torch.Generator:
    """A generator with a fixed seed, so that predictions are compared under the same noise."""
    return torch.Generator().manual_seed(heldout.SEED)


def _take(
    model: Model, policy: str, task: Task, candidates: Views, most: int, pixel_std: float, imagined: int, gain: Tensor
) -> Tensor:
    """Errors (B, most) at a task's queries with 1, 2, ... views, taken by a policy; `gain`: for the first choice."""
    b, n = gain.shape
    context, errors, free = task.context, [error(model, task)], torch.ones(b, n, dtype=torch.bool)
    for step in range(most - 1):
        if policy == "predicted":
            if step:
                gain = gain_of(
                    model, context, candidates.cameras, task.query.cameras, pixel_std, imagined, heldout.SEED
                )
            score = gain
        elif policy == "random":
            score = -torch.arange(n, dtype=torch.float32).expand(b, n)  # candidates come in random order
        else:
            score = torch.cdist(candidates.cameras.vector(), context.cameras.vector()).amin(2)
        chosen = score.masked_fill(~free, -math.inf).argmax(1, keepdim=True)
        free.scatter_(1, chosen, False)
        context = joined(context, candidates[torch.arange(b)[:, None], chosen])
        errors.append(error(model, Task(context, task.query)))
    return torch.stack(errors, 1)

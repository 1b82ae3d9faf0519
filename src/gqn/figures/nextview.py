"""Where to look next: predicted information gain over the camera space, and what looking there does.

The gain of a candidate camera c, for probe cameras p, by the three verbs alone: imagine images x_c at c (samples from
the prior), give each to the model as one more context view, and see how far its predictions f(p) differ between them,
all drawn with the same noise:

    gain(c) = mean over p of sum over values of 1/2 log(1 + Var over x_c of f(p | context, x_c) / pixel_std^2)

in nats per probe. Why: by the law of total variance, Var[E[x_p | x_c]] is what seeing c is expected to take off the
variance of x_p; and as Gaussians have the most entropy, the sum bounds from above (given enough x_c) the mutual
information between the views at c and at p. The surprise KL(q || p) of the imagined x_c would be cheaper, but is what
the view at c says of itself, and not of other views.

Each of many scenes then begins with one view and takes more of the same candidates: those of the highest predicted
gain, any at random, or those farthest from the views at hand (by the cameras' 7-vectors). Probes are views that are
never taken; the gain knows their cameras, not their images. For the first choice the best, median and worst candidate,
as it turns out, stand beside. What to expect: predicted gain is high where hidden sides are seen, and looking there
beats looking at random, most in the first choice. The paper has no such figure.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gqn import drawing, heldout
from gqn.config import Config
from gqn.data.tasks import rng
from gqn.drawing import Group
from gqn.errors import BadInput
from gqn.logs import Reporter
from gqn.objective import Model
from gqn.views import BEYOND, Cameras, Task, Views

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
    """Take views, up to `context`, of each of `scenes` rendered scenes from number `scene` on; N candidates.

    `error` (scenes, policies, context): RMSE at the probes, 0-255, of a sample from 1.. views. Of the first choice
    `gain` and `after` (scenes, N): predicted gain in nats, and the error with that candidate.
    Of the first scene, for `places` cameras: `map_pose` (places, 5), `map_gain` (places,), and `first_pose` (5,);
    `images` (5, H, W, 3) uint8: the first view, the two of highest and lowest predicted gain imagined, and those two.
    """
    if imagined < 2 or places < 3:
        raise BadInput("a gain takes at least 2 imagined images, and a map at least 3 places")
    most, std = min(context, config.max_context_size, 1 + candidates), config.pixel_std_final
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
                gain = information(model, task.context[:1], cameras[None], probe, std, 3 * imagined)[0]
                extremes = cameras[torch.stack([gain.argmax(), gain.argmin()])]
                dreamt = model.sample(model.represent(task.context[:1]), extremes[None], noise())[0]
                pictures = torch.cat(
                    [task.context.frames[0], dreamt, held_out.render(description, extremes).float().frames]
                )
                shown = {"images": drawing.images(pictures)}
                shown |= {"map_pose": cameras.pose.numpy(), "map_gain": gain.numpy()}
                shown["first_pose"] = task.context.cameras.pose[0, 0].numpy()
            known = Task(task.context, hidden)
            gain = information(model, task.context, others.cameras, hidden.cameras, std, imagined)
            after = [error(model, Task(_joined(task.context, others[:, n : n + 1]), hidden)) for n in range(candidates)]
            taken = [_take(model, policy, known, others, most, std, imagined, gain) for policy in POLICIES]
            parts.append(
                {"error": torch.stack(taken, 1).numpy(), "gain": gain.numpy(), "after": torch.stack(after, 1).numpy()}
            )
            report.update(first + count)
    return shown | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def numbers(arrays: Arrays) -> dict[str, Any]:
    """RMSE at the probes by policy and number of views, and what each saves over random, paired; of the first choice
    the best, median and worst error, and over scenes the correlation of predicted gain and true improvement.
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
    return {name: heldout.estimate(value) for name, value in values.items()}


def draw(arrays: Arrays) -> Image.Image:
    """Views of the first scene, over the map of it and the curves of all scenes."""
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
        apart = (error[:, p] - error[:, POLICIES.index("random")]).std(0) / max(1, len(error) - 1) ** 0.5
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
    """Predicted gain by yaw and pitch, or, if cameras are level, on the plan with the directions they look in."""
    pose, gain, first = arrays["map_pose"], arrays["map_gain"], arrays["first_pose"]
    best = pose[gain.argmax()]
    if np.ptp(pose[:, 4]) > 0:
        x, y = np.degrees(pose[:, 3:].T)
        axes.tricontourf(x, y, gain, levels=16)
        axes.plot(x, y, ".", color="white", ms=2)
        marks = [np.degrees(p[3:]) for p in (first, best)]
        axes.set(xlabel="yaw of the camera, degrees", ylabel="pitch, degrees (below 0: from above)")
    else:
        x, y, _, yaw, _ = pose.T
        axes.quiver(x, y, np.cos(yaw), -np.sin(yaw), gain, scale=18, width=0.008, headwidth=4)
        marks = [p[:2] for p in (first, best)]
        axes.set(xlabel="x of the camera", ylabel="y of the camera (arrow: where it looks)", aspect="equal")
        axes.margins(0.12)
    figure.colorbar(axes.collections[0], ax=axes, label="predicted gain, nats per probe")
    for (u, v), marker, name in zip(marks, "X*", ("first view", "best next view"), strict=True):
        axes.plot(u, v, marker, color="red", ms=15, mec="white", label=name)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2, frameon=False)


def information(
    model: Model, context: Views, candidates: Cameras, probes: Cameras, pixel_std: float, imagined: int
) -> Tensor:
    """The predicted gain (B, N) of candidates (B, N) for probes (B, P), nats per probe, from `imagined` images each."""
    generator, representation = noise(), model.represent(context)
    dreams = [  # each (B, N, 3, H, W); one noise for all candidates, whose gains then compare better
        model.sample(representation, candidates, generator, share_noise=True) for _ in range(imagined)
    ]
    gains = []
    for n in range(candidates.pose.shape[1]):
        at = slice(n, n + 1)
        images = [dream[:, at].clamp(-BEYOND, 1 + BEYOND) for dream in dreams]  # also if the model is far off
        extended = [_joined(context, Views(image, candidates[:, at])) for image in images]
        predicted = torch.stack([model.sample(model.represent(e), probes, noise()) for e in extended])
        gains.append(0.5 * (predicted.var(0) / pixel_std**2).log1p().sum((2, 3, 4)).mean(1))
    return torch.stack(gains, 1)


def error(model: Model, task: Task) -> Tensor:
    """RMSE of a sample over a task's queries, 0-255: (B,)."""
    sample = model.sample(model.represent(task.context), task.query.cameras, noise())
    return 255 * (sample.clamp(0, 1) - task.query.frames).square().mean((1, 2, 3, 4)).sqrt()


def noise() -> torch.Generator:
    """The same noise wherever predictions are compared."""
    return torch.Generator().manual_seed(heldout.SEED)


def _take(
    model: Model, policy: str, task: Task, candidates: Views, most: int, pixel_std: float, imagined: int, gain: Tensor
) -> Tensor:
    """The errors (B, most) at a task's queries as views are taken by a policy; `gain` is that of the first choice."""
    b, n = gain.shape
    context, errors, free = task.context, [error(model, task)], torch.ones(b, n, dtype=torch.bool)
    for step in range(most - 1):
        if policy == "predicted":
            if step:
                gain = information(model, context, candidates.cameras, task.query.cameras, pixel_std, imagined)
            score = gain
        elif policy == "random":
            score = -torch.arange(n, dtype=torch.float32).expand(b, n)  # candidates come in random order
        else:
            score = torch.cdist(candidates.cameras.vector(), context.cameras.vector()).amin(2)
        chosen = score.masked_fill(~free, -math.inf).argmax(1, keepdim=True)
        free.scatter_(1, chosen, False)
        context = _joined(context, candidates[torch.arange(b)[:, None], chosen])
        errors.append(error(model, Task(context, task.query)))
    return torch.stack(errors, 1)


def _joined(context: Views, more: Views) -> Views:
    cameras = replace(context.cameras, pose=torch.cat([context.cameras.pose, more.cameras.pose], 1))
    return Views(torch.cat([context.frames, more.frames], 1), cameras)

"""Evaluation on fixed held-out tasks: metrics of prior samples, and likelihood bounds, beside the baselines'."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gqn import models
from gqn.artifacts import checkpoint, trained
from gqn.artifacts.provenance import provenance
from gqn.data import Source, fingerprint
from gqn.data.files.stored import ADVICE, Stored
from gqn.data.sources import Rendered, source
from gqn.data.tasks import Request, Sampler, asked, batches, ordered, rng
from gqn.errors import Absent, BadInput, within_memory
from gqn.evaluation.curves import plot
from gqn.evaluation.results import MEAN_IMAGE, MODEL, NEAREST, Results
from gqn.metrics.images import of_samples
from gqn.metrics.information import bits_per_dimension, importance_bound
from gqn.metrics.visibility import seen
from gqn.models import Model
from gqn.models.baselines import constant, nearest
from gqn.objective import elbo
from gqn.runtime import devices, files
from gqn.runtime.console import Reporter, say
from gqn.views import Task

SEED = 2  # of the evaluation's tasks, and of the noise for answering them
FINER = 3  # what a context view saw is found at this many times its resolution; odd, so that pixel centres coincide
ENDLESS = 1000  # scenes taken for "all" where they are rendered, or their number is not known


@dataclass(frozen=True)
class Settings:
    """What is measured of a run, and on what."""

    context: Sequence[int] = (3,)  # numbers of context views
    scenes: int | None = 1000  # held-out scenes; None: all of a stored split, or ENDLESS
    samples: int = 8  # from the prior, per query
    importance_samples: int = 4  # from the posterior, per query
    dataset: str | None = None  # another dataset than the run's
    data: str | None = None  # another folder of files than the run's; "" for rendered scenes
    num_views: int = 0  # views of a scene that tasks draw from; 0: as in the run, for another dataset as many as it has
    skip_damaged: bool = False  # pass over damaged scenes of files
    gpu: bool = False
    devices: int = 1  # GPUs, or CPU processes


def evaluate(run: str | Path, settings: Settings = Settings(), out: Path | None = None) -> Results | None:
    """Evaluate a run; write eval.json, eval.npz and curves, eval.png, to the folder `out` or else `trained.beside`.

    Each scene has one query, the same for any number of context views, and a smaller context is the start of a larger
    one, so that the points of a curve are paired. Scenes are answered one at a time, with noise that is a function of
    the scene: its metrics depend neither on the number of scenes nor on the number of ranks.

    Returns None on ranks other than the first. Raises BadInput if the run, the scenes or the devices are not available,
    or the context views do not fit into a scene, or if another process evaluates the run.
    """
    devices.check(settings.gpu, settings.devices)
    config, model, took = checkpoint.opened(run)
    out = out or trained.beside(run)
    name, data = (
        settings.dataset or config.data.dataset_name,
        config.origin.data if settings.data is None else settings.data,
    )
    where: dict[str, Any] = {"name": name, "data": data or None, "hold_out": False}
    where |= {"skip_damaged": settings.skip_damaged}
    if settings.num_views or name != config.data.dataset_name:
        where["num_views"] = settings.num_views
    if (name, data) != (config.data.dataset_name, config.origin.data):
        where["num_scenes"] = 0  # the run's number applies to its own scenes only
    held_out = source(**(config.scenes("test") | where))
    try:
        known, of = source(**(config.scenes("train") | where)), "train"
    except Absent:
        known, of = held_out, "test"
    contexts = sorted(set(settings.context))
    if contexts[-1] >= held_out.num_views:
        raise BadInput(
            f"{contexts[-1]} context views and a query do not fit into scenes of {held_out.num_views} views: "
            f"give at most `context={held_out.num_views - 1}`"
        )
    whole = len(held_out) if isinstance(held_out, Stored) else ENDLESS
    wanted = settings.scenes or whole
    tasks = requests(held_out, min(wanted, whole) if isinstance(held_out, Stored) else wanted, contexts[-1])

    fabric = devices.launch(settings.gpu, min(settings.devices, len(tasks)))
    with (
        devices.together(fabric),
        files.alone(out / "eval") if fabric.is_global_zero else nullcontext(),
        within_memory("fewer `samples` and `importance_samples` need less, or fewer `devices`"),
        Reporter("evaluate", len(tasks), 0, "scenes", active=fabric.is_global_zero) as report,
    ):
        measured: dict[str, Model] = {
            MODEL: cast(Model, cast(nn.Module, model).to(fabric.device)),
            NEAREST: nearest(),
            MEAN_IMAGE: constant(mean_image(known)),
        }
        if of == "test" and fabric.is_global_zero:
            say("there are no training scenes: the mean image is of held-out ones")
        share = range(fabric.global_rank, len(tasks), fabric.world_size)
        found = []
        for number in share:
            scene = seen_of(held_out, tasks[number], fabric.device)
            found.append(answered(measured, scene, contexts, config.objective.pixel_std_final, settings))
            report.update(min(len(tasks), number + fabric.world_size))
        values = torch.zeros(len(tasks), len(found[0]), dtype=torch.float64, device=fabric.device)
        values[share] = torch.tensor([list(one.values()) for one in found]).to(values)
        values = cast(Tensor, fabric.all_reduce(values, reduce_op="sum")).cpu()
        if skipped := devices.total(fabric, int(held_out.skipped)):
            (say if fabric.is_global_zero else str)(f"damaged scenes were passed over {skipped} times; {ADVICE}")
        if not fabric.is_global_zero:
            return None
        results = Results(
            {
                "model": models.name_of(config.model),
                "dataset": name,
                "data": data,
                "data_digest": fingerprint.digest({"test": fingerprint.files(held_out)}),
                "split": "test",
                "mean_image_of": of,
                "image_size": config.data.image_size,
                "scenes": len(tasks),
                "context_views": contexts,
                "trained_context": config.data.max_context_size,
                "pixel_std": config.objective.pixel_std_final,
                "samples": settings.samples,
                "draws": settings.importance_samples,
                "seed": SEED,
                "evaluation": {"run": str(run)} | provenance(settings.gpu, settings.devices),
                "training": took,
            },
            np.array([[t.scene, *t.query, *t.context] for t in tasks]),
            dict(zip(found[0], values.T.numpy(), strict=True)),
        )
        results.save(out)
        (out / "eval.png").unlink(missing_ok=True)  # of an earlier evaluation
        if len(contexts) > 1:
            checkpoint.write(out / "eval.png", lambda part: plot(results).savefig(part, format="png", dpi=110))
        return results


def requests(held_out: Source, scenes: int, context: int) -> list[Request]:
    """The tasks: scenes in a fixed random order, each with its views in a random order; the first is the query."""
    indices = [ordered(held_out.order, SEED, number) for number in range(scenes)]
    orders = [rng(SEED, 1, index).permutation(held_out.num_views) for index in indices]
    return [Request(index, which[1 : context + 1], which[:1]) for index, which in zip(indices, orders, strict=True)]


@dataclass(frozen=True)
class Asked:
    """One scene's task with all its context views; `given` and `parts` restrict it to the first ones."""

    number: int  # of the scene
    task: Task  # context (1, M), query (1, 1)
    saw: Tensor | None  # (M, H, W): which pixels of the query each context view saw; None for files
    background: Tensor | None  # (H, W): which pixels of the query are background; None for files

    def given(self, context: int) -> Task:
        """The task with the first `context` context views."""
        return replace(self.task, context=self.task.context[:, :context])

    def parts(self, context: int) -> dict[str, Tensor]:
        """Masks (1, H, W) of the query's pixels: seen by the first `context` views, hidden from them, or background."""
        if self.saw is None or self.background is None:
            return {}
        seen = self.saw[:context].any(0)
        masks = {"seen": seen, "hidden": ~seen & ~self.background, "background": self.background}
        return {name: mask[None] for name, mask in masks.items()}


def seen_of(held_out: Source, request: Request, device: torch.device) -> Asked:
    """A request's views, and which of the query's pixels its context views saw."""
    task = asked(held_out, request)
    query, context = task.query.cameras, task.context.cameras
    task = Task(task.context[None], task.query[None]).to(device).float()
    if not isinstance(held_out, Rendered):
        return Asked(request.scene, task, None, None)
    scene, _ = held_out.scene(request.scene)
    size = held_out.image_size
    [depth], [ids] = map(torch.from_numpy, held_out.family.inspect(scene, query, size))
    depths, their_ids = map(torch.from_numpy, held_out.family.inspect(scene, context, size * FINER))
    saw, background = seen(query[0], depth, ids, context, depths, their_ids)
    return Asked(request.scene, task, saw.to(device), background.to(device))


def answered(
    measured: dict[str, Model], scene: Asked, contexts: list[int], pixel_std: float, settings: Settings
) -> dict[str, float]:
    """The metrics of one scene, by "context views/who/metric"."""
    found: dict[str, float] = {}
    for context in contexts:
        task, parts = scene.given(context), scene.parts(context)
        for who, model in measured.items():
            samples, draws = (settings.samples, settings.importance_samples) if who == MODEL else (1, 1)
            generator = noise(task.query.frames.device, SEED, scene.number)
            values = measure(model, task, pixel_std, generator, samples, draws, parts)
            found |= {f"{context}/{who}/{metric}": value.item() for metric, value in values.items()}
    return found


@torch.no_grad()
def measure(
    model: Model,
    task: Task,
    pixel_std: float,
    generator: torch.Generator | None = None,
    samples: int = 1,
    draws: int = 1,
    parts: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Metrics of a task with one query per scene, each (B,).

    From `samples` samples of the prior: `gqn.metrics.images.of_samples`, and the squared error in `parts` of the image,
    masks (B, H, W) by name. `error_NAME` is its sum over the part, divided by the size of the whole image, and
    `share_NAME` is the part's share of the image.

    From `draws` samples of the posterior: the means of the ELBO and its terms at `pixel_std`, the KL of each step and,
    for several draws, `importance_bound`, all in nats per image; and `bits` per dimension.
    """
    truth = task.query.frames[:, 0]
    answers = model.sample(model.represent(task.context), task.query.cameras, generator, samples)[:, :, 0]
    noise = model.noise(len(truth), 1, generator, draws)
    prediction = model(task.context, task.query, pixel_std, noise)
    score = elbo(prediction, task.query.frames)

    values = of_samples(answers, truth)
    error = (answers - truth).square().mean((0, 2))  # (B, H, W)
    for name, part in (parts or {}).items():
        values |= {f"error_{name}": (error * part).mean((1, 2)), f"share_{name}": part.float().mean((1, 2))}
    terms = {"elbo": score.elbo, "kl": score.kl, "posterior_mse": score.mse}
    terms |= {} if score.excess is None else {"excess": score.excess}
    terms |= {f"kl_{step}": kl for step, kl in enumerate(prediction.kl.unbind(-1), 1)}
    values |= {name: term[:, :, 0].mean(0) for name, term in terms.items()}
    values["bits"] = bits_per_dimension(values["elbo"], truth[0].numel())
    if draws > 1:
        log_ratio = prediction.log_ratio[:, :, 0].sum(-1)
        values["importance_bound"] = importance_bound(score.log_likelihood[:, :, 0], log_ratio)
    return values


def mean_image(scenes: Source, views: int = 1000) -> Tensor:
    """The mean image over one view of each of `views` scenes, (3, H, W) in [0, 1]."""
    sampler = Sampler(scenes.order, scenes.num_views, views, 1, 1, seed=SEED)
    return next(batches(scenes, sampler, range(1))).float().query.frames.mean((0, 1))


def noise(device: torch.device | str, *key: int) -> torch.Generator:
    """A random generator on a device that is a function of the key alone."""
    return torch.Generator(device).manual_seed(int(rng(*key).integers(2**63)))

"""How good a model is: its prior samples and its bounds on fixed held-out tasks, beside the floors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gqn import checkpoint, ranks, trained
from gqn.curves import plot
from gqn.data import fingerprint
from gqn.data.sources import Rendered, source
from gqn.data.stored import ADVICE, Stored
from gqn.data.tasks import Request, Sampler, Source, asked, batches, ordered, rng
from gqn.errors import Absent, BadInput, within_memory
from gqn.logs import Reporter, console
from gqn.metrics import bits_per_dimension, importance_bound, of_samples
from gqn.models.floors import MeanImage, Nearest
from gqn.objective import Model, elbo
from gqn.provenance import provenance
from gqn.results import MEAN_IMAGE, MODEL, NEAREST, Results
from gqn.views import Task, Views
from gqn.visibility import seen

SEED = 2  # of the evaluation's tasks and of the noise they are answered with
FINER = 3  # pixels of a context view for one of its image, to say what it saw; odd, so that they share their centres
ENDLESS = 1000  # scenes that stand for all, where these are rendered or their number is not known


@dataclass(frozen=True)
class Settings:
    """What is measured of a run, and on what."""

    context: Sequence[int] = (3,)  # numbers of context views
    scenes: int | None = 1000  # held-out scenes; None: all of a stored split, or ENDLESS
    samples: int = 8  # from the prior, per query
    draws: int = 4  # from the posterior, per query
    dataset: str | None = None  # another than the run's
    data: str | None = None  # another folder of files than the run's; "": rendered scenes
    num_views: int = 0  # of a scene, that tasks draw from; 0: as the run's, of other scenes as many as they have
    skip_damaged: bool = False  # pass over damaged scenes of files
    gpu: bool = False
    devices: int = 1  # GPUs, or CPU processes


def evaluate(run: str | Path, settings: Settings = Settings(), out: Path | None = None) -> Results | None:
    """Evaluate a run and write eval.json, eval.npz and curves, eval.png, to `trained.beside`, or to the folder `out`.

    A scene is asked one query, the same whatever the number of context views, and fewer context views are the first of
    more: curves over them are paired. It is answered alone, with noise that is a function of the scene, so that
    neither the number of scenes nor that of ranks changes what is found for it.

    Returns None on ranks other than the first. Raises BadInput if the run, the scenes or the devices cannot be had, or
    the context views do not fit into a scene.
    """
    ranks.check(settings.gpu, settings.devices)
    config, model, took = checkpoint.opened(run)
    out = out or trained.beside(run)
    name, data = settings.dataset or config.dataset_name, config.data if settings.data is None else settings.data
    where: dict[str, Any] = {"name": name, "data": data or None, "hold_out": False}
    where |= {"skip_damaged": settings.skip_damaged}
    if settings.num_views or name != config.dataset_name:
        where["num_views"] = settings.num_views
    if (name, data) != (config.dataset_name, config.data):
        where["num_scenes"] = 0  # the run's number is of its own scenes
    held_out = source(**(config.scenes("test") | where))
    try:
        floor, of = source(**(config.scenes("train") | where)), "train"
    except Absent:
        floor, of = held_out, "test"
    contexts = sorted(set(settings.context))
    if contexts[-1] >= held_out.num_views:
        raise BadInput(
            f"{contexts[-1]} context views and a query do not fit into scenes of {held_out.num_views} views: "
            f"give at most --context {held_out.num_views - 1}"
        )
    whole = len(held_out) if isinstance(held_out, Stored) else ENDLESS
    wanted = settings.scenes or whole
    tasks = requests(held_out, min(wanted, whole) if isinstance(held_out, Stored) else wanted, contexts[-1])

    fabric = ranks.launch(settings.gpu, min(settings.devices, len(tasks)))
    with (
        ranks.together(fabric),
        within_memory("fewer --samples and --importance-samples need less, or fewer --devices"),
        Reporter("evaluate", len(tasks), 0, "scenes", active=fabric.is_global_zero) as report,
    ):
        models = {MODEL: model, NEAREST: Nearest(), MEAN_IMAGE: MeanImage(mean_image(floor))}
        models = {who: each.to(fabric.device) for who, each in models.items()}
        if of == "test" and fabric.is_global_zero:
            console.print("there are no training scenes: the mean image is of held-out ones")
        share = range(fabric.global_rank, len(tasks), fabric.world_size)
        found = []
        for number in share:
            scene = seen_of(held_out, tasks[number], fabric.device)
            found.append(answered(models, scene, contexts, config.pixel_std_final, settings))
            report.update(min(len(tasks), number + fabric.world_size))
        values = torch.zeros(len(tasks), len(found[0]), dtype=torch.float64, device=fabric.device)
        values[share] = torch.tensor([list(one.values()) for one in found]).to(values)
        values = cast(Tensor, fabric.all_reduce(values, reduce_op="sum")).cpu()
        if skipped := ranks.total(fabric, int(held_out.skipped)):
            say = console.print if fabric.is_global_zero else str
            say(f"damaged scenes were passed over {skipped} times; {ADVICE}")
        if not fabric.is_global_zero:
            return None
        results = Results(
            {
                "dataset": name,
                "data": data,
                "data_digest": fingerprint.digest({"test": fingerprint.files(held_out)}),
                "split": "test",
                "mean_image_of": of,
                "image_size": config.image_size,
                "scenes": len(tasks),
                "context_views": contexts,
                "trained_context": config.max_context_size,
                "pixel_std": config.pixel_std_final,
                "samples": settings.samples,
                "draws": settings.draws,
                "seed": SEED,
                "evaluation": {"run": str(run)} | provenance(settings.gpu, settings.devices),
                "training": took,
            },
            np.array([[t.scene, *t.query, *t.context] for t in tasks]),
            dict(zip(found[0], values.T.numpy(), strict=True)),
        )
        results.save(out)
        (out / "eval.png").unlink(missing_ok=True)  # of an evaluation before
        if len(contexts) > 1:
            checkpoint.write(out / "eval.png", lambda part: plot(results).savefig(part, format="png", dpi=110))
        return results


def requests(held_out: Source, scenes: int, context: int) -> list[Request]:
    """The tasks: scenes in a fixed random order, views of each in another, of which the first is the query."""
    indices = [ordered(held_out.order, SEED, number) for number in range(scenes)]
    orders = [rng(SEED, 1, index).permutation(held_out.num_views) for index in indices]
    return [Request(index, which[1 : context + 1], which[:1]) for index, which in zip(indices, orders, strict=True)]


@dataclass(frozen=True)
class Asked:
    """One scene's task with all its context views, of which the first ones are given at a time."""

    number: int  # of the scene
    task: Task  # (1, M) and (1, 1)
    saw: Tensor | None  # (M, H, W): which pixels of the query each context view saw; None: not known of files
    background: Tensor | None  # (H, W): which are background

    def given(self, context: int) -> Task:
        """The task with the first `context` context views."""
        return replace(self.task, context=self.task.context[:, :context])

    def parts(self, context: int) -> dict[str, Tensor]:
        """The query's pixels, (1, H, W) each, by what these context views saw of them."""
        if self.saw is None or self.background is None:
            return {}
        seen = self.saw[:context].any(0)
        masks = {"seen": seen, "hidden": ~seen & ~self.background, "background": self.background}
        return {name: mask[None] for name, mask in masks.items()}


def seen_of(held_out: Source, request: Request, device: torch.device) -> Asked:
    """A request's views, and what its context views saw of the query."""
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
    models: dict[str, nn.Module], scene: Asked, contexts: list[int], pixel_std: float, settings: Settings
) -> dict[str, float]:
    """What is found for one scene, by "context views/who/metric"."""
    found: dict[str, float] = {}
    for context in contexts:
        task, parts = scene.given(context), scene.parts(context)
        for who, model in models.items():
            samples, draws = (settings.samples, settings.draws) if who == MODEL else (1, 1)
            generator = noise(task.query.frames.device, SEED, scene.number)
            values = measure(cast(Model, model), task, pixel_std, generator, samples, draws, parts)
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

    Of `samples` from the prior what `gqn.metrics.of_samples` says, and their MSE in `parts` of the image, masks
    (B, H, W) by name: `error_NAME` sums over the part and is divided by the whole image, of which the part is
    `share_NAME`. Of `draws` from the posterior the means of the ELBO's terms at `pixel_std`, the KL of each step, and
    with several draws their `importance_bound`; in nats per image.
    """
    truth = task.query.frames[:, 0]
    answers = model.sample(model.represent(task.context), _repeated(task.query, samples).cameras, generator)
    query = _repeated(task.query, draws)
    prediction = model(task.context, query, generator)
    score = elbo(prediction, query.frames, pixel_std)

    values = of_samples(answers, truth)
    error = (answers - truth[:, None]).square().mean((1, 2))  # (B, H, W)
    for name, part in (parts or {}).items():
        values |= {f"error_{name}": (error * part).mean((1, 2)), f"share_{name}": part.float().mean((1, 2))}
    terms = {"elbo": score.elbo, "excess": score.excess, "kl": score.kl, "posterior_mse": score.mse}
    terms |= {f"kl_{step}": kl for step, kl in enumerate(prediction.kl.unbind(2), 1)}
    values |= {name: term.mean(1) for name, term in terms.items()}
    values["bits"] = bits_per_dimension(values["elbo"], truth[0].numel())
    if draws > 1:
        values["importance_bound"] = importance_bound(score.log_likelihood, prediction.log_ratio.sum(2))
    return values


def _repeated(query: Views, times: int) -> Views:
    """The one query of each scene, asked several times."""
    cameras = replace(query.cameras, pose=query.cameras.pose.expand(-1, times, -1))
    return Views(query.frames.expand(-1, times, -1, -1, -1), cameras)


def mean_image(scenes: Source, views: int = 1000) -> Tensor:
    """The mean of one view of each of as many scenes, (3, H, W) in [0, 1]."""
    sampler = Sampler(scenes.order, scenes.num_views, views, 1, 1, seed=SEED)
    return next(batches(scenes, sampler, range(1))).float().query.frames.mean((0, 1))


def noise(device: torch.device | str, *key: int) -> torch.Generator:
    """A source of noise on a device that is a function of the key alone."""
    return torch.Generator(device).manual_seed(int(rng(*key).integers(2**63)))

"""Training: fetch, loss, backward, step, log, validate, save."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer

from gqn import checkpoint, files, heldout, ranks, stopping
from gqn.begin import began, open_folder, schedule, start_from
from gqn.config import Config, Place
from gqn.data import fingerprint
from gqn.data.remote import Remote
from gqn.data.sources import source
from gqn.data.stored import ADVICE, Stored
from gqn.data.tasks import Sampler, Source, batches
from gqn.errors import Absent, BadInput, within_memory
from gqn.evaluate import measure, noise
from gqn.figures import predictions
from gqn.logs import Forecast, Journal, Reporter, console
from gqn.objective import Elbo, Model, elbo
from gqn.optimizers import optimizers
from gqn.provenance import machine, provenance
from gqn.results import duration
from gqn.views import Task

LOG_EVERY = 50  # steps between two records of the training loss
AGREE_EVERY = 10  # steps after which ranks ask each other whether to stop: each time they wait for each other
VALIDATED = 8  # validation tasks that are answered together
VALIDATION_SEED = 1  # of the validation tasks, which are the same for every run
LONG = 12 * 60  # seconds of training on a CPU from which on it is said how to have less
SHOWN = {"excess": ".1f", "kl": ".2f", "mse": ".5f"}  # beside the progress bar, with formats
PICTURED = 4  # validation tasks that TensorBoard shows
LESS_MEMORY = (
    "--accumulate 2 or more needs less, as it works on a batch in parts, and so does --workers 0, with which the same "
    "command goes on; so does a smaller --batch-size, which is another run"
)


class NotFinite(BadInput):
    """A term of the loss became infinite or not a number."""


class Stopped(BaseException):  # as KeyboardInterrupt: not a failure
    """A signal stopped the run; its state was saved first."""

    def __init__(self, signum: int, step: int, first: bool):
        self.signum = signum
        self.first = first  # of the ranks, the one that speaks
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}; the same command resumes")


def train(config: Config, place: Place, folder: Path) -> None:
    """Train what `config` describes, or go on with it, until `folder` holds final weights and a picture.

    Raises BadInput if the folder cannot be used or memory is short, NotFinite if the loss leaves the finite numbers,
    Stopped on SIGINT and SIGTERM (in the main thread; in others, signals are not noticed). Everything is a function of
    (config, devices, step): a run that was stopped and resumed, however often, ends with the weights of one that never
    was.
    """
    fabric = start(config, place)
    with (
        ranks.together(fabric),
        within_memory(LESS_MEMORY),
        files.alone(folder) if fabric.is_global_zero else nullcontext(),
    ):
        _train(fabric, config, place, folder)


def _train(fabric: Fabric, config: Config, place: Place, folder: Path) -> None:
    say = console.print if fabric.is_global_zero else lambda text: None
    plain = checkpoint.build(config)
    if config.init:
        config = replace(config, init_digest=start_from(config, plain, folder, say))
    scenes = source(**config.scenes("train", place))
    try:
        unseen = source(**config.scenes("test", place))
    except Absent as error:
        way = "move some of the files of train to test"
        raise Absent(f"{error}. Training validates on held-out scenes: {way}") from error
    found = {"train": fingerprint.files(scenes), "test": fingerprint.files(unseen)}
    config = replace(config, data_digest=fingerprint.digest(found))
    if fabric.is_global_zero:
        open_folder(folder, config, place.resume, found, say)
    fabric.barrier()
    if checkpoint.finished(folder):
        return

    share = (fabric.global_rank, fabric.world_size)
    steppers = optimizers(plain, config.optimizer, config.learning_rate_initial, share)
    done, best, spent = 0, math.inf, 0.0
    if (state := checkpoint.load_state(folder, say)) is not None:
        done, best, spent = state["step"], state["best"], state.get("seconds", 0.0)
    if place.compile and compiles(fabric.device, say):
        plain.compile_steps()
    model, *set_up = fabric.setup(plain, *steppers)
    if state is not None:  # now that the weights are on their device, as the optimizers' state must be
        restore(plain, steppers, state, folder)
        say(f"{folder}: going on after step {done} of {config.steps}")

    tasks = training_tasks(config, place, fabric, scenes, done)
    held_out = [t.to(fabric.device) for t in validation_tasks(config, unseen)]
    recent: list[tuple[int, dict[str, Tensor]]] = []  # steps, with what is to be recorded of them
    numbers, waited = "", 0.0
    size = config.batch_size
    at_a_time = size // (fabric.world_size * place.accumulate)
    introduce(config, place, fabric, scenes, plain, say)
    with (
        stopping.noted() as stop,
        Journal(folder, done, active=fabric.is_global_zero) as journal,
        Reporter("train", config.steps * size, done * size, "samples", active=fabric.is_global_zero) as report,
        Forecast(config.steps * size, done * size, size, partial(foretell, config, place, say)) as forecast,
    ):
        for step in range(done, config.steps):
            pixel_std, learning_rate = schedule(config, step * size)
            for group in (group for optimizer in set_up for group in optimizer.param_groups):
                group["lr"] = learning_rate
            asked = time.monotonic()
            whole = next(tasks).to(fabric.device, non_blocking=True)
            waited += time.monotonic() - asked
            plain.zero_grad()
            for part in range(place.accumulate):
                task = whole[part * at_a_time : (part + 1) * at_a_time].float()
                of_batch = (fabric.global_rank * place.accumulate + part, fabric.world_size * place.accumulate)
                with fabric.no_backward_sync(cast(Any, model), enabled=part + 1 < place.accumulate):
                    prediction = model(task.context, task.query, noise(fabric.device, config.seed, step), of_batch)
                    score = elbo(prediction, task.query.frames, pixel_std)
                    fabric.backward(-score.elbo.mean() / place.accumulate)
                recent.append((step, averages(score, prediction.kl)))
            for optimizer in set_up:
                optimizer.step()
            done, samples = step + 1, (step + 1) * size

            signum = ranks.agreed(fabric, stop.signum) if fabric.world_size == 1 or done % AGREE_EVERY == 0 else 0
            due = samples // config.val_freq > (samples - size) // config.val_freq or done == config.steps
            record = done % LOG_EVERY == 0 or done == config.steps
            if record or due or signum:
                check_finite(fabric, recent, config.steps, folder)
            if record:
                values = {name: ranks.over_ranks(fabric, [v[name] for _, v in recent]) for name in recent[0][1]}
                recent.clear()
                numbers = "  ".join(f"{name} {values[name]:{form}}" for name, form in SHOWN.items())
                speed = {
                    "pixel_std": pixel_std,
                    "learning_rate": learning_rate,
                    "samples_per_second": report.rate,
                    "seconds": spent + report.seconds,
                    "waiting_for_data": waited / report.seconds,
                }
                journal.numbers("train", done, samples, values | speed)
            report.update(samples, numbers)
            forecast.update(samples)

            if due or signum:
                check_weights(plain, done, folder)
            scores = validate(fabric, plain, held_out, config.pixel_std_final) if due else None
            if fabric.is_global_zero and (due or signum):
                improved = False
                if scores:
                    improved, best = scores["excess"] < best, min(best, scores["excess"])
                    journal.numbers("val", done, samples, scores)
                    journal.gradients(done, plain)
                    journal.picture(done, predictions.draw(predictions.answer(plain, held_out[0][:PICTURED], 3)))
                state = {
                    "step": done,
                    "best": best,
                    "seconds": spent + report.seconds,
                    "model": plain.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in steppers],
                }
                checkpoint.save(folder, state, best=improved)
            if signum:
                fabric.barrier()  # until the first rank has saved
                raise Stopped(signum, done, fabric.is_global_zero)
    if skipped := ranks.total(fabric, int(scenes.skipped)):
        say(f"{folder}: damaged scenes were passed over {skipped} times; {ADVICE}")
    if fabric.is_global_zero:
        shown = heldout.tasks(unseen, 0, 8, min(3, config.max_context_size))
        picture = predictions.draw(predictions.answer(plain.cpu(), shown, 4))
        checkpoint.write(folder / checkpoint.PICTURE, lambda part: picture.save(part, "PNG"))
        took = {"samples": config.num_train_samples, "seconds": round(spent + report.seconds)} | began(folder)
        checkpoint.save_training(folder, took | provenance(place.gpu, place.num_nodes * place.devices))
        checkpoint.save_weights(folder, plain)
    fabric.barrier()


def introduce(
    config: Config, place: Place, fabric: Fabric, scenes: Source, model: nn.Module, say: Callable[[str], None]
) -> None:
    """Say what is about to be trained, and on what."""
    if isinstance(scenes, Stored):
        there = f"{len(scenes):,} scenes in {len(scenes.files):,} file{'s' * (len(scenes.files) > 1)} of {config.data}"
    elif isinstance(scenes, Remote):
        there = f"scenes in {len(scenes.addresses):,} files at {config.data}"
    elif config.num_train_scenes:
        there = f"{config.num_train_scenes:,} scenes, rendered"
    else:
        there = "rendered without end"
    devices = machine(place.gpu, place.num_nodes * place.devices)
    threads = "" if place.gpu else f", {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)} each"
    parameters = sum(p.numel() for p in model.parameters())
    say(f"data: {config.dataset_name} at {config.image_size} px, {there}")
    say(f"device: {devices}{threads}, precision {fabric.strategy.precision.precision}")
    say(f"model: {parameters:,} parameters, {config.steps:,} steps of {config.batch_size} tasks")


def foretell(config: Config, place: Place, say: Callable[[str], None], seconds: float, least: bool) -> None:
    """Say how long training takes and, where that is long on a CPU, how to have less."""
    long = f"{seconds:.0f} s" if seconds < 60 else duration(seconds)
    long = f"{seconds / 86400:,.0f} days" if seconds > 2 * 86400 else long
    say(f"this takes {'more than' if least else 'about'} {long} from here")
    if seconds > LONG and not place.gpu:
        say(
            f"for less: a smaller -t than {config.num_train_samples:,}, a smaller --image-size, or --gpu; "
            "weights that are ready: gqn figure predictions sm5-32; to go on with them: --init sm5-32"
        )


class Autocast(MixedPrecision):
    """bfloat16 inside the model only: it places the lattice by cameras that are not rounded."""

    def convert_input(self, data):
        return data


def restore(model: nn.Module, steppers: list[Optimizer], state: dict[str, Any], folder: Path) -> None:
    """Put a training state where it was taken from; BadInput if another version of the package took it."""
    try:
        model.load_state_dict(state["model"])
        for optimizer, its_state in zip(steppers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"the checkpoint in {folder} is of another version of gqn: go on with that one, give another --run-suffix, "
            "or start over with --no-resume"
        ) from error


def start(config: Config, place: Place) -> Fabric:
    """The engine on the devices asked for."""
    if place.workers < 0:
        raise BadInput("workers must be at least 0")
    ranks.check(place.gpu, place.devices)
    parts = place.num_nodes * place.devices * place.accumulate
    if place.accumulate < 1 or config.batch_size % parts:
        raise BadInput(f"batch-size {config.batch_size} is not a multiple of num-nodes x devices x accumulate, {parts}")
    wanted, device = config.precision == "bf16-mixed", "cuda" if place.gpu else "cpu"
    bf16 = wanted and ranks.has_bfloat16(place.gpu)
    fabric = ranks.launch(place.gpu, place.devices, [Autocast("bf16-mixed", device)] if bf16 else [], place.num_nodes)
    if wanted and not bf16 and fabric.is_global_zero:
        console.print(f"this {'GPU' if place.gpu else 'CPU'} has no bfloat16 arithmetic: training in float32")
    return fabric


def training_tasks(config: Config, place: Place, fabric: Fabric, scenes: Source, done: int) -> Iterator[Task]:
    """This rank's share of the batches from step `done` on."""
    sampler = Sampler(
        scenes.order,
        scenes.num_views,
        config.batch_size,
        min_context=1,
        max_context=config.max_context_size,
        queries=config.num_queries,
        seed=config.seed,
        rank=fabric.global_rank,
        ranks=fabric.world_size,
    )
    return batches(scenes, sampler, range(done, config.steps), place.workers, pin=place.gpu)


def validation_tasks(config: Config, scenes: Source) -> list[Task]:
    """At least `num_val_samples` tasks of held-out scenes, always the same ones, a few at a time."""
    size = min(VALIDATED, config.num_val_samples)
    sampler = Sampler(scenes.order, scenes.num_views, size, 1, config.max_context_size, seed=VALIDATION_SEED)
    return [t.float() for t in batches(scenes, sampler, range(math.ceil(config.num_val_samples / size)))]


def validate(fabric: Fabric, model: Model, tasks: list[Task], pixel_std: float) -> dict[str, float]:
    """Means of `gqn.evaluate.measure` over the validation tasks, at the final pixel std whatever the present one.

    Each rank answers its share of the tasks, each task by one; all get the same means.
    """
    mine = list(range(fabric.global_rank, len(tasks), fabric.world_size))
    sums: dict[str, Tensor] = {}
    for i in mine or [0]:
        values = measure(model, tasks[i], pixel_std, noise(fabric.device, VALIDATION_SEED, i))
        sums = {name: sums.get(name, 0) + value.sum() * bool(mine) for name, value in values.items()}
    whole = sum(len(task.query.frames) for task in tasks)
    totals = cast(Tensor, fabric.all_reduce(torch.stack(list(sums.values())), reduce_op="sum")) / whole
    return dict(zip(sums, totals.tolist(), strict=True))


def averages(score: Elbo, kl: Tensor) -> dict[str, Tensor]:
    """What is recorded of a training batch; `kl_steps` has one value per generation step."""
    values = {"loss": -score.elbo, "excess": score.excess, "kl": score.kl, "mse": score.mse}
    return {name: value.detach().mean() for name, value in values.items()} | {"kl_steps": kl.detach().mean((0, 1))}


def check_finite(fabric: Fabric, recent: list[tuple[int, dict[str, Tensor]]], steps: int, folder: Path) -> None:
    """Raise NotFinite on every rank if a term of the loss was not finite, naming the first step and the term."""
    worst = 0
    finite = torch.stack([torch.stack([values["mse"], values["kl"]]).isfinite() for _, values in recent]).tolist()
    for (step, _), terms in zip(recent, finite, strict=True):
        if not all(terms):
            worst = max(worst, 2 * (steps - step) + terms[0])
    if worst := ranks.agreed(fabric, worst):
        raise not_finite(("log_likelihood", "kl")[worst % 2], steps - worst // 2, folder)


def compiles(device: torch.device, say: Callable[[str], None]) -> bool:
    """Whether torch.compile works on a device here; says so if it does not."""
    try:
        torch.compile(torch.neg)(torch.zeros(2, device=device))
    except Exception as error:
        say(f"torch.compile does not work here ({str(error).splitlines()[0][:80]}): training without --compile")
        return False
    return True


def check_weights(model: nn.Module, step: int, folder: Path) -> None:
    """Raise NotFinite rather than store weights that are not finite; the ranks' weights are the same."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise not_finite(f"weight {name}", step, folder)


def not_finite(what: str, step: int, folder: Path) -> NotFinite:
    """The error, naming the step, what broke, the last good checkpoint and the way out."""
    good = folder / checkpoint.LATEST
    return NotFinite(
        f"{what} is not finite at step {step}: "
        + (f"the last good checkpoint is {good}" if good.exists() else "there is no checkpoint yet")
        + "; try a lower learning rate or --precision 32-true, with another --run-suffix"
    )

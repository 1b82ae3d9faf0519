"""The training loop: fetch, step, log, validate, save."""

import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import nn
from torch.optim import Optimizer

from gqn.artifacts import checkpoint
from gqn.artifacts.provenance import machine, provenance
from gqn.config import Config, Place
from gqn.data import Source, fingerprint
from gqn.data.files.stored import ADVICE, Stored
from gqn.data.remote.source import Remote
from gqn.data.sources import source
from gqn.data.tasks import Sampler, batches
from gqn.errors import Absent, BadInput, within_memory
from gqn.evaluation.evaluate import noise
from gqn.figures import heldout, predictions
from gqn.models import DrawsInSteps, Model
from gqn.runtime import console, devices, files, stopping
from gqn.training.begin import began, open_folder, start_from
from gqn.training.finite import check_weights
from gqn.training.graphs import CudaRecorder, Graphs
from gqn.training.optimizers import check_states, optimizers
from gqn.training.schedules import schedule
from gqn.training.step import Step
from gqn.training.validation import validate, validation_tasks
from gqn.training.watch import Progress, Watch
from gqn.views import Task

AGREE_EVERY = 10  # steps between checks whether any rank has to stop; each check synchronises the ranks, which only
# GPUs gain from leaving out: on CPUs ten steps may take minutes, in which a signal would seem to do nothing
PICTURED = 4  # validation tasks shown in TensorBoard
LESS_MEMORY = (
    "`accumulate=2` or more needs less, as it works on a batch in parts, and so does `workers=0`, with which the same "
    "command goes on; so does a smaller `batch_size`, which is another run"
)
Say = Callable[[str], None]


class Stopped(BaseException):  # like KeyboardInterrupt: not an error
    """A signal stopped the run; its state was saved first."""

    def __init__(self, signum: int, step: int, first: bool):
        self.signum = signum
        self.first = first  # whether this is the first rank, the only one that prints
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}; the same command resumes")


def train(config: Config, place: Place, folder: Path) -> None:
    """Train the model that `config` describes until `folder` holds final weights and a picture; resume a run there.

    Raises BadInput if the folder cannot be used or memory is short, NotFinite if loss or weights are not finite,
    Stopped on SIGINT and SIGTERM (only in the main thread: in others, signals are not noticed). Everything is a
    function of (config, devices, step), so a run that was stopped and resumed, however often, ends with the same
    weights as an uninterrupted one.
    """
    fabric = start(config, place)
    with (
        devices.together(fabric),
        within_memory(LESS_MEMORY),
        files.alone(folder, "give another `run_suffix`") if fabric.is_global_zero else nullcontext(),
    ):
        _train(fabric, config, place, folder)


def _train(fabric: Fabric, config: Config, place: Place, folder: Path) -> None:
    say = console.say if fabric.is_global_zero else lambda text: None
    config, plain, scenes, unseen = prepared(fabric, config, place, folder, say)
    if checkpoint.finished(folder):
        return
    step, progress = resumed(fabric, config, place, folder, plain, say)
    model, size = cast(Model, plain), config.optimizer.batch_size
    tasks = training_tasks(config, place, fabric, scenes, progress.done)
    held_out = [t.to(fabric.device) for t in validation_tasks(config, unseen)]
    introduce(config, place, fabric, scenes, plain, say)
    with stopping.noted() as stop, Watch(fabric, config, place, folder, progress, say) as watch:
        for number in range(progress.done, config.steps):
            pixel_std, learning_rate = schedule(config, number * size)
            task = watch.fetch(tasks).to(fabric.device, non_blocking=True)
            recorded = step(task, latents(fabric, config, model, number), pixel_std, learning_rate)

            asks = not place.gpu or fabric.world_size == 1 or (number + 1) % AGREE_EVERY == 0
            signum = devices.agreed(fabric, stop.signum) if asks else 0
            due = validates(config, number + 1)
            watch.stepped(recorded, pixel_std, learning_rate, check=due or signum > 0)
            if due or signum:
                check_weights(plain, progress.done, folder)
                scores = validate(fabric, model, held_out, config.objective.pixel_std_final) if due else None
                if fabric.is_global_zero:
                    best = scores is not None and watch.validated(scores, plain, pictured(model, held_out[0]))
                    checkpoint.save(folder, state_of(plain, step.optimizers, progress), best)
            if signum:
                fabric.barrier()  # wait until the first rank has saved
                raise Stopped(signum, progress.done, fabric.is_global_zero)
    if skipped := devices.total(fabric, int(scenes.skipped)):
        say(f"{folder}: damaged scenes were passed over {skipped} times; {ADVICE}")
    if fabric.is_global_zero:
        finish(config, place, folder, plain, unseen, progress)
    fabric.barrier()


def start(config: Config, place: Place) -> Fabric:
    """Launch Lightning Fabric on the devices that `place` asks for; BadInput if an option of `place` does not fit."""
    if place.workers is not None and place.workers < 0:
        raise BadInput("`workers` must be at least 0")
    devices.check(place.gpu, place.devices)
    if place.gpu and place.deterministic:
        devices.repeatable()
    parts, size = place.num_nodes * place.devices * place.accumulate, config.optimizer.batch_size
    if place.accumulate < 1 or size % parts:
        raise BadInput(
            f"`batch_size` {size} is not a multiple of `num_nodes` x `devices` x `accumulate`, which is {parts}"
        )
    wanted, device = config.run.precision == "bf16-mixed", "cuda" if place.gpu else "cpu"
    bf16 = wanted and devices.has_bfloat16(place.gpu)
    plugins = [Autocast("bf16-mixed", device)] if bf16 else []
    fabric = devices.launch(place.gpu, place.devices, plugins, place.num_nodes)
    if wanted and not bf16 and fabric.is_global_zero:
        console.say(f"this {'GPU' if place.gpu else 'CPU'} has no bfloat16 arithmetic: training in float32")
    return fabric


class Autocast(MixedPrecision):
    """bfloat16 inside the model only: its inputs stay float32, as the lattice needs cameras that are not rounded."""

    def convert_input(self, data):
        """Leave the inputs as they are."""
        return data


def prepared(
    fabric: Fabric, config: Config, place: Place, folder: Path, say: Say
) -> tuple[Config, nn.Module, Source, Source]:
    """Create or check the run's folder. Returns the config with digests, the model, training and held-out scenes."""
    model = checkpoint.build(config)
    if config.origin.init:
        config = config.having(init_digest=start_from(config, model, folder, say))
    scenes = source(**config.scenes("train", place))
    try:
        unseen = source(**config.scenes("test", place))
    except Absent as error:
        way = "move some of the files of train to test"
        raise Absent(f"{error}. Training validates on held-out scenes: {way}") from error
    found = {"train": fingerprint.files(scenes), "test": fingerprint.files(unseen)}
    config = config.having(data_digest=fingerprint.digest(found))
    if fabric.is_global_zero:
        open_folder(folder, config, place.resume, found, say)
    fabric.barrier()
    return config, model, scenes, unseen


def resumed(
    fabric: Fabric, config: Config, place: Place, folder: Path, model: nn.Module, say: Say
) -> tuple[Step | Graphs, Progress]:
    """The training step and the run's progress, both restored from the run's last checkpoint if there is one."""
    share = (fabric.global_rank, fabric.world_size)
    steppers = optimizers(model, config.optimizer.name, config.optimizer.learning_rate_initial, share)
    state = checkpoint.load_state(folder, say, lambda state: check_states(steppers, state.get("optimizers", [])))
    if place.compile and compiles(fabric.device, model, say):
        cast(DrawsInSteps, model).compile_steps()
    step, progress = Step(fabric, model, steppers, place.accumulate), Progress()
    if state is not None:  # after `Step` has put the weights on the device, where the optimizers' state must be too
        restore(model, steppers, state, folder)
        progress = Progress(state["step"], state["best"], state.get("seconds", 0.0), state.get("recent", {}))
        say(f"{folder}: going on after step {progress.done} of {config.steps}")
    return graphed(step, fabric, config, place, model, say), progress


def graphed(step: Step, fabric: Fabric, config: Config, place: Place, model: nn.Module, say: Say) -> Step | Graphs:
    """The step as CUDA graphs, if it is to be and on this device can be."""
    if not place.graph or fabric.device.type != "cuda":
        return step
    if fabric.world_size > 1:
        say("several devices: their steps are not CUDA graphs")
        return step
    recorder = CudaRecorder(fabric.device, list(model.parameters()))
    return Graphs(step, recorder, config.data.max_context_size, say)


def restore(model: nn.Module, steppers: list[Optimizer], state: dict[str, Any], folder: Path) -> None:
    """Load a training state into model and optimizers; BadInput if it is of another version of the package."""
    try:
        model.load_state_dict(state["model"])
        for optimizer, its_state in zip(steppers, state["optimizers"], strict=True):
            groups = optimizer.state_dict()["param_groups"]
            if [group["params"] for group in its_state["param_groups"]] != [group["params"] for group in groups]:
                raise ValueError("other parameters")
            optimizer.load_state_dict({"state": its_state["state"], "param_groups": groups})  # options are the config's
    except (KeyError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"the checkpoint in {folder} is of another version of gqn: go on with that one, give another `run_suffix`, "
            "or start over with `resume=False`"
        ) from error


def state_of(model: nn.Module, steppers: list[Optimizer], progress: Progress) -> dict[str, Any]:
    """The training state that a checkpoint holds."""
    return {
        "step": progress.done,
        "best": progress.best,
        "seconds": progress.seconds,
        "recent": progress.recent,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in steppers],
    }


def compiles(device: torch.device, model: nn.Module, say: Say) -> bool:
    """Whether the model draws in steps and torch.compile works on the device; if not, tells `say` why."""
    if not isinstance(model, DrawsInSteps):
        say("this model does not draw in steps: training without `compile`")
        return False
    try:
        torch.compile(torch.neg)(torch.zeros(2, device=device))
    except Exception as error:
        say(f"torch.compile does not work here ({str(error).splitlines()[0][:80]}): training without `compile`")
        return False
    return True


def introduce(config: Config, place: Place, fabric: Fabric, scenes: Source, model: nn.Module, say: Say) -> None:
    """Print data, devices and model before training begins."""
    data, number = config.origin.data, config.data.num_train_scenes
    if isinstance(scenes, Stored):
        there = f"{len(scenes):,} scenes in {len(scenes.files):,} file{'s' * (len(scenes.files) > 1)} of {data}"
    elif isinstance(scenes, Remote):
        there = f"scenes in {len(scenes.addresses):,} files at {data}"
    else:
        there = f"{number:,} scenes, rendered" if number else "rendered without end"
    on = machine(place.gpu, place.num_nodes * place.devices)
    threads = "" if place.gpu else f", {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)} each"
    parameters = sum(p.numel() for p in model.parameters())
    say(f"data: {config.data.dataset_name} at {config.data.image_size} px, {there}")
    say(f"device: {on}{threads}, precision {fabric.strategy.precision.precision}")
    say(f"model: {parameters:,} parameters, {config.steps:,} steps of {config.optimizer.batch_size} tasks")


def training_tasks(config: Config, place: Place, fabric: Fabric, scenes: Source, done: int) -> Iterator[Task]:
    """This rank's share of the batches from step `done` on."""
    sampler = Sampler(
        scenes.order,
        scenes.num_views,
        config.optimizer.batch_size,
        min_context=1,
        max_context=config.data.max_context_size,
        queries=config.data.num_queries,
        seed=config.run.seed,
        rank=fabric.global_rank,
        ranks=fabric.world_size,
    )
    workers = place.workers
    if workers is None:
        workers = max(1, devices.cores() // place.devices) if place.gpu else 1
    return batches(scenes, sampler, range(done, config.steps), workers, pin=place.gpu)


def latents(fabric: Fabric, config: Config, model: Model, step: int) -> torch.Tensor:
    """This rank's share of the noise for a step's batch; the whole does not depend on the number of ranks."""
    size = config.optimizer.batch_size
    share = size // fabric.world_size
    whole = model.noise(size, config.data.num_queries, noise(fabric.device, config.run.seed, step))
    return whole[:, fabric.global_rank * share : (fabric.global_rank + 1) * share]


def validates(config: Config, done: int) -> bool:
    """Whether a validation and a checkpoint are due after `done` steps."""
    size, every = config.optimizer.batch_size, config.run.val_freq
    return done * size // every > (done - 1) * size // every or done == config.steps


def pictured(model: Model, task: Task) -> Any:
    """Predictions for a few validation tasks, as a picture for TensorBoard."""
    return predictions.draw(predictions.answer(model, task[:PICTURED], 3))


def finish(config: Config, place: Place, folder: Path, model: nn.Module, unseen: Source, progress: Progress) -> None:
    """Write the final picture, training.json and, last, the final weights, which mark the run as finished."""
    shown = heldout.tasks(unseen, 0, 8, min(3, config.data.max_context_size))
    picture = predictions.draw(predictions.answer(cast(Model, model.cpu()), shown, 4))
    checkpoint.write(folder / checkpoint.PICTURE, lambda part: picture.save(part, "PNG"))
    took = {"samples": config.run.num_train_samples, "seconds": round(progress.seconds)} | began(folder)
    checkpoint.save_training(folder, took | provenance(place.gpu, place.num_nodes * place.devices))
    checkpoint.save_weights(folder, model)

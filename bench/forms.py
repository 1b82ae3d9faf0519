"""What the measurements of the model share: its forms, time, work, memory, and what the machine can do at best."""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from gqn.artifacts import checkpoint
from gqn.config import PRESETS, Config, preset
from gqn.models import kernels
from gqn.runtime import devices
from gqn.training.graphs import CudaRecorder, Graphs
from gqn.training.loop import Autocast
from gqn.training.optimizers import optimizers
from gqn.training.step import Step
from gqn.views import Cameras, Task, Views

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

TEXTBOOK = "textbook"  # tests/reference.py, eager, float32
PIXEL_STD, RATE = 0.7, 1e-5
FORMS = {"float32": torch.float32, "bf16": torch.bfloat16}  # of gqn: the arithmetic
GRAPH = "graph"  # training steps of gqn in the fastest arithmetic, recorded
RECORDERS: dict[str, Callable[..., Any]] = {"cuda": CudaRecorder}  # by kind of device
TOY = {"image_size": 16, "representation_maps": 16, "num_steps": 2, "num_recurrent_maps": 8, "num_canvas_maps": 8}


def parser(description: str) -> argparse.ArgumentParser:
    """The flags that say which model on which device."""
    made = argparse.ArgumentParser("gqn bench", description=description)
    add = made.add_argument
    add("--preset", choices=PRESETS, default="paper", help="default: %(default)s")
    add("--representation", help="another than the preset's")
    add("--size", type=int, metavar="PIXELS", help="side of the images (default: the preset's)")
    add("--unshared", action="store_true", help="a core for every step, not one for all")
    add("--context", type=int, default=5, metavar="M", help="context views (default: %(default)s)")
    add("--rounds", type=int, default=3, help="the forms take turns; medians over rounds (default: %(default)s)")
    add("--gpu", action="store_true")
    add("--compile", action="store_true", help="compile the step loop of gqn's forms")
    add("--threads", type=int, default=torch.get_num_threads(), help="on the CPU (default: %(default)s)")
    add("--toy", action="store_true", help="at a size that takes no time, to see that all of it runs")
    add("--json", type=Path, help="also write the figures here")
    return made


class Subject:
    """The model that is measured, in each of its forms, and a made-up task."""

    def __init__(self, given: argparse.Namespace, batch: int, queries: int = 1):
        torch.set_num_threads(given.threads)
        devices.check(given.gpu, 1)
        config = config_of(given)
        self.optimizer = config.optimizer.name
        self.founding, size = config.model.joint_downsampling, config.data.image_size
        self.representation, self.steps = config.model.representation, config.model.num_steps
        self.device = torch.device("cuda" if given.gpu else "cpu")
        self.model = checkpoint.build(config).to(self.device)
        if given.compile:
            self.model.compile_steps()
        self.task = made_up(batch, given.context, queries, size).to(self.device)
        self.ours = [form for form, dtype in FORMS.items() if dtype == torch.float32 or devices.has_bfloat16(given.gpu)]
        self.forms = [*([TEXTBOOK] if self.representation in reference.REPRESENTATIONS else []), *self.ours]

    def arithmetic(self, form: str) -> str:
        """In which a form computes: one of `FORMS`."""
        return {TEXTBOOK: "float32", GRAPH: self.ours[-1]}.get(form, form)

    def autocast(self, form: str) -> torch.autocast:
        """Inside, gqn's form computes in its arithmetic."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.arithmetic(form) == "bf16")

    def noise(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(1)

    def textbook(self, image: torch.Tensor | None, query: int = 0) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The textbook form's answer to one query of each scene."""
        context, pose = self.task.context, self.task.query.cameras.pose[:, query]
        weights = dict(self.model.named_parameters())
        return reference.draw(
            *(weights, self.representation, self.steps, self.founding, context.frames, context.cameras.pose, pose),
            *(image, self.noise()),
        )

    def step(self, form: str) -> Callable[[], Any]:
        """A training step of a form: forward, backward, update; of gqn's own forms the very one that training takes."""
        if form == TEXTBOOK:
            return self.textbook_step()
        kind, bf16 = self.device.type, self.arithmetic(form) == "bf16"
        fabric = Fabric(accelerator=kind, devices=1, plugins=[Autocast("bf16-mixed", kind)] if bf16 else [])
        step: Step | Graphs = Step(fabric, self.model, optimizers(self.model, self.optimizer, RATE))
        if form == GRAPH:
            recorder = RECORDERS[kind](self.device, list(self.model.parameters()))
            step = self.graphs = Graphs(step, recorder, 1, lambda text: print(text, file=sys.stderr))

        def take() -> None:
            scenes, queries = self.task.query.frames.shape[:2]
            step(self.task, self.model.noise(scenes, queries, self.noise()), PIXEL_STD, RATE)

        if form == GRAPH:  # the first step is not recorded
            take()
        return take

    def textbook_step(self) -> Callable[[], Any]:
        """The textbook form's training step."""
        adam = torch.optim.Adam(self.model.parameters(), lr=RATE, fused=False)
        image = self.task.query.frames[:, 0]

        def take() -> None:
            adam.zero_grad()
            mean, kl = self.textbook(image)
            loss = -(reference.log_likelihood(mean, image, PIXEL_STD) - sum(kl)).mean()
            loss.backward()
            adam.step()

        return take

    def seconds(self, work: Callable[[], Any]) -> float:
        """Wall time of one call."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def medians(self, works: dict[str, Callable[[], Any]], rounds: int, calls: int = 1) -> dict[str, float]:
        """Seconds of a call of each, taking turns, after one call to warm up."""
        for work in works.values():
            work()
        taken = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                taken[name].append(self.seconds(lambda work=work: [work() for _ in range(calls)]) / calls)
        return {name: statistics.median(times) for name, times in taken.items() if times}

    def peak_memory(self, work: Callable[[], Any]) -> int:
        """MB allocated at most during a call that is not the first, beyond what was before (weights, Adam's state)."""
        for parameter in self.model.parameters():
            parameter.grad = None
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            work()
            return round((torch.cuda.max_memory_allocated() - before) / 2**20)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            work()
        now = most = 0
        events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
        for event in sorted(events, key=lambda e: e.start_ns()):
            now += event.nbytes()
            most = max(most, now)
        return round(most / 2**20)

    def best(self, dtype: torch.dtype) -> float:
        """FLOP per second of the machine's best matrix work: a large product, or a convolution like the paper's."""
        n = 8192 if self.device.type == "cuda" else 1024
        a = torch.randn(n, n, device=self.device, dtype=dtype)
        images = 32 if self.device.type == "cuda" else 4
        x = torch.randn(images, 128, 16, 16, device=self.device, dtype=dtype)
        w = torch.randn(512, 128, 5, 5, device=self.device, dtype=dtype)
        with torch.no_grad(), devices.searching():
            of_product = 2 * n**3 / self.fastest(lambda: a @ a)
            of_convolution = 2 * images * 256 * w.numel() / self.fastest(lambda: torch.conv2d(x, w, padding=2))
        return max(of_product, of_convolution)

    def best_copy(self) -> float:
        """Bytes per second, read and written, of a copy that no cache can hold."""
        a = torch.ones(2**30 if self.device.type == "cuda" else 2**28, dtype=torch.uint8, device=self.device)
        b = torch.empty_like(a)
        return 2 * len(a) / self.fastest(lambda: b.copy_(a))

    def fastest(self, work: Callable[[], Any]) -> float:
        """Seconds of a call, at best."""
        [work() for _ in range(3)]
        return min(self.seconds(lambda: [work() for _ in range(5)]) / 5 for _ in range(3))


class Counted(TorchDispatchMode):
    """Counts what a GPU launches at least for the operations inside, and the bytes of their inputs and outputs.

    Operations that only look at memory in another way launch nothing. A GPU launches more where an operation takes
    several kernels: of 1,904 that a profiler saw in a step, 1,608 are counted so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        given, made = tensors((args, kwargs)), tensors(out)
        known = {memory(x) for x in given}
        written = function._schema.is_mutable or any(memory(x) not in known for x in made)
        if written and "empty" not in function._schema.name:
            self.launches += launches(function, args)
            self.bytes += moved(given + made)
        return out

    @contextmanager
    def with_kernels(self) -> Iterator[None]:
        """Inside, the kernels of the package's own count too, which are no operations of PyTorch."""
        launch = kernels._launch

        def counted(kernel: Any, *given: Any) -> None:
            self.launches += 1
            self.bytes += moved(tensors(given))
            launch(kernel, *given)

        with patch.object(kernels, "_launch", counted), self:
            yield


def launches(function: Any, args: Any) -> int:
    """The kernels that an operation takes at least: of a convolution, also for its bias, and for each gradient."""
    if function is torch.ops.aten.convolution_backward.default:
        return sum(args[-1])
    return 1 + (function is torch.ops.aten.convolution.default and args[2] is not None)


def tensors(values: Any) -> list[Tensor]:
    """All tensors among nested values."""
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def memory(x: Tensor) -> int:
    """Which memory a tensor looks at."""
    return x.untyped_storage()._cdata


def moved(values: list[Tensor]) -> int:
    """Bytes of tensors; where one repeats its values, those that are there."""
    return sum(min(x.numel() * x.element_size(), x.untyped_storage().nbytes()) for x in values)


def count(work: Callable[[], Any]) -> tuple[int, int, int]:
    """Of a call, counted: floating-point operations of its matrix work, launches, bytes read and written."""
    counted = Counted()
    with FlopCounterMode(display=False) as flop, counted.with_kernels():
        work()
    return flop.get_total_flops(), counted.launches, counted.bytes


def made_up(batch: int, context: int, queries: int, size: int) -> Task:
    """Noise images and cameras."""
    g = torch.Generator().manual_seed(0)

    def views(n: int) -> Views:
        pose = torch.randn(batch, n, 5, generator=g)
        return Views(torch.rand(batch, n, 3, size, size, generator=g), Cameras(pose))

    return Task(views(context), views(queries))


def machine(given: argparse.Namespace) -> str:
    """Its name, as far as it tells."""
    if given.gpu:
        return torch.cuda.get_device_name()
    with open("/proc/cpuinfo") as file:
        names = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    return f"{'/'.join(names) or platform.processor()}, {given.threads} threads"


def tell(figures: dict[str, Any], path: Path | None) -> None:
    """Print the figures as JSON, and write them to a file; null for a form whose arithmetic the machine has not."""
    text = json.dumps(figures | {form: None for form in FORMS if form not in figures}, indent=2)
    print(text)
    if path:
        path.write_text(text + "\n")


def config_of(given: argparse.Namespace) -> Config:
    """Of the model that is measured."""
    options = {"shared_cores": not given.unshared} | (TOY if given.toy else {})
    asked = {"representation": given.representation, "image_size": given.size}
    return preset(given.preset, **options | {name: value for name, value in asked.items() if value})


def described(given: argparse.Namespace) -> dict[str, Any]:
    """What is measured, and on what."""
    config = config_of(given)
    model = (
        f"{given.preset}, {config.model.representation}, {'unshared' if given.unshared else 'shared'} cores, "
        f"{config.data.image_size} px, {config.optimizer.name}{', toy' * given.toy}"
    )
    return {"machine": machine(given), "torch": torch.__version__, "model": model, "context_views": given.context}

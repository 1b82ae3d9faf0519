"""What the measurements of the model share: its forms, time, work, memory, and what the machine can do at best."""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from gqn.artifacts import checkpoint
from gqn.config import PRESETS, preset
from gqn.runtime import devices
from gqn.training.loop import Autocast
from gqn.training.optimizers import optimizers
from gqn.training.step import Step
from gqn.views import Cameras, Task, Views

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

TEXTBOOK = "textbook"  # tests/reference.py, eager, float32
PIXEL_STD, RATE = 0.7, 1e-5
FORMS = {"float32": torch.float32, "bf16": torch.bfloat16}  # of gqn: the arithmetic
TOY = {"image_size": 16, "representation_maps": 16, "num_steps": 2, "num_recurrent_maps": 8, "num_canvas_maps": 8}


def parser(description: str) -> argparse.ArgumentParser:
    """The flags that say which model on which device."""
    made = argparse.ArgumentParser("gqn bench", description=description)
    add = made.add_argument
    add("--preset", choices=PRESETS, default="paper", help="default: %(default)s")
    add("--representation", help="another than the preset's")
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
        options = {"shared_cores": not given.unshared} | (TOY if given.toy else {})
        if given.representation:
            options["representation"] = given.representation
        config = preset(given.preset, **options)
        self.founding, size = config.model.joint_downsampling, config.data.image_size
        self.representation, self.steps = config.model.representation, config.model.num_steps
        self.device = torch.device("cuda" if given.gpu else "cpu")
        self.model = checkpoint.build(config).to(self.device)
        if given.compile:
            self.model.compile_steps()
        self.task = made_up(batch, given.context, queries, size).to(self.device)
        self.ours = [form for form, dtype in FORMS.items() if dtype == torch.float32 or devices.has_bfloat16(given.gpu)]
        self.forms = [*([TEXTBOOK] if self.representation in reference.REPRESENTATIONS else []), *self.ours]

    def autocast(self, form: str) -> torch.autocast:
        """The arithmetic of a form."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=FORMS[form] == torch.bfloat16)

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
        """A training step of a form: forward, backward, Adam; of gqn's own forms the very one that training takes."""
        if form == TEXTBOOK:
            return self.textbook_step()
        kind, bf16 = self.device.type, FORMS[form] == torch.bfloat16
        fabric = Fabric(accelerator=kind, devices=1, plugins=[Autocast("bf16-mixed", kind)] if bf16 else [])
        step = Step(fabric, self.model, optimizers(self.model, "adam", RATE))

        def take() -> None:
            scenes, queries = self.task.query.frames.shape[:2]
            step(self.task, self.model.noise(scenes, queries, self.noise()), PIXEL_STD, RATE)

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
        return {name: statistics.median(times) for name, times in taken.items()}

    def peak_memory(self, work: Callable[[], Any]) -> int:
        """MB that are allocated at most during a call, beyond what was before (weights, Adam's state)."""
        work()
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
        x = torch.randn(32, 128, 16, 16, device=self.device, dtype=dtype)
        w = torch.randn(512, 128, 5, 5, device=self.device, dtype=dtype)
        with torch.no_grad():
            works = {2 * n**3: lambda: a @ a, 2 * 32 * 256 * w.numel(): lambda: torch.conv2d(x, w, padding=2)}
            rates = []
            for flop, work in works.items():
                [work() for _ in range(3)]
                rates += [5 * flop / self.seconds(lambda work=work: [work() for _ in range(5)]) for _ in range(3)]
        return max(rates)


def flop(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix work in a call, counted."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


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


def described(given: argparse.Namespace) -> dict[str, Any]:
    """What is measured, and on what."""
    config = preset(given.preset)
    cores = "unshared" if given.unshared else "shared"
    model = f"{given.preset}, {given.representation or config.model.representation}, {cores} cores{', toy' * given.toy}"
    return {"machine": machine(given), "torch": torch.__version__, "model": model, "context_views": given.context}

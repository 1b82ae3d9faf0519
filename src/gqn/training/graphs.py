"""Training steps as CUDA graphs: the thousands of kernels of a step are launched together, without Python.

A GPU finishes the kernels of a step faster than Python launches them, one by one, and then waits for the next. A graph
records the kernels once and replays them as often as needed. They read and write the same memory each time, so a task
is first copied to where the graph reads it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gqn.training.step import Recorded, Step
from gqn.views import Task, Views

Work = Callable[[], Recorded]


class Recorder(Protocol):
    """Runs work on a device, and records it to be run again."""

    bytes: int  # of memory that all recordings keep

    def run(self, work: Work) -> Recorded:
        """Run work that may be recorded later."""
        ...

    def record(self, work: Work) -> Work:
        """Record what work does, without doing it. Returns what does it: on the same memory, with the same results."""
        ...


class Graphs:
    """A `Step`, called alike, that records a graph for each shape of task and replays it from then on.

    The first step of a shape is not recorded: there, libraries choose their algorithms and optimizers make their state.
    Replayed steps do the same arithmetic. If a graph cannot be recorded, `say` is told so and all further steps are as
    without graphs. `shapes` is the number of shapes to expect, which are as many as there are numbers of context views.
    """

    def __init__(self, step: Step, recorder: Recorder, shapes: int, say: Callable[[str], None]):
        self.step, self.recorder, self.shapes, self.say = step, recorder, shapes, say
        self.optimizers = step.optimizers
        self.scalars: tuple[Tensor, Tensor] | None = None  # pixel std and learning rate
        self.known: set[Any] = set()  # shapes of which a step has been taken
        self.recorded: dict[
            Any, tuple[Task, Tensor, Work]
        ] = {}  # per shape, where its graph reads, and what replays it
        self.gone, self.seconds = False, 0.0  # whether recording has failed; what it took

    def __call__(self, task: Task, noise: Tensor, pixel_std: float | Tensor, learning_rate: float | Tensor) -> Recorded:
        """As of `Step`."""
        pixel_std, learning_rate = self._scalars(noise, pixel_std, learning_rate)
        given = [*_tensors(task), noise]
        shape = (
            *((v.cameras.fov, v.cameras.convention) for v in (task.context, task.query)),
            *((x.shape, x.stride(), x.dtype) for x in given),
        )
        if shape in self.known and shape not in self.recorded and not self.gone:
            self._record(shape, task, noise)
        self.known.add(shape)
        if shape not in self.recorded:
            return self.recorder.run(lambda: self.step(task, noise, pixel_std, learning_rate))
        its_task, its_noise, replay = self.recorded[shape]
        for buffer, values in zip([*_tensors(its_task), its_noise], given, strict=True):
            buffer.copy_(values, non_blocking=True)
        return {name: value.clone() for name, value in replay().items()}  # the next replay writes to the same memory

    def _scalars(self, like: Tensor, *values: float | Tensor) -> tuple[Tensor, ...]:
        """Pixel std and learning rate on the device, always in the same place."""
        if self.scalars is None:
            kind = torch.float32 if like.is_cuda else torch.float64  # as the fused Adam reads it
            self.scalars = (like.new_empty((), dtype=kind), like.new_empty((), dtype=kind))
        for place, value in zip(self.scalars, values, strict=True):
            place.fill_(value)
        return self.scalars

    def _record(self, shape: Any, task: Task, noise: Tensor) -> None:
        its_task, its_noise = Task(_copy(task.context), _copy(task.query)), noise.clone()
        pixel_std, learning_rate = cast(tuple[Tensor, Tensor], self.scalars)
        began = time.monotonic()
        try:
            with _capturable(self.optimizers):
                replay = self.recorder.record(lambda: self.step(its_task, its_noise, pixel_std, learning_rate))
        except RuntimeError as error:  # also when memory is short
            self.gone = True
            self.recorded.clear()
            reason = (str(error) or type(error).__name__).splitlines()[0]
            self.say(f"training goes on without CUDA graphs (`graph=False`): {reason}")
            return
        self.recorded[shape] = its_task, its_noise, replay
        self.seconds += time.monotonic() - began
        if len(self.recorded) == self.shapes:
            graphs = "one CUDA graph" if self.shapes == 1 else f"{self.shapes} CUDA graphs"
            self.say(
                f"steps are {graphs}, recorded in {self.seconds:.0f} s; they keep {self.recorder.bytes / 2**30:.1f} GiB"
            )


class CudaRecorder:
    """Records CUDA graphs. All of them work in the same memory, as only one runs at a time."""

    def __init__(self, device: torch.device, parameters: list[nn.Parameter]):
        self.device, self.parameters, self.bytes = device, parameters, 0
        self.stream = torch.cuda.Stream(device)  # the default stream cannot be recorded
        self.pool = torch.cuda.graph_pool_handle()

    def run(self, work: Work) -> Recorded:
        """As of `Recorder`."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = work()
        current.wait_stream(self.stream)
        return result

    def record(self, work: Work) -> Work:
        """As of `Recorder`. Replaying it also makes the parameters' gradients those of this graph."""
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved(self.device)
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls are recorded: the thread that pins tasks allocates memory meanwhile.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            result = work()
        gradients = [p.grad for p in self.parameters]
        self.bytes += torch.cuda.memory_reserved(self.device) - before

        def replay() -> Recorded:
            graph.replay()
            for p, gradient in zip(self.parameters, gradients, strict=True):
                p.grad = gradient
            return result

        return replay


@contextmanager
def _capturable(optimizers: list[Optimizer]) -> Iterator[None]:
    """Inside, Adam lets itself be recorded. Outside, it would warn of that."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def _tensors(task: Task) -> list[Tensor]:
    return [x for views in (task.context, task.query) for x in (views.frames, views.cameras.pose)]


def _copy(views: Views) -> Views:
    return Views(views.frames.clone(), replace(views.cameras, pose=views.cameras.pose.clone()))

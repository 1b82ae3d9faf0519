"""From a source of scenes to batches of tasks, as a pure function of (seed, step).

A source maps a scene index to views:

    source.order                     in which order its scenes come: an `Order`, or their number for a uniform one
    source.num_views                 views of each scene
    source.image_size                pixels of a side
    source.views(index, which)       the views `which` of scene `index`: Views (len(which),), frames uint8;
                                     BadInput if they cannot be had
    source.coded(index, which)       the same as a record of a file holds them: JPEG byte strings, cameras
    source.skipped                   how often a damaged scene was passed over, by any worker

One that has `overhead_queries`, and it is true, is asked for `source.overhead(index)`, Views (1,), as every query.
All randomness lies in `requests`; workers only do what they are told, so that any number of them, on any number of
ranks, gives the same batches, and to resume is to start at another step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset

from gqn.data.tfrecord import Scene
from gqn.errors import BadInput
from gqn.stopping import held, leave_signals_to_the_parent
from gqn.views import Task, Views, stack


class Order(Protocol):
    """In which order scenes come, each once per epoch."""

    def __call__(self, seed: int, number: int) -> int:
        """The scene of task `number` of a run of a seed, counted through all epochs; a function of these alone."""
        ...


class Source(Protocol):
    """Scenes of one split, rendered or stored."""

    @property
    def num_views(self) -> int: ...

    @property
    def image_size(self) -> int: ...

    @property
    def order(self) -> Order | int: ...

    @property
    def skipped(self) -> Any: ...

    def views(self, index: int, which: np.ndarray) -> Views: ...

    def coded(self, index: int, which: np.ndarray) -> Scene: ...


@dataclass(frozen=True)
class Request:
    """One task to make: which scene, which of its views are context and which are queries."""

    scene: int
    context: np.ndarray  # (M,) view numbers
    query: np.ndarray  # (Q,)


@dataclass(frozen=True)
class Uniform:
    """Any order of `scenes` scenes is as likely as any other, and is drawn anew for each epoch."""

    scenes: int

    def __call__(self, seed: int, number: int) -> int:
        """As in `Order`."""
        epoch, position = divmod(number, self.scenes)
        return permuted(position, self.scenes, (seed, epoch))


def ordered(order: Order | int, seed: int, number: int) -> int:
    """The scene of task `number`; a number of scenes stands for their uniform order."""
    return (Uniform(order) if isinstance(order, int) else order)(seed, number)


@dataclass(frozen=True)
class Sampler:
    """Which tasks a training or evaluation run consists of.

    Every batch has one number of context views, drawn uniformly from min_context..max_context; every scene comes once
    per epoch, in the order `scenes`, or in uniform order if that is their number; the views of a task are drawn without
    replacement, so that no query is in its context. With `rank` of `ranks`, a batch is this rank's contiguous share of
    the global batch.
    """

    scenes: Order | int
    views: int
    batch_size: int  # global
    min_context: int
    max_context: int
    queries: int = 1
    seed: int = 0
    rank: int = 0
    ranks: int = 1

    def __post_init__(self):
        if not 1 <= self.min_context <= self.max_context:
            raise BadInput(f"the number of context views must be at least 1, not {self.max_context}")
        if self.max_context + self.queries > self.views:
            raise BadInput(
                f"{self.max_context} context views and {self.queries} query views do not fit "
                f"into scenes of {self.views} views: lower max-context-size or num-queries"
            )

    def requests(self, step: int) -> list[Request]:
        """The tasks of this rank's share of batch number `step`."""
        context = int(rng(self.seed, 0, step).integers(self.min_context, self.max_context + 1))
        share = self.batch_size // self.ranks
        first = step * self.batch_size + self.rank * share
        return [self._request(number, context) for number in range(first, first + share)]

    def _request(self, number: int, context: int) -> Request:
        scene = ordered(self.scenes, self.seed, number)
        which = rng(self.seed, 1, number).permutation(self.views)
        return Request(scene, which[:context], which[context : context + self.queries])


def batches(source: Source, sampler: Sampler, steps: range, workers: int = 0, pin: bool = False) -> Iterator[Task]:
    """The batches of `steps`, in order, made by `workers` processes ahead of need (0: in this one, when needed).

    Raises the BadInput that the source raises when it comes to a scene that cannot be had.
    """
    loader = DataLoader(
        _Tasks(source),
        batch_sampler=_Steps(sampler, steps),
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=leave_signals_to_the_parent,
    )
    return _raised(started(loader))


def started(loader: DataLoader) -> Iterator[Any]:
    """What a loader makes; its workers start now, and see no signal."""
    with held():
        return iter(loader)


def rng(*key: int) -> np.random.Generator:
    """A generator that is a function of the key alone."""
    return np.random.default_rng((len(key), *key))  # the length: numpy takes (5,) and (5, 0) for one


def permuted(position: int, n: int, key: tuple[int, int]) -> int:
    """The scene at `position` in a random order of 0..n-1 that needs no memory (Feistel network, cycle-walking)."""
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for turn in range(4):
            left, right = right, left ^ (_mix(right, *key, turn) & mask)
        position = left << half | right
        if position < n:
            return position


def _mix(*words: int) -> int:
    """A 64-bit hash (the finalizer of splitmix64, chained)."""
    x = 0
    for word in words:
        x = (x + word + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        x = ((x ^ x >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        x ^= x >> 31
    return x


def asked(source: Source, request: Request) -> Task:
    """One task, its frames uint8; raises what the source raises.

    A rendered source with overhead queries asks for the view from straight above in place of the one requested.
    """
    if getattr(source, "overhead_queries", False):
        return Task(source.views(request.scene, request.context), cast(Any, source).overhead(request.scene))
    views = source.views(request.scene, np.concatenate([request.context, request.query]))
    m = len(request.context)
    return Task(views[:m], views[m:])


class _Tasks(Dataset):
    def __init__(self, source: Source):
        self.source = source

    def __getitem__(self, request: Request) -> Task | BadInput:
        try:
            return asked(self.source, request)
        except BadInput as error:
            return error  # raised in a worker it would reach the user as a traceback


class _Steps:
    def __init__(self, sampler: Sampler, steps: range):
        self.sampler, self.steps = sampler, steps

    def __iter__(self):
        return map(self.sampler.requests, self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def _collate(tasks: list[Task | BadInput]) -> Task | BadInput:
    if bad := [t for t in tasks if isinstance(t, BadInput)]:
        return bad[0]
    good = [t for t in tasks if isinstance(t, Task)]
    return Task(stack([t.context for t in good]), stack([t.query for t in good]))


def _raised(tasks: Iterator[Task | BadInput]) -> Iterator[Task]:
    for task in tasks:
        if isinstance(task, BadInput):
            raise type(task)(str(task))  # not `task`: it would hold this frame, which holds the workers
        yield task

"""From a source of scenes to batches of tasks, as a pure function of (seed, step).

All randomness lies in `Sampler.requests`, so the batches do not depend on the number of workers or ranks, and a run
resumes by starting at a later step. A worker is told the number of a step alone and makes its whole batch: drawing the
tasks would cost the process that trains much of the time of a step on a GPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch.utils.data import Dataset

from gqn.data import Order, Source
from gqn.errors import BadInput
from gqn.runtime.workers import made
from gqn.views import Task, stack


@dataclass(frozen=True)
class Request:
    """Which scene a task uses, and which of its views are context and which are queries."""

    scene: int
    context: np.ndarray  # (M,) view numbers
    query: np.ndarray  # (Q,)


@dataclass(frozen=True)
class Uniform:
    """A uniformly random order of `scenes` scenes, drawn anew for each epoch."""

    scenes: int

    def __call__(self, seed: int, number: int) -> int:
        """As in `Order`."""
        epoch, position = divmod(number, self.scenes)
        return permuted(position, self.scenes, (seed, epoch))


def ordered(order: Order | int, seed: int, number: int) -> int:
    """The index of the scene of task `number`; an integer `order` is a number of scenes in uniformly random order."""
    return (Uniform(order) if isinstance(order, int) else order)(seed, number)


@dataclass(frozen=True)
class Sampler:
    """Which tasks a training or evaluation run consists of.

    All tasks of a batch have the same number of context views, drawn uniformly from min_context..max_context. Every
    scene comes once per epoch, in the order `scenes`, or in uniformly random order if `scenes` is a number of scenes.
    The views of a task are drawn without replacement, so a query is never in its own context. Each of `ranks` ranks
    gets a contiguous share of the global batch.
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
                f"into scenes of {self.views} views: lower `max_context_size` or `num_queries`"
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
    """The batches of `steps`, in order, prepared in advance by `workers` processes (0: in this process, on demand).

    If the source or its order raises BadInput for a scene, so does the iterator when it reaches that scene's batch.
    BadInput if a worker is killed.
    """
    return made(_Batches(source, sampler), steps, workers, ahead=4, pin=pin)


def rng(*key: int) -> np.random.Generator:
    """A random generator seeded by `key` alone."""
    return np.random.default_rng((len(key), *key))  # with the length: to numpy, (5,) and (5, 0) are the same seed


def permuted(position: int, n: int, key: tuple[int, int]) -> int:
    """Element `position` of a random permutation of 0..n-1, which is not stored (Feistel network, cycle-walking)."""
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
    """Make the task of a request; frames are uint8. Raises what the source raises.

    If the source has overhead queries, the query is the view from straight above, not the requested view.
    """
    if source.overhead_queries:
        return Task(source.views(request.scene, request.context), cast(Any, source).overhead(request.scene))
    views = source.views(request.scene, np.concatenate([request.context, request.query]))
    m = len(request.context)
    return Task(views[:m], views[m:])


class _Batches(Dataset):
    """Batches by step."""

    def __init__(self, source: Source, sampler: Sampler):
        self.source, self.sampler = source, sampler

    def __getitem__(self, step: int) -> Task:
        tasks = [asked(self.source, request) for request in self.sampler.requests(step)]
        return Task(stack([t.context for t in tasks]), stack([t.query for t in tasks]))

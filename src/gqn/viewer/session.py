"""What the viewer shows: the pictures and numbers that answer a question about a scene, without a server.

An answer comes in parts, and the work can be abandoned between two parts, or at a `PAUSE`. Scenes and
representations, which are expensive, are cached for later questions; nothing else is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gqn.config import Config
from gqn.data import Source
from gqn.data.sources import Rendered, moves_of, source
from gqn.data.specification import DATASETS, DatasetSpec, spec
from gqn.data.tasks import rng
from gqn.errors import BadInput
from gqn.figures import drawing, heldout, orbit
from gqn.metrics import images as metrics
from gqn.metrics import statistics
from gqn.metrics.information import gain_in_parts, surprise
from gqn.models import DrawsInSteps, Model
from gqn.viewer.protocol import ABOVE, CONTEXT, Question, Where
from gqn.views import Cameras, Views

KEPT = 16  # most scenes in the cache, and most representations
SAMPLES = 8
FAR_OFF, SPREAD = 0.5, 0.125  # of [0, 1]: difference and spread that have the brightest colour
PLACES, PROBES, IMAGINED = 64, 4, 4  # of predicted information gain, see the figure `nextview`
CIRCLE = 36  # views of an orbit

Answer = tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]  # numbers, and pictures (*B, H, W, 3) or a file (N,)
PAUSE: Answer = ({}, {})  # not a part of an answer: the work on one takes long, and others may go first


@dataclass(frozen=True)
class Scene:
    """A held-out scene; figures show the same one by this number, with its first views as context."""

    number: int
    source: Source
    family: Any
    views: Views  # (K,) frames uint8
    description: Any  # None for a stored scene, whose truth is known at its views only

    def at(self, where: Where) -> tuple[Cameras, Tensor | None]:
        """The camera (1,) that the family allows nearest to the one asked for, and its true image, uint8, if known."""
        if isinstance(where, int):
            if where >= len(self.views.frames):
                raise BadInput(f"this scene has {len(self.views.frames)} views here, and no view {where}")
            view = self.views[where : where + 1]
            return view.cameras, view.frames
        if isinstance(where, tuple):
            cameras = self.family.allowed(self.description, self.like(torch.tensor([where])))
        elif self.above:
            cameras = self.family.overhead(self.description)
        else:
            raise BadInput("this scene has no view from above")
        return cameras, self.seen_from(cameras)

    def plan(self, half: float) -> list[float]:
        """The square of the scene's plan: x, y of its middle, and half its side; `half` if there is no view of it."""
        if not self.above:
            return [0.0, 0.0, half]
        cameras = self.family.overhead(self.description)
        x, y, z = cameras.position()[0].tolist()
        return [x, y, z * math.tan(math.radians(cameras.fov) / 2)]

    def like(self, pose: Tensor) -> Cameras:
        """Cameras with poses (K, 5) in the convention of this scene."""
        return replace(self.views.cameras, pose=pose)

    def seen_from(self, cameras: Cameras) -> Tensor | None:
        """The true images that cameras (K,) see, uint8; None if they are not known."""
        return self.source.render(self.description, cameras).frames if isinstance(self.source, Rendered) else None

    @property
    def above(self) -> bool:
        """Whether there is a view from straight above."""
        return self.description is not None and hasattr(self.family, "overhead")

    def places(self) -> tuple[Cameras, Cameras]:
        """Candidate cameras (N,) for the next view, and probes (P,), whose views are to be predicted."""
        if self.description is None:
            probes = min(PROBES, len(self.views.frames) // 2)
            return self.views.cameras[:-probes], self.views.cameras[-probes:]
        drawn = self.family.cameras(rng(heldout.SEED, self.number), self.description, PLACES + PROBES)
        return drawn[:PLACES], drawn[PLACES:]


class Session:
    """Answers questions about scenes: rendered ones of all datasets, or the stored ones in `data` of the run's dataset.

    Call it from one thread at a time.
    """

    def __init__(self, name: str, config: Config, model: Model, data: str | None = None):
        self.name, self.config, self.model = name, config, model
        self.data = data or (config.origin.data if config.data.own else None)
        self.datasets = [config.data.dataset_name] if self.data else list(DATASETS)
        self._source = lru_cache(None)(self._open)
        self._scene = lru_cache(KEPT)(self._find)
        self._known = lru_cache(KEPT)(self._represent)
        self.num_steps = model.num_steps if isinstance(model, DrawsInSteps) else 1
        self._scene(config.data.dataset_name, 0)  # so that errors show now, and numba compiles the renderer

    def about(self) -> dict[str, Any]:
        """What a page needs to know of the run."""
        return {
            "run": self.name,
            "datasets": self.datasets,
            "dataset": self.config.data.dataset_name,
            "size": self.config.data.image_size,
            "steps": self.num_steps,
            "trained": self.config.data.max_context_size,
            "most": CONTEXT,
            "samples": SAMPLES,
        }

    @torch.inference_mode()
    def __call__(self, question: Question) -> Iterator[Answer]:
        """The parts of the answer, and pauses; BadInput if the question asks for something that does not exist here."""
        if question.dataset not in self.datasets:
            raise BadInput(f"there is no dataset {question.dataset} here")
        kinds = {
            "scene": self._show,
            "view": self._view,
            "samples": self._samples,
            "gain": self._gain,
            "orbit": self._orbit,
        }
        yield from kinds[question.about](question, self._scene(question.dataset, question.scene))

    def _show(self, q: Question, scene: Scene) -> Iterator[Answer]:
        """The scene: its views, the context views, and how cameras move in it."""
        context, _ = self._known(q.dataset, q.scene, q.context)
        parts = {"views": drawing.images(scene.views.float().frames), "context": drawing.images(context.frames[0])}
        if scene.above:
            _, plan = scene.at(ABOVE)
            assert plan is not None
            parts["plan"] = drawing.images(plan.float() / 255)[0]
        poses = scene.views.cameras.pose.tolist()
        numbers = {
            "motion": scene.family.motion,
            "fov": math.radians(scene.views.cameras.fov),
            "clockwise": scene.views.cameras.convention.clockwise,
            "plan": scene.plan(max(self._spec(q.dataset).region[:2])),
            "poses": poses,
            "above": scene.above,
            "anywhere": scene.description is not None,
            "maps": self._maps(scene),
            "start": ABOVE if self._maps(scene) else min(2, len(poses) - 1),
        }
        yield numbers, parts

    def _view(self, q: Question, scene: Scene) -> Iterator[Answer]:
        """A sample of what the camera sees and, where the truth is known, the truth and their difference."""
        cameras, truth = scene.at(q.camera)
        sample = self._drawn(q, cameras, q.seed)
        numbers: dict[str, Any] = {"pose": cameras.pose[0].tolist()}
        parts = {"sample": drawing.images(sample)}
        if truth is not None:
            true = truth[0].float() / 255
            numbers |= {"mse": metrics.mse(sample, true).item(), "psnr": metrics.psnr(sample, true).item()}
            difference = (sample - true).abs().mean(0).numpy()
            parts |= {"truth": drawing.images(true), "difference": drawing.heat(difference, FAR_OFF)}
        yield numbers, parts

    def _samples(self, q: Question, scene: Scene) -> Iterator[Answer]:
        """The surprise of the true view, then samples one by one, then their mean and spread."""
        cameras, truth = scene.at(q.camera)
        if truth is not None:
            context, _ = self._known(q.dataset, q.scene, q.context)
            true = Views(truth[None].float() / 255, cameras[None])
            yield {"kl": surprise(self.model, context, true, _noise(q.seed))[0, 0].tolist()}, {}
        drawn = []
        for i in range(SAMPLES):
            drawn.append(self._drawn(q, cameras, q.seed + i).clamp(0, 1))
            yield {"index": i}, {"sample": drawing.images(drawn[i])}
        samples = torch.stack(drawn)
        spread = statistics.spread(samples).mean(0)
        parts = {"mean": drawing.images(samples.mean(0)), "spread": drawing.heat(spread.numpy(), SPREAD)}
        yield {"spread": 255 * spread.mean().item()}, parts

    def _gain(self, q: Question, scene: Scene) -> Iterator[Answer]:
        """The predicted information gain of candidate cameras, one by one (`gqn.metrics.information.gain`)."""
        if self._maps(scene):
            raise BadInput("this run has learnt to draw maps alone, and cannot imagine what a camera in the maze sees")
        context, _ = self._known(q.dataset, q.scene, q.context)
        places, probes = scene.places()
        total = len(places.pose)
        for i in range(total):
            place = places[None, i : i + 1]
            std = self.config.objective.pixel_std_final
            for nats in gain_in_parts(self.model, context, place, probes[None], std, IMAGINED, heldout.SEED):
                if nats is None:
                    yield PAUSE
                else:
                    yield {"done": i + 1, "total": total, "pose": places.pose[i].tolist(), "gain": nats.item()}, {}

    def _orbit(self, q: Question, scene: Scene) -> Iterator[Answer]:
        """An animation in which the camera goes once around the scene."""
        if scene.description is None and scene.family.motion == "walk":
            raise BadInput("there is no way around in a stored scene whose plan is not known")
        way = scene.family.orbit(scene.description, CIRCLE)
        drawn = []
        for i in range(CIRCLE):
            drawn.append(self._drawn(q, way[i : i + 1], q.seed))
            yield {"done": i + 1, "total": CIRCLE}, {}
        context, _ = self._known(q.dataset, q.scene, q.context)
        arrays = {"context": drawing.images(context.frames[0]), "sample": drawing.images(torch.stack(drawn))}
        if (truth := scene.seen_from(way)) is not None:
            arrays["truth"] = drawing.images(truth.float() / 255)
        film = drawing.animation(orbit.frames(arrays), ".webp")
        yield {"name": f"{q.dataset}-{q.scene}.webp"}, {"file": np.frombuffer(film, np.uint8)}

    def _drawn(self, q: Question, cameras: Cameras, seed: int) -> Tensor:
        """A sample (3, H, W), or its canvas after step `q.step`."""
        _, representation = self._known(q.dataset, q.scene, q.context)
        if isinstance(self.model, DrawsInSteps) and 0 < q.step < self.num_steps:
            return self.model.steps(representation, cameras[None], _noise(seed))[0, 0, q.step - 1]
        return self.model.sample(representation, cameras[None], _noise(seed))[0, 0, 0]

    def _maps(self, scene: Scene) -> bool:
        """Whether the run was trained to draw only the view from above."""
        return scene.above and self.config.data.query == "overhead"

    def _open(self, dataset: str) -> Source:
        if self.data:
            return source(**(self.config.scenes("test") | {"data": self.data, "query": "view", "max_objects": 0}))
        if dataset == self.config.data.dataset_name:
            return heldout.rendered(self.config)
        return source(dataset, "test", self.config.data.image_size)

    def _find(self, dataset: str, number: int) -> Scene:
        scenes = self._source(dataset)
        views = heldout.views(scenes, number, CONTEXT)
        if isinstance(scenes, Rendered):
            return Scene(number, scenes, scenes.family, views, heldout.described(scenes, number))
        return Scene(number, scenes, moves_of(self._spec(dataset)), views, None)

    def _spec(self, dataset: str) -> DatasetSpec:
        return spec(dataset, self.data)

    def _represent(self, dataset: str, number: int, context: tuple[Where, ...]) -> tuple[Views, Tensor]:
        """The context views (1, M), float frames, and their representation."""
        scene = self._scene(dataset, number)
        seen = [scene.at(where) for where in context]
        if any(frames is None for _, frames in seen):
            raise BadInput("a stored scene is known from its own views only")
        frames = torch.cat([frames for _, frames in seen if frames is not None])
        cameras = scene.like(torch.cat([cameras.pose for cameras, _ in seen]))
        views = Views(frames[None], cameras[None]).float()
        return views, self.model.represent(views)


def _noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

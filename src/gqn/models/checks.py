"""Checks of a model's inputs, made once, at the start of its methods `represent`, `forward` and `sample`.

Types, shapes and devices are always checked, as this costs nothing. Values are read only in eval mode (models from
`gqn.artifacts.checkpoint.load` are in it) and never in compiled code: in training the source has checked the data, and
reading values would make every step wait for the device.
"""

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gqn.errors import BadInput, Unfamiliar
from gqn.views import Cameras, Views, check_range

Ranges = dict[str, tuple[float, float]]  # least and greatest value of MEASURES; some may be missing

FOV, DISTANCE, HEIGHT, YAW, PITCH = "field of view", "distance from the origin", "height", "yaw", "pitch"
ASIDE = "distance of the line of sight from the origin"
SENSE = "sense of yaw, seen from above"
SENSES = {1.0: "clockwise", 0.0: "anticlockwise"}
MEASURES = {  # measures of a camera: unit, and the kind of mistake if it is out of range
    FOV: (" degrees", "fov"),
    SENSE: ("", "sense"),
    DISTANCE: ("", "scale"),
    HEIGHT: ("", "scale"),
    YAW: (" radians", "direction"),
    PITCH: (" radians", "direction"),
    ASIDE: ("", "direction"),
}


@dataclass(frozen=True)
class TrainedOn:
    """The ranges of the cameras that a model was trained with; `model.trained_on`, or None if unknown."""

    name: str  # of the model, for warnings
    context: Ranges
    query: Ranges
    told: set[str] = field(default_factory=set)  # kinds of mistake that the user was already warned of


def context(model: nn.Module, views: Views) -> Views:
    """Check context views (B, M) for `represent` and return them as float32. BadInput if they are wrong or M is 0."""
    _views(model, views, "context")
    if views.frames.shape[1] == 0:
        raise BadInput("the context is empty: give at least one view of each scene")
    _familiar(model, views.cameras, "context")
    return views.float()


def query(model: nn.Module, views: Views, representation: Any) -> Views:
    """Check query views (B, Q) for `forward` and return them as float32. BadInput if they are wrong.

    B must be that of the representation.
    """
    _views(model, views, "query")
    _same_scenes(views.cameras, representation)
    _familiar(model, views.cameras, "query")
    return views.float()


def cameras(model: nn.Module, asked: Cameras, representation: Any) -> Cameras:
    """Check query cameras (B, Q) for `sample` and return them as float32. BadInput if they are wrong.

    B must be that of the representation.
    """
    if not isinstance(asked, Cameras):
        way = "its .cameras" if isinstance(asked, Views) else "Cameras(pose, fov)"
        raise BadInput(f"views are drawn of Cameras, and not of {type(asked).__name__}: give {way}")
    if asked.pose.ndim != 3:
        raise BadInput(
            f"query cameras are (scenes, queries, 5), not {tuple(asked.pose.shape)}"
            + (": cameras[None] makes them those of one scene" if asked.pose.ndim == 2 else "")
        )
    _same_scenes(asked, representation)
    _on_device(model, asked.pose, "query cameras")
    _familiar(model, asked, "query")
    return asked.float()


def of_cameras(cameras: Cameras) -> Ranges:
    """The range of each of MEASURES over cameras of any batch shape."""
    fov = float(cameras.fov)
    cameras = replace(cameras, pose=cameras.pose.detach().flatten(0, -2).double().cpu())
    position, look, (yaw, pitch) = cameras.position(), cameras.matrix()[:, :3, 2], cameras.pose[:, 3:].T
    ahead = -(position * look).sum(1, keepdim=True)  # distance along the line of sight to its point nearest the origin
    aside = (position + ahead.clamp(min=0) * look).norm(dim=1)
    values = torch.stack([position.norm(dim=1), position[:, 2], yaw, pitch, aside])
    low, high = values.amin(1).tolist(), values.amax(1).tolist()
    sense = float(cameras.convention.clockwise)
    return {FOV: (fov, fov), SENSE: (sense, sense)} | dict(
        zip((DISTANCE, HEIGHT, YAW, PITCH, ASIDE), zip(low, high, strict=True), strict=True)
    )


def _views(model: nn.Module, views: Views, what: str) -> None:
    if not isinstance(views, Views):
        raise BadInput(f"the {what} must be Views(frames, cameras), not {type(views).__name__}")
    shape = tuple(views.frames.shape)
    if len(shape) != 5:
        raise BadInput(
            f"{what} frames are (scenes, views, 3, height, width), not {shape}"
            + (": views[None] makes them those of one scene" if len(shape) == 4 else "")
        )
    size = getattr(model, "image_size", None)
    if size is not None and shape[3:] != (size, size):
        raise BadInput(
            f"{what} frames have {shape[4]} x {shape[3]} pixels and this model takes {size} x {size}: "
            f"views.resized({size}) makes them so, gqn.scene(..., image_size={size}) renders them so"
        )
    _on_device(model, views.frames, f"{what} frames")
    _on_device(model, views.cameras.pose, f"{what} cameras")
    if _looks(model):
        check_range(views.frames, f"{what} frames")


def _same_scenes(cameras: Cameras, representation: Any) -> None:
    known = representation.frames if isinstance(representation, Views) else representation
    if isinstance(known, Tensor) and known.shape[0] != cameras.pose.shape[0]:
        raise BadInput(f"the context is of {known.shape[0]} scenes and the query of {cameras.pose.shape[0]}")


def _on_device(model: nn.Module, tensor: Tensor, what: str) -> None:
    weight = next(model.parameters(), tensor)
    if weight.device != tensor.device:
        raise BadInput(
            f"{what} are on {tensor.device} and the model on {weight.device}: .to('{weight.device}') moves them"
        )


def _looks(model: nn.Module) -> bool:
    return not model.training and not torch.compiler.is_compiling()


def _familiar(model: nn.Module, cameras: Cameras, what: str) -> None:
    """Warn of cameras outside of the ranges that a model was trained with, once for each kind of mistake.

    BadInput if poses are not finite.
    """
    if not _looks(model) or not cameras.pose.numel():
        return
    if not cameras.pose.isfinite().all():
        raise BadInput(f"poses of the {what} hold values that are not finite numbers")
    trained = getattr(model, "trained_on", None)
    if trained is None:
        return
    known: Ranges = getattr(trained, what)
    found = of_cameras(cameras)
    off = [name for name in known if not _within(name, found[name], known)]
    kinds = {MEASURES[name][1] for name in off} - trained.told
    if kinds:
        trained.told.update(kinds)
        said = "; ".join(_difference(name, found[name], known[name]) for name in off if MEASURES[name][1] in kinds)
        warnings.warn(
            f"{trained.name} was trained with other {what} cameras: {said}. Expect worse images; "
            "positions are in the units of its dataset, angles in radians",
            Unfamiliar,
            stacklevel=4,
        )


def _within(name: str, found: tuple[float, float], known: Ranges) -> bool:
    """Whether a range lies in the known range, with some slack.

    Slightly other values do not change a model's images. The known range is that of a sample of cameras, which may have
    missed the extremes of a wide range.
    """
    low, high = known[name]
    slack = {SENSE: 0.0, FOV: 0.03 * high, YAW: 2 * math.pi, PITCH: 0.02}.get(
        name, 0.01 * known.get(DISTANCE, (0, 0))[1]
    )
    slack += 0.2 * (high - low)
    return low - slack <= found[0] and found[1] <= high + slack


def _difference(name: str, found: tuple[float, float], known: tuple[float, float]) -> str:
    if name == SENSE:
        return f"a yaw that turns {SENSES[known[0]]}, not {SENSES[found[0]]} (`Cameras.convention`)"
    low, high = known
    given = found[1] if found[1] - high > low - found[0] else found[0]
    ends = dict.fromkeys(f"{round(value, 3):.4g}" for value in known)
    return f"a {name} of {' to '.join(ends)}{MEASURES[name][0]}, not {given:.4g}"

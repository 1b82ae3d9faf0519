"""What is known of a dataset: of the seven released ones as a table, of one's own from the file beside its scenes.

The released ones are those of github.com/google-deepmind/gqn-datasets. A dataset of one's own has a `dataset.toml`
in its folder, with the keys of `KEYS`; `gqn data import` writes it.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gqn.errors import BadInput
from gqn.runtime import lookup, reading

if TYPE_CHECKING:
    from torch import Tensor

    from gqn.views import Cameras, Convention


@dataclass(frozen=True)
class Filmed:
    """How a dataset's scenes are filmed, and what the numbers of its camera poses mean."""

    fov: float  # degrees
    clockwise: bool  # whether yaw turns clockwise, seen from above
    unit: float  # a unit of camera positions, in units of the scenes: metres, for rooms
    eye: float = 0.0  # height of the eye where z is 0, in units of the scenes

    @property
    def convention(self) -> "Convention":
        """The `Convention` of its cameras."""
        from gqn.views import Convention  # imported late, as it imports torch

        return Convention(self.clockwise, self.eye / self.unit)

    def cameras(self, pose: "Tensor") -> "Cameras":
        """The cameras of poses (*B, 5), as the files have them."""
        from gqn.views import Cameras

        return Cameras(pose, self.fov, self.convention)


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset: what its files hold, and the scene family that renders scenes of the same kind."""

    files: tuple[int, int]  # number of released files: training split, test split
    family: str  # module in gqn.scenes; "" for scenes of one's own, which nothing here renders
    num_views: int  # per scene
    image_size: int  # side in pixels
    max_context: int  # the paper's maximum number of context views
    region: tuple[float, float, float]  # half extents (x, y, z) of the box around the origin that contains the scene
    filmed: "Filmed"
    options: dict[str, Any] = field(default_factory=dict)  # arguments of the family's class, or of `Captured`


BUCKET = "gs://gqn-dataset"  # public; files are at <dataset>/<split>/<i>-of-<n>.tfrecord
SPHERE = Filmed(fov=20.15, clockwise=True, unit=1.0)  # Shepard-Metzler: measured
RING = Filmed(fov=50.0, clockwise=False, unit=3.5, eye=0.76)  # measured, on frames of rooms_ring_camera
# A guess, but for the unit, which is likely: the positions that others saw span -3.5..3.5. z and yaw as on the ring.
FREE = Filmed(fov=50.0, clockwise=False, unit=1.0, eye=0.76)
ARM = Filmed(fov=50.0, clockwise=False, unit=3.5)  # jaco: a guess
MAZE = Filmed(fov=90.0, clockwise=False, unit=10.0, eye=0.506)  # measured
RING_REGION, FREE_REGION = (1.0, 1.0, 0.6), (3.5, 3.5, 2.1)

DATASETS = {
    "shepard_metzler_5_parts": DatasetSpec(
        (900, 100), "shepard_metzler", 15, 64, 14, (5 / 12,) * 3, SPHERE, {"parts": 5}
    ),
    "shepard_metzler_7_parts": DatasetSpec(
        (900, 100), "shepard_metzler", 15, 64, 14, (7 / 12,) * 3, SPHERE, {"parts": 7}
    ),
    "rooms_ring_camera": DatasetSpec((2160, 240), "rooms", 10, 64, 5, RING_REGION, RING, {"camera": "ring"}),
    "rooms_free_camera_no_object_rotations": DatasetSpec(
        (2160, 240), "rooms", 10, 64, 5, FREE_REGION, FREE, {"camera": "free", "object_rotations": False}
    ),
    "rooms_free_camera_with_object_rotations": DatasetSpec(
        (2034, 226), "rooms", 10, 128, 5, FREE_REGION, FREE, {"camera": "free"}
    ),
    "jaco": DatasetSpec((3600, 400), "jaco", 11, 64, 7, RING_REGION, ARM),
    "mazes": DatasetSpec((1080, 120), "mazes", 300, 84, 20, (0.4, 0.4, 0.1), MAZE),
}

# Options of `gqn.data.sources.source` that only some families support, by family.
ABILITIES = {"rooms": {"max_objects", "hold_out"}, "mazes": {"query"}}


BESIDE = "dataset.toml"
KEYS: dict[str, type] = {
    "name": str,  # of the dataset
    "fov": float,  # full angle across the square images, in degrees
    "views": int,  # of each scene, at least
    "size": int,  # side of the images in pixels
    "region": list,  # half extents (x, y, z) of the box around the origin that contains a scene
    "clockwise": bool,  # whether yaw turns clockwise, seen from above; false if missing
    "unit": float,  # a unit of camera positions, in units of the scenes; 1 if missing
    "eye": float,  # height of the eye where z is 0, in units of the scenes; 0 if missing
    "orbit": list,  # radius and z of a circle around the middle, for cameras that look inward; else missing
}
NEEDED = ("name", "fov", "views", "size", "region")


def spec(name: str, data: Path | str | None = None) -> DatasetSpec:
    """What is known of a dataset; of one's own, from the file beside its scenes in the folder `data`.

    Raises BadInput, suggesting the nearest name, if it is unknown, and if that file is damaged.
    """
    if name in DATASETS:
        return DATASETS[name]
    return described(beside(str(name), data), f"the {BESIDE} of {name}")


def beside(name: str, data: Path | str | None) -> dict[str, Any]:
    """What the file beside scenes of one's own says, in `data`/`name` or `data`. BadInput if there is none."""
    unknown = lookup.unknown("dataset", name, DATASETS)
    way = (
        f"A dataset of your own needs `data`, a folder with {name}/{BESIDE}; gqn data import makes one of photographs."
    )
    if not data:
        raise BadInput(f"{unknown} {way}")
    if not Path(data).is_dir():
        raise BadInput(f"there is no folder {data} with {name}, a dataset of your own: `data` says where it is now")
    for path in (Path(data) / name / BESIDE, Path(data) / BESIDE):
        if not path.exists():
            continue
        with reading.named(path):
            found = tomllib.loads(reading.text(path))
        described(found, str(path))
        if found["name"] != name:
            raise BadInput(f"{path} is of the dataset {found['name']}, and not of {name}")
        return found
    raise BadInput(f"{unknown} There is no {BESIDE} in {data} or {Path(data) / name}. {way}")


def as_toml(values: Mapping[str, Any]) -> str:
    """The text of a `dataset.toml` that says these values."""
    return "".join(f"{key} = {json.dumps(values[key])}\n" for key in KEYS if key in values)  # JSON of such is TOML


def described(values: Mapping[str, Any], where: str) -> DatasetSpec:
    """The dataset that a `dataset.toml` describes; a BadInput about it names `where` it comes from."""
    for key, value in values.items():
        if key not in KEYS:
            raise BadInput(f"{where}: {lookup.unknown('key', key, KEYS)}")
        kind = KEYS[key]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise BadInput(f"{where}: {key} must be a {kind.__name__}, not {value!r}")
    if missing := [key for key in NEEDED if key not in values]:
        raise BadInput(f"{where}: {missing[0]} is missing")
    lengths = {
        key: _lengths(values[key], n, f"{where}: {key}") for key, n in (("region", 3), ("orbit", 2)) if key in values
    }
    fov, unit, eye = (float(values.get(key, default)) for key, default in (("fov", 0), ("unit", 1), ("eye", 0)))
    if not 0 < fov < 180:
        raise BadInput(f"{where}: fov is between 0 and 180 degrees, not {fov}")
    if not (0 < unit < math.inf and math.isfinite(eye)):
        raise BadInput(f"{where}: unit must be positive, and eye a height, not {unit} and {eye}")
    if min(lengths["region"]) <= 0 or lengths.get("orbit", [1])[0] <= 0:
        raise BadInput(f"{where}: region holds three half extents, and orbit a radius and z: give positive lengths")
    if values["views"] < 2:
        raise BadInput(f"{where}: a scene needs at least 2 views, not {values['views']}")
    check_size(values["size"])
    return DatasetSpec(
        files=(0, 0),
        family="",
        num_views=values["views"],
        image_size=values["size"],
        max_context=values["views"] - 1,
        region=(lengths["region"][0], lengths["region"][1], lengths["region"][2]),
        filmed=Filmed(fov, values.get("clockwise", False), unit, eye),
        options={"circle": tuple(lengths["orbit"])} if "orbit" in lengths else {},
    )


def _lengths(value: list[Any], count: int, where: str) -> list[float]:
    good = len(value) == count and all(type(x) in (int, float) and math.isfinite(x) for x in value)
    if not good:
        raise BadInput(f"{where} must be {count} numbers, not {value!r}")
    return [float(x) for x in value]


def check_size(image_size: int) -> None:
    """BadInput if images cannot have this side, in pixels: representations have a quarter of it."""
    if image_size < 16 or image_size % 4:
        raise BadInput(f"`image_size` must be a multiple of 4, at least 16, not {image_size}")


def check(name: str, row: DatasetSpec, query: str, max_objects: int, hold_out: bool) -> None:
    """Raise BadInput if the dataset's family does not support these options of `gqn.data.sources.source`."""
    can = ABILITIES.get(row.family, set())
    for option, asked, what in (
        ("query", query == "overhead", "overhead view"),
        ("max_objects", max_objects, "varying number of objects"),
        ("hold_out", hold_out, "documented hold-out"),
    ):
        if asked and option not in can:
            raise BadInput(f"{name} has no {what}: leave `{option}` away")

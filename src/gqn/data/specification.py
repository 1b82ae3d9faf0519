"""The seven released datasets (github.com/google-deepmind/gqn-datasets) as a table."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gqn.errors import BadInput
from gqn.runtime import lookup

if TYPE_CHECKING:
    from torch import Tensor

    from gqn.views import Cameras, Convention


@dataclass(frozen=True)
class Filmed:
    """How a dataset's scenes are filmed, and what the numbers of its camera poses mean."""

    fov: float  # degrees
    clockwise: bool  # whether yaw turns clockwise, seen from above
    unit: float  # a unit of camera positions, in units of the family's scenes: metres, for rooms
    eye: float = 0.0  # height of the eye where z is 0, in units of the family's scenes

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
    """One released dataset: what its files hold, and the scene family that renders scenes of the same kind."""

    files: tuple[int, int]  # number of files: training split, test split
    family: str  # module in gqn.scenes
    num_views: int  # per scene
    image_size: int  # side in pixels
    max_context: int  # the paper's maximum number of context views
    region: tuple[float, float, float]  # half extents (x, y, z) of the box around the origin that contains the scene
    filmed: "Filmed"
    options: dict[str, Any] = field(default_factory=dict)  # arguments of the family's class


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


def spec(name: str) -> DatasetSpec:
    """The row of a dataset. Raises BadInput, suggesting the nearest name, if it is unknown."""
    if name not in DATASETS:
        raise BadInput(lookup.unknown("dataset", str(name), DATASETS))
    return DATASETS[name]


def check_size(image_size: int) -> None:
    """BadInput if images cannot have this side, in pixels: representations have a quarter of it."""
    if image_size < 16 or image_size % 4:
        raise BadInput(f"`image_size` must be a multiple of 4, at least 16, not {image_size}")


def check(name: str, query: str, max_objects: int, hold_out: bool) -> None:
    """Raise BadInput if the dataset's family does not support these options of `gqn.data.sources.source`."""
    can = ABILITIES.get(spec(name).family, set())
    for option, asked, what in (
        ("query", query == "overhead", "overhead view"),
        ("max_objects", max_objects, "varying number of objects"),
        ("hold_out", hold_out, "documented hold-out"),
    ):
        if asked and option not in can:
            raise BadInput(f"{name} has no {what}: leave `{option}` away")

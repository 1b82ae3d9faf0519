"""The seven released datasets (github.com/google-deepmind/gqn-datasets) as a table."""

from dataclasses import dataclass, field
from typing import Any

from gqn.errors import BadInput
from gqn.runtime import lookup


@dataclass(frozen=True)
class DatasetSpec:
    """One released dataset: what its files hold, and the scene family that renders scenes of the same kind."""

    files: tuple[int, int]  # number of files: training split, test split
    family: str  # module in gqn.scenes
    num_views: int  # per scene
    image_size: int  # side in pixels
    max_context: int  # the paper's maximum number of context views
    region: tuple[float, float, float]  # half extents (x, y, z) of the box around the origin that contains the scene
    options: dict[str, Any] = field(default_factory=dict)  # arguments of the family's class


BUCKET = "gs://gqn-dataset"  # public; files are at <dataset>/<split>/<i>-of-<n>.tfrecord
ROOM = (1.0, 1.0, 0.6)  # `region` of the rooms, in the units of camera positions

DATASETS = {
    "shepard_metzler_5_parts": DatasetSpec((900, 100), "shepard_metzler", 15, 64, 14, (5 / 12,) * 3, {"parts": 5}),
    "shepard_metzler_7_parts": DatasetSpec((900, 100), "shepard_metzler", 15, 64, 14, (7 / 12,) * 3, {"parts": 7}),
    "rooms_ring_camera": DatasetSpec((2160, 240), "rooms", 10, 64, 5, ROOM, {"camera": "ring"}),
    "rooms_free_camera_no_object_rotations": DatasetSpec(
        (2160, 240), "rooms", 10, 64, 5, ROOM, {"camera": "free", "object_rotations": False}
    ),
    "rooms_free_camera_with_object_rotations": DatasetSpec((2034, 226), "rooms", 10, 128, 5, ROOM, {"camera": "free"}),
    "jaco": DatasetSpec((3600, 400), "jaco", 11, 64, 7, ROOM),
    "mazes": DatasetSpec((1080, 120), "mazes", 300, 84, 20, (1.0, 1.0, 0.3)),
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

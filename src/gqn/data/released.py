"""The seven released datasets (github.com/google-deepmind/gqn-datasets) as a table."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Released:
    """One released dataset: what is in its files, and which scene family renders its like."""

    files: tuple[int, int]  # of the training split, of the test split
    family: str  # file in gqn.scenes
    num_views: int  # of a scene
    image_size: int  # pixels of a side
    max_context: int  # the paper's maximum number of context views
    region: tuple[float, float, float]  # half extents of a box around the origin that holds the scene
    options: dict[str, Any] = field(default_factory=dict)  # of the family


BUCKET = "gs://gqn-dataset"  # public; files are at <dataset>/<split>/<i>-of-<n>.tfrecord
ROOM = (1.0, 1.0, 0.6)  # in units of a camera position

DATASETS = {
    "shepard_metzler_5_parts": Released((900, 100), "shepard_metzler", 15, 64, 14, (5 / 12,) * 3, {"parts": 5}),
    "shepard_metzler_7_parts": Released((900, 100), "shepard_metzler", 15, 64, 14, (7 / 12,) * 3, {"parts": 7}),
    "rooms_ring_camera": Released((2160, 240), "rooms", 10, 64, 5, ROOM, {"camera": "ring"}),
    "rooms_free_camera_no_object_rotations": Released(
        (2160, 240), "rooms", 10, 64, 5, ROOM, {"camera": "free", "object_rotations": False}
    ),
    "rooms_free_camera_with_object_rotations": Released((2034, 226), "rooms", 10, 128, 5, ROOM, {"camera": "free"}),
    "jaco": Released((3600, 400), "jaco", 11, 64, 7, ROOM),
    "mazes": Released((1080, 120), "mazes", 300, 84, 20, (1.0, 1.0, 0.3)),
}

"""Shepard-Metzler objects: chains of coloured cubes on black, as in `shepard_metzler_5_parts` and `_7_parts`.

All constants were fitted to genuine released frames; re-rendered with them, after the same JPEG coding, these frames
match at a PSNR of 44 dB.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.scenes import raycast
from gqn.views import CLOCKWISE, Cameras, Convention, Views

RADIUS = 10 / 3  # of the sphere on which the cameras lie
EDGE = 0.1678  # side of a cube
LIFT = -0.0212  # height of the bounding box's centre
FOV = 20.15  # degrees
PITCH = 49 * math.pi / 100  # largest absolute pitch of a camera
SHIFT = (-0.041, 0.027)  # of the principal point, right and down, in 64ths of the image
NATIVE = 64  # pixels; released frames have this size and are not antialiased
SUN = 1e4  # coordinate of a far lamp in direction (1, 1, 1)
LIGHT = raycast.Light(
    ambient=0.3,
    headlight=0.299,
    lamp=0.337 * math.sqrt(3),
    white=0.152,
    spot=0,
    at=(SUN, SUN, SUN),
)


@dataclass(frozen=True)
class Scene:
    """One object: axis-aligned cubes, in the world coordinates of the released cameras, which look at the origin."""

    centres: NDArray[np.float64]  # (N, 3), in the order of the chain
    colours: NDArray[np.float64]  # (N, 3): albedo, RGB in [0, 1]
    edge: float = EDGE
    light: raycast.Light = LIGHT
    shift: tuple[float, float] = SHIFT


@dataclass(frozen=True)
class Family:
    """Random chains of `parts` cubes, each of a random saturated hue."""

    parts: int = 5
    fov: float = FOV
    convention: Convention = CLOCKWISE
    unit: float = 1.0
    motion: ClassVar[str] = "sphere"

    def sample(self, rng: np.random.Generator) -> Scene:
        """A self-avoiding random walk on a lattice, centred by its bounding box; hues are uniform and independent."""
        lattice = np.array(_walk(rng, self.parts), float)
        centres = (lattice - (lattice.min(0) + lattice.max(0)) / 2) * EDGE
        centres[:, 2] += LIFT
        return Scene(centres, raycast.hsv(rng.random(self.parts)))

    def cameras(self, rng: np.random.Generator, scene: Scene, k: int) -> Cameras:
        """Cameras on a sphere, looking at the origin; yaw and pitch uniform on the released grid."""
        yaw = rng.integers(0, 100, k) * (2 * math.pi / 100)
        pitch = rng.integers(-49, 50, k) * (math.pi / 100)
        return self.sphere(yaw, pitch)

    def allowed(self, scene: Scene | None, cameras: Cameras) -> Cameras:
        """Cameras (K,) on the sphere with the same yaw, and the same pitch limited to that of released cameras."""
        yaw, pitch = cameras.pose[:, 3:].double().numpy().T
        return self.sphere(yaw, pitch.clip(-PITCH, PITCH))

    def orbit(self, scene: Scene | None, k: int) -> Cameras:
        """Cameras (K,) on a circle around the object, slightly above it."""
        return self.sphere(np.linspace(0, 2 * math.pi, k, endpoint=False), np.full(k, -0.3))

    def sphere(self, yaw: NDArray[np.floating], pitch: NDArray[np.floating]) -> Cameras:
        """Cameras (K,) on the sphere, looking at the origin along `yaw` and `pitch`."""
        x, y = self.convention.along(yaw)
        forward = (x * np.cos(pitch), y * np.cos(pitch), np.sin(pitch))
        pose = np.stack([*(-RADIUS / self.unit * f for f in forward), yaw, pitch], -1)
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov, self.convention)

    def render(self, scene: Scene, cameras: Cameras, size: int = NATIVE, antialias: bool | None = None) -> Views:
        """Frames (K, 3, size, size) uint8; by default antialiased except at 64 pixels, like the released frames."""
        antialias = size != NATIVE if antialias is None else antialias
        frames = raycast.render(_world(scene), cameras, size, self.unit, antialias, shift=_shift(scene, size))
        return Views(torch.from_numpy(frames), cameras)

    def inspect(
        self, scene: Scene, cameras: Cameras, size: int = NATIVE
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth along the camera axis (inf: background) and index of the cube (-1: background), each (K, h, w)."""
        return raycast.inspect(_world(scene), cameras, size, self.unit, _shift(scene, size))

    def factors(self, scene: Scene) -> dict[str, Any]:
        """`colours` (N, 3) in [0, 1]; `lattice` (N, 3): integer places of the cubes relative to the first."""
        lattice = np.rint((scene.centres - scene.centres[0]) / scene.edge).astype(int)
        return {"colours": scene.colours, "lattice": lattice}


def from_description(description: dict[str, Any]) -> Scene:
    """The scene of a fitted description: `edge`, `centres`, `colours`, and optionally `renderer`.

    Lengths are in world units of the released cameras, colours are albedo in [0, 1]. `renderer` may hold
    `ambient`, `headlight_diffuse`, `light_direction_towards`, `light_gain_per_lit_face`,
    `white_added_on_lit_faces` and `principal_point_shift_px` (`x`, `y_down`, at 64 pixels); missing values
    are those of sampled scenes.
    """
    given = description.get("renderer", {})
    x, y, z = given.get("light_direction_towards", (3**-0.5, 3**-0.5, 3**-0.5))
    gain = given.get("light_gain_per_lit_face")
    light = raycast.Light(
        ambient=given.get("ambient", LIGHT.ambient),
        headlight=given.get("headlight_diffuse", LIGHT.headlight),
        lamp=LIGHT.lamp if gain is None else gain * 3 / (x + y + z),  # faces are axis-aligned, so n.l is x, y or z
        white=given.get("white_added_on_lit_faces", LIGHT.white),
        spot=0,
        at=(x * SUN, y * SUN, z * SUN),
    )
    shift = given.get("principal_point_shift_px", {"x": SHIFT[0], "y_down": SHIFT[1]})
    return Scene(
        np.array(description["centres"], float),
        np.array(description["colours"], float),
        description["edge"],
        light,
        (shift["x"], shift["y_down"]),
    )


def render_description(description: dict[str, Any], pose: Any, size: int = NATIVE) -> Views:
    """Render a fitted description from cameras (K, 5): x, y, z, yaw, pitch, as released."""
    fov = description.get("renderer", {}).get("fov_deg", FOV)
    cameras = Cameras(torch.tensor(np.asarray(pose, np.float32)), fov)
    return Family().render(from_description(description), cameras, size)


def _walk(rng: np.random.Generator, parts: int) -> list[tuple[int, int, int]]:
    """A self-avoiding walk: each step goes to a random free neighbour; starts again if there is none."""
    path = [(0, 0, 0)]
    while len(path) < parts:
        x, y, z = path[-1]
        around = [(x + 1, y, z), (x - 1, y, z), (x, y + 1, z), (x, y - 1, z), (x, y, z + 1), (x, y, z - 1)]
        free = [p for p in around if p not in path]
        path = [*path, free[rng.integers(len(free))]] if free else [(0, 0, 0)]
    return path


def _world(scene: Scene) -> raycast.World:
    n = len(scene.centres)
    cubes = raycast.Objects(
        shape=np.full(n, raycast.BOX),
        centre=scene.centres,
        axes=np.tile(np.eye(3), (n, 1, 1)),
        size=np.full((n, 3), scene.edge / 2),
        colour=scene.colours,
    )
    return raycast.World(cubes, raycast.no_grid(), scene.light, (0.0, 0.0, 0.0))


def _shift(scene: Scene, size: int) -> tuple[float, float]:
    return scene.shift[0] * size / 64, scene.shift[1] * size / 64

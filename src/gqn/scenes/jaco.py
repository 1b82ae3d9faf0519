"""A nine-joint robot arm and a ball in a room, as in the `jaco` dataset.

The room is that of the `rooms_*` datasets. The arm has the proportions of Kinova's Jaco, built of capsules
and cylinders. No genuine frame was available: the arm's scale, the ball's place and the cameras are guesses.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.scenes import raycast, textures
from gqn.views import Cameras, Convention, Views

HALF, HEIGHT = 3.5, 2.03  # of the room, in metres
FOV = 50.0  # degrees
GUESS = Convention(clockwise=False)
BLUR = 0.5  # sigma, pixels
DISTANCES, HEIGHTS = (2.6, 3.4), (0.6, 1.6)  # of the cameras: from the arm's axis, and above the floor; metres
SCALE = 2.0  # size of the arm relative to the real one
LIMITS = np.array(  # of the joint angles, radians
    [
        (-math.pi, math.pi),  # base, about the vertical
        (-1.2, 1.2),  # shoulder, from upright
        (-2.4, 2.4),  # elbow, from straight
        (-math.pi, math.pi),  # forearm, wrist and hand, each about its own axis
        (-math.pi, math.pi),
        (-math.pi, math.pi),
        *[(0.0, 1.0)] * 3,  # fingers, from open to closed
    ]
)
LINK, RING, FINGER = (0.22, 0.22, 0.24), (0.72, 0.72, 0.74), (0.36, 0.36, 0.38)  # colours


@dataclass(frozen=True)
class Scene:
    """An arm in the middle of a room, a ball, and a lamp overhead; in metres and radians, colours in [0, 1]."""

    joints: tuple[float, ...]  # nine, within LIMITS
    target: tuple[float, float, float]  # centre of the ball
    colour: tuple[float, float, float]  # of the ball
    lamp: tuple[float, float]  # x, y
    wall: str  # a key of textures.WALLS
    floor: str  # a key of textures.FLOORS
    radius: float = 0.2  # of the ball


@dataclass(frozen=True)
class Family:
    """Random postures of the arm, places and colours of the ball, walls and floors."""

    fov: float = FOV
    convention: Convention = GUESS
    unit: float = 3.5  # metres
    motion: ClassVar[str] = "around"

    def sample(self, rng: np.random.Generator) -> Scene:
        """A random scene: joint angles uniform in LIMITS, arm clear of floor and base, the ball clear of the arm."""
        while True:
            joints = rng.uniform(*LIMITS.T)
            ends = _arm(joints)[1]
            beyond = ends[3:]  # the parts after the elbow must not come near the base
            if ends[1:, 2].min() > 0.15 and np.hypot(beyond[:, 0], beyond[:, 1]).min() > 0.25:
                break
        while True:
            distance, angle = 1.5 * math.sqrt(rng.uniform(0.1, 1)), rng.uniform(0, 2 * math.pi)
            target = np.array([distance * math.cos(angle), distance * math.sin(angle), rng.uniform(0.2, 1.5)])
            if _clearance(target, ends) > 0.2 + 0.2:
                break
        colour = raycast.hsv(rng.random(), rng.uniform(0.6, 1), rng.uniform(0.8, 1))
        lamp = (rng.uniform(-HALF, HALF), rng.uniform(-HALF, HALF))
        return Scene(tuple(joints.tolist()), tuple(target.tolist()), tuple(colour.tolist()), lamp, *textures.room(rng))

    def cameras(self, rng: np.random.Generator, scene: Scene, k: int) -> Cameras:
        """Cameras around the arm, beyond its reach, that look at its middle."""
        yaw, distance = rng.uniform(0, 2 * math.pi, k), rng.uniform(*DISTANCES, k)
        return self.around(yaw, distance, rng.uniform(*HEIGHTS, k))

    def allowed(self, scene: Scene | None, cameras: Cameras) -> Cameras:
        """Cameras (K,) with the same yaw, at the nearest distance and height that `cameras` uses."""
        x, y, z, yaw, _ = cameras.pose.double().numpy().T
        return self.around(yaw, (np.hypot(x, y) * self.unit).clip(*DISTANCES), (z * self.unit).clip(*HEIGHTS))

    def orbit(self, scene: Scene | None, k: int) -> Cameras:
        """Cameras (K,) on a circle around the arm, at the middle of DISTANCES and HEIGHTS."""
        return self.around(np.linspace(0, 2 * math.pi, k, endpoint=False), np.full(k, 3.0), np.full(k, 1.1))

    def around(
        self, yaw: NDArray[np.floating], distance: NDArray[np.floating], height: NDArray[np.floating]
    ) -> Cameras:
        """Cameras (K,) that look at the arm's middle from a horizontal distance and a height, in metres."""
        pitch, (x, y) = np.arctan2(0.8 - height, distance), self.convention.along(yaw)
        pose = np.stack([-distance * x, -distance * y, height, yaw, pitch], -1)
        pose[:, :3] /= self.unit
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov, self.convention)

    def render(self, scene: Scene, cameras: Cameras, size: int = 64, antialias: bool | None = None) -> Views:
        """Frames (K, 3, size, size) uint8; antialiased and slightly blurred unless `antialias` is False."""
        antialias = antialias is not False
        blur = BLUR if antialias else 0.0
        frames = raycast.render(_world(scene), cameras, size, self.unit, antialias, blur)
        return Views(torch.from_numpy(frames), cameras)

    def inspect(self, scene: Scene, cameras: Cameras, size: int = 64) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth along the camera axis, in the units of camera positions (inf: sky), and ids; each (K, h, w).

        Ids are those of `gqn.scenes.raycast`; object 0 is the ball, the others are parts of the arm.
        """
        return raycast.inspect(_world(scene), cameras, size, self.unit)

    def factors(self, scene: Scene) -> dict[str, Any]:
        """Joint angles, place and colour of the ball, place of the lamp, names of the wall and floor."""
        return {
            "joints": scene.joints,
            "target": scene.target,
            "colour": scene.colour,
            "lamp": scene.lamp,
            "wall": scene.wall,
            "floor": scene.floor,
        }


def _about_y(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


BEND = math.radians(55)  # angle of each of the wrist's two curved links
Solid = tuple[int, NDArray[np.float64], NDArray[np.float64], tuple[float, float, float], tuple[float, float, float]]


def _arm(joints: Any) -> tuple[list[Solid], NDArray[np.float64]]:
    """Forward kinematics: solids (shape, centre, axes as columns, half-sizes, colour) and the ends of the links.

    Each link's frame is the one before it turned by the joint between them; the link lies along its z axis.
    """
    turns = [  # rotation, length, radius
        (_about_z(joints[0]), 0.2755, 0.052),
        (_about_y(joints[1]), 0.41, 0.042),
        (_about_y(joints[2]), 0.21, 0.038),
        (_about_z(joints[3]) @ _about_y(BEND), 0.08, 0.036),
        (_about_z(joints[4]) @ _about_y(-BEND), 0.08, 0.036),
        (_about_z(joints[5]), 0.12, 0.042),
    ]
    at, frame = np.zeros(3), np.eye(3)
    ends = [at]
    solids: list[Solid] = [(raycast.CYLINDER, np.array([0, 0, 0.03 * SCALE]), frame, _sizes(0.09, 0.03), RING)]
    for rotation, length, radius in turns:
        frame = frame @ rotation
        if len(ends) > 1:  # a ring around the joint
            solids.append((raycast.CYLINDER, at, frame, _sizes(radius + 0.008, 0.02), RING))
        solids.append(_link(at, frame, length, radius, LINK))
        at = at + frame[:, 2] * length * SCALE
        ends.append(at)
    for finger in range(3):
        side = frame @ _about_z(finger * 2 * math.pi / 3)
        knuckle = at + side[:, 0] * 0.03 * SCALE
        for bend in (0.6 - 0.7 * joints[6 + finger], -0.5 - 0.5 * joints[6 + finger]):
            side = side @ _about_y(bend)
            solids.append(_link(knuckle, side, 0.055, 0.016, FINGER))
            knuckle = knuckle + side[:, 2] * 0.055 * SCALE
        ends.append(knuckle)
    return solids, np.array(ends)


def _link(at: NDArray[np.float64], frame: NDArray[np.float64], length: float, radius: float, colour: Any) -> Solid:
    return (
        raycast.CAPSULE,
        at + frame[:, 2] * length / 2 * SCALE,
        frame,
        _sizes(radius, length / 2 + radius),
        colour,
    )


def _sizes(radius: float, half: float) -> tuple[float, float, float]:
    return radius * SCALE, radius * SCALE, half * SCALE


def _clearance(point: NDArray[np.float64], ends: NDArray[np.float64]) -> float:
    """Distance from a point to the axis of the arm or to the nearest fingertip."""
    a, b = ends[:6], ends[1:7]
    along = np.clip(((point - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(1), 0, 1)[:, None]
    to_links = np.linalg.norm(a + along * (b - a) - point, axis=1).min()
    return min(to_links, np.linalg.norm(ends[7:] - point, axis=1).min())


def _world(scene: Scene) -> raycast.World:
    ball = (raycast.SPHERE, np.array(scene.target), np.eye(3), (scene.radius,) * 3, scene.colour)
    shape, centre, frame, size, colour = zip(ball, *_arm(scene.joints)[0], strict=True)
    objects = raycast.Objects(
        np.array(shape),
        np.array(centre),
        np.ascontiguousarray(np.array(frame).transpose(0, 2, 1)),
        np.array(size),
        np.array(colour),
    )
    light = raycast.Light(0.357, 0.645, 1.0, 0.0, 10, (*scene.lamp, 7.4))  # as measured in rooms
    grid = textures.walled_square(scene.wall, scene.floor, HALF, HEIGHT)
    return raycast.World(objects, grid, light, textures.SKY)

"""Rooms: one to three coloured solids on the floor of a square room, as in the three `rooms_*` datasets.

Sizes, colours, light and the ring's cameras were measured on genuine frames of the released data; guesses are marked as
such. Scenes and descriptions are in metres; camera positions are in released units, with z 0 at eye height.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.scenes import raycast, textures
from gqn.views import Cameras, Convention, Views

HALF = 3.5  # metres from the centre to a wall
HEIGHT = 2.011  # of the walls, metres; so are the lengths below
EYE = 0.76  # height of the cameras
RADIUS = 3.5  # of the ring of cameras, which touches the walls
RING = Convention(clockwise=False, eye=EYE / RADIUS)  # in units of the radius
FREE = 3.3  # largest |x| and |y| of a free camera
NEAR = 0.35  # least distance of a free camera from an object
AIM = 2.0  # a free camera looks at a point with |x| and |y| below this; a guess: all ten genuine views look inwards
ORBIT = 3.0  # radius of `Family.orbit` for free cameras, within the walls
FOV = 50.0  # degrees
BLUR = 0.5  # sigma, pixels

SHAPES = {
    "box": raycast.BOX,
    "sphere": raycast.SPHERE,
    "cylinder": raycast.CYLINDER,
    "capsule": raycast.CAPSULE,
    "cone": raycast.CONE,
    "icosahedron": raycast.ICOSAHEDRON,
    "triangle": raycast.TRIANGLE,
}
TRIANGLE = 1.28  # height of a triangle
DEPTH = 0.24  # half the depth of a triangle

HELD_OUT = {shape: i / len(SHAPES) for i, shape in enumerate(SHAPES)}
"""The hold-out: with each shape, one seventh of the hue circle is left out, starting at this hue.

Every shape and every hue still occurs in training, but not these combinations.
"""


@dataclass(frozen=True)
class Object:
    """A solid on the floor."""

    shape: str  # a key of SHAPES
    place: tuple[float, float]  # x, y of its centre
    size: tuple[float, float, float]  # half-widths along its own x and y axes, and full height
    yaw: float  # about the vertical, anticlockwise from above, radians
    colour: tuple[float, float, float]  # albedo, RGB in [0, 1]

    @property
    def radius(self) -> float:
        """Radius of an upright cylinder that contains the object."""
        return math.hypot(*self.size[:2]) if self.shape == "box" else max(self.size[:2])


@dataclass(frozen=True)
class Light:
    """A headlight along the camera axis and a lamp above the room that shines straight down; see `raycast.Light`."""

    lamp: tuple[float, float]  # x, y
    height: float = 7.4
    spot: int = 10  # exponent of the cosine off the vertical
    ambient: float = 0.357
    headlight: float = 0.645
    strength: float = 1.0


@dataclass(frozen=True)
class Scene:
    """A room; use `dataclasses.replace` to change it."""

    objects: tuple[Object, ...]
    light: Light
    wall: str = "red"  # a key of textures.WALLS: its pattern and albedo
    floor: str = "white"  # a key of textures.FLOORS
    wall_albedo: tuple[float, float, float] | None = None  # replaces the albedo of `wall`
    floor_albedo: tuple[float, float, float] | None = None  # replaces the albedo of `floor`
    half: float = HALF
    height: float = HEIGHT
    sky: tuple[float, float, float] = textures.SKY


@dataclass(frozen=True)
class Family:
    """Random rooms.

    The default is `rooms_ring_camera`; the free-camera datasets have camera="free", with or without
    object_rotations.
    """

    camera: Literal["ring", "free"] = "ring"
    object_rotations: bool = True  # about the vertical
    max_objects: int = 3
    hold_out: bool = False  # leave out the combinations of shape and hue in HELD_OUT
    only_held_out: bool = False  # use only these combinations
    fov: float = FOV
    convention: Convention = RING
    unit: float = RADIUS  # metres

    @property
    def motion(self) -> str:
        """As in `gqn.scenes.Family`: "ring" or "walk"."""
        return "ring" if self.camera == "ring" else "walk"

    def sample(self, rng: np.random.Generator) -> Scene:
        """A random room: 1 to `max_objects` objects that do not touch, any wall and floor, the lamp anywhere above."""
        shapes = list(SHAPES)
        objects: list[Object] = []
        for _ in range(rng.integers(1, 1 + self.max_objects)):
            shape = shapes[rng.integers(len(shapes))]
            hue, saturation, value = rng.random(), rng.uniform(0.6, 1), rng.uniform(0.8, 1)
            if self.only_held_out:
                hue = HELD_OUT[shape] + hue / len(shapes)
            elif self.hold_out:
                hue = HELD_OUT[shape] + 1 / len(shapes) + hue * (1 - 1 / len(shapes))
            colour = tuple(raycast.hsv(np.array(hue % 1), saturation, value).tolist())
            yaw = rng.uniform(0, 2 * math.pi) if self.object_rotations else 0.0
            candidate = Object(shape, (0.0, 0.0), _size(rng, shape), yaw, colour)
            while True:
                candidate = replace(candidate, place=(rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5)))
                if math.hypot(*candidate.place) < 1.8 and not any(_touch(candidate, o) for o in objects):
                    break
            objects.append(candidate)
        lamp = (rng.uniform(-HALF, HALF), rng.uniform(-HALF, HALF))
        return Scene(tuple(objects), Light(lamp), *textures.room(rng))

    def cameras(self, rng: np.random.Generator, scene: Scene, k: int) -> Cameras:
        """Level cameras at eye height: on the ring and facing the centre, or free and clear of the objects."""
        if self.camera == "ring":
            return self.ring(rng.uniform(0, 2 * math.pi, k))
        pose = np.zeros((k, 5))
        for i in range(k):
            while True:  # not in or close to an object
                x, y = rng.uniform(-FREE, FREE, 2)
                if all(math.dist((x, y), o.place) > o.radius + NEAR for o in scene.objects):
                    break
            aim = rng.uniform(-AIM, AIM, 2)
            pose[i, :4] = x / self.unit, y / self.unit, 0, self.convention.yaw(aim[0] - x, aim[1] - y)
        return self._cameras(pose)

    def allowed(self, scene: Scene | None, cameras: Cameras) -> Cameras:
        """The nearest allowed cameras (K,): on the ring with the same yaw, or moved clear of walls and objects.

        The yaw of a free camera is limited so that it looks at a point within AIM. Objects are not avoided if the scene
        is unknown (None).
        """
        pose = cameras.pose.double().numpy()
        if self.camera == "ring":
            return self.ring(pose[:, 3])
        for i, (x, y, _, yaw, _) in enumerate(pose):
            place = np.clip((x * self.unit, y * self.unit), -FREE, FREE)
            place = _clear(place, scene.objects if scene else ())
            angle = _inward(place, math.atan2(*self.convention.along(yaw)[::-1]))
            pose[i] = *(place / self.unit), 0, self.convention.yaw(math.cos(angle), math.sin(angle)), 0
        return self._cameras(pose)

    def orbit(self, scene: Scene | None, k: int) -> Cameras:
        """Cameras (K,) on a circle, facing the centre: the ring or, for free cameras, a circle of radius ORBIT."""
        cameras = self.ring(np.linspace(0, 2 * math.pi, k, endpoint=False))
        if self.camera == "free":
            cameras.pose[:, :2] *= ORBIT / RADIUS
        return cameras

    def ring(self, yaw: NDArray[np.float64]) -> Cameras:
        """Cameras (K,) on the ring that face the centre, looking along `yaw`."""
        zero, (x, y) = np.zeros_like(yaw), self.convention.along(yaw)
        return self._cameras(np.stack([-RADIUS / self.unit * x, -RADIUS / self.unit * y, zero, yaw, zero], -1))

    def _cameras(self, pose: NDArray[np.float64]) -> Cameras:
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov, self.convention)

    def render(self, scene: Scene, cameras: Cameras, size: int = 64, antialias: bool | None = None) -> Views:
        """Frames (K, 3, size, size) uint8; antialiased and slightly blurred unless `antialias` is False."""
        antialias = antialias is not False
        blur = BLUR if antialias else 0.0
        frames = raycast.render(_world(scene), cameras, size, self.unit, antialias, blur)
        return Views(torch.from_numpy(frames), cameras)

    def inspect(self, scene: Scene, cameras: Cameras, size: int = 64) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth along the camera axis, in the units of camera positions (inf: sky), and ids; each (K, h, w).

        Ids are those of `gqn.scenes.raycast`: an object's index, or FLOOR, WALL, NOTHING.
        """
        return raycast.inspect(_world(scene), cameras, size, self.unit)

    def factors(self, scene: Scene) -> dict[str, Any]:
        """Names of wall and floor, place of the lamp, lists of the objects' shapes, places, sizes, yaws, colours."""
        return {
            "wall": scene.wall,
            "floor": scene.floor,
            "lamp": scene.light.lamp,
            "shapes": [o.shape for o in scene.objects],
            "places": [o.place for o in scene.objects],
            "sizes": [o.size for o in scene.objects],
            "yaws": [o.yaw for o in scene.objects],
            "colours": [o.colour for o in scene.objects],
        }


def from_description(description: dict[str, Any]) -> Scene:
    """The scene of a fitted description: metres, radians, albedo in [0, 1], origin in the middle of the floor.

    - `objects`: a list of {`shape`: one of SHAPES, `place`: [x, y], `size`: [half-width, half-depth, full height]
      or a sphere's radius, `yaw`: 0 if missing, `colour`}
    - `lamp`: [x, y], or a dict of its `place` and any of the other fields of `Light`
    - optional: `wall` and `floor` (names in `textures`), `wall_albedo` and `floor_albedo` (to replace their albedo),
      `half_size` and `wall_height` of the room, `sky`
    """
    objects = []
    for o in description["objects"]:
        size = o["size"]
        if np.ndim(size) == 0:
            size = (size, size, 2 * size)
        objects.append(Object(o["shape"], tuple(o["place"]), tuple(size), o.get("yaw", 0.0), tuple(o["colour"])))
    lamp = description["lamp"]
    lamp = dict(lamp) if isinstance(lamp, dict) else {"place": lamp}
    scene = Scene(tuple(objects), Light(tuple(lamp.pop("place")), **lamp))
    names = {"half_size": "half", "wall_height": "height"}
    rest: dict[str, Any] = {
        names.get(key, key): value if np.ndim(value) == 0 else tuple(value)
        for key, value in description.items()
        if key not in ("objects", "lamp", "fov_deg")
    }
    return replace(scene, **rest)


def render_description(description: dict[str, Any], pose: Any, size: int = 64) -> Views:
    """Render a fitted description from poses (K, 5) of the ring, as released. Its `fov_deg` defaults to 50."""
    family = Family(fov=description.get("fov_deg", FOV))
    return family.render(from_description(description), family._cameras(np.asarray(pose)), size)


def _size(rng: np.random.Generator, shape: str) -> tuple[float, float, float]:
    """A random `Object.size`: fixed for cones, icosahedra, triangles; else a guess from the sizes in genuine frames."""
    if shape == "cone":
        return 0.39, 0.39, 0.8
    if shape == "icosahedron":
        return 0.5, 0.5, 1.0
    if shape == "triangle":
        return TRIANGLE / math.sqrt(3), DEPTH, TRIANGLE
    if shape == "sphere":
        radius = rng.uniform(0.1, 0.5)
        return radius, radius, 2 * radius
    if shape == "box":
        return rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5), rng.uniform(0.2, 1.5)
    radius = rng.uniform(0.1, 0.5)
    return radius, radius, rng.uniform(0.2, 1.5) if shape == "cylinder" else rng.uniform(radius, 1.5)


def _touch(a: Object, b: Object) -> bool:
    return math.dist(a.place, b.place) < a.radius + b.radius + 0.05


def _clear(place: NDArray[np.float64], objects: tuple[Object, ...]) -> NDArray[np.float64]:
    """The nearest place (x, y) at which a camera is far enough from all objects.

    It is the place itself, the nearest point on the edge of a disc around an object, or a crossing of two such edges.
    """
    discs = [(np.array(o.place), o.radius + NEAR + 1e-6) for o in objects]  # larger than the rounding error of float32

    def free(at: NDArray[np.float64]) -> bool:
        return all(math.dist(at, centre) > radius - 1e-9 for centre, radius in discs)

    if free(place):
        return place
    edges = []
    for i, (centre, radius) in enumerate(discs):
        away = place - centre if math.dist(place, centre) > 1e-9 else np.array((1.0, 0.0))
        edges.append(centre + away * radius / math.hypot(*away))
        for other, reach in discs[:i]:
            between = other - centre
            distance = math.hypot(*between)
            along = (distance**2 + radius**2 - reach**2) / (2 * distance)
            if abs(along) < radius:
                across = math.sqrt(radius**2 - along**2) * np.array((-between[1], between[0])) / distance
                edges += [centre + between * along / distance + side * across for side in (1, -1)]
    return min(filter(free, edges), key=lambda at: math.dist(at, place))


def _inward(place: NDArray[np.float64], angle: float) -> float:
    """The direction nearest to `angle` in which a camera at (x, y) looks at a point with |x| and |y| below AIM."""
    if np.abs(place).max() < AIM:
        return angle
    middle = math.atan2(-place[1], -place[0])
    corners = [_turn(math.atan2(y - place[1], x - place[0]) - middle) for x in (-AIM, AIM) for y in (-AIM, AIM)]
    return middle + min(max(_turn(angle - middle), min(corners)), max(corners))


def _turn(angle: float) -> float:
    """The same angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _world(scene: Scene) -> raycast.World:
    n = len(scene.objects)
    centre, size, axes = np.zeros((n, 3)), np.empty((n, 3)), np.zeros((n, 3, 3))
    for i, o in enumerate(scene.objects):
        a, b, height = o.size
        foot = a if o.shape == "capsule" else 0.0  # the lower dome of a capsule is below the floor
        size[i] = a, b, (height + foot) / 2
        centre[i] = *o.place, (height - foot) / 2
        c, s = math.cos(o.yaw), math.sin(o.yaw)
        axes[i] = (c, s, 0), (-s, c, 0), (0, 0, 1)
    shape = np.array([SHAPES[o.shape] for o in scene.objects], np.int64)
    colour = np.array([o.colour for o in scene.objects], float).reshape(n, 3)
    grid = textures.walled_square(scene.wall, scene.floor, scene.half, scene.height)
    grid = grid._replace(
        wall_colour=scene.wall_albedo or grid.wall_colour,
        floor_colour=scene.floor_albedo or grid.floor_colour,
    )
    light = scene.light
    lights = raycast.Light(light.ambient, light.headlight, light.strength, 0.0, light.spot, (*light.lamp, light.height))
    return raycast.World(raycast.Objects(shape, centre, axes, size, colour), grid, lights, scene.sky)

"""Mazes of 7x7 cells with rooms and corridors, seen from inside, as in the `mazes` dataset.

Plans, looks, light and the camera's walk were measured on genuine frames; the textures are our own, in the measured
colours. Scenes are in cells, and span -4..3 in x and in y; camera positions are in released units, each ten cells, with
z 0 at eye height.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.scenes import maze_looks, overlay, plans, raycast, walks
from gqn.scenes.plans import Room
from gqn.views import Cameras, Convention, Views

SIDE = plans.CELLS + 2  # cells per side, with the border of solid cells
CORNER = -5.0  # x and y at which the border begins
UNIT = 10.0  # cells per unit of a camera position
HEIGHT = 0.995  # of the walls, cells; so are the lengths below. 0.987 fits better standing, 1.0 walking
EYE = 0.506  # height of the cameras
FOV = 90.0  # degrees
FILMED = Convention(clockwise=False, eye=EYE / UNIT)
VIEWS = 300  # of a released scene: the camera's walk
SKY = (149 / 255, 224 / 255, 1.0)
LIGHT = raycast.Light(ambient=1.0, headlight=0.0, lamp=0.0, white=0.0, spot=0, at=(0.0, 0.0, 100.0))  # flat
ALTITUDE = 60.0  # height of the overhead camera


@dataclass(frozen=True)
class Scene:
    """A maze. Row 0 of the arrays lies at the smallest y, column 0 at the smallest x; the border is solid."""

    open: NDArray[np.bool_]  # (9, 9)
    wall: NDArray[np.int64]  # (9, 9): look of the walls around an open cell, and of a solid cell's top: a WALLS index
    floor: NDArray[np.int64]  # (9, 9): look of the floor: an index of `maze_looks.FLOORS`
    rooms: tuple[Room, ...]  # rows and columns are those of the arrays
    flat: bool = False  # whether walls and floors have their mean colours, without patterns
    sky: tuple[float, float, float] = SKY


@dataclass(frozen=True)
class Family:
    """Random mazes: one or two rooms of one look, and corridors of another, the same in all mazes."""

    overlay: bool = True  # draw the game's display over the views, as released
    fov: float = FOV
    convention: Convention = FILMED
    unit: float = UNIT  # cells
    motion: ClassVar[str] = "walk"

    def sample(self, rng: np.random.Generator) -> Scene:
        """A random plan, with a random wall and a random floor for its rooms."""
        cells, rooms = plans.plan(rng)
        wall, floor = (int(rng.integers(len(looks))) for looks in (maze_looks.WALLS, maze_looks.FLOORS))
        return _scene(cells, rooms, wall, floor)

    def cameras(self, rng: np.random.Generator, scene: Scene, k: int) -> Cameras:
        """Cameras of the walk of a released scene, in order; of K < 300 views, a random choice of the 300."""
        walk = walks.walk(rng, scene.open, max(k, VIEWS))
        return self._cameras(walk[np.sort(rng.choice(len(walk), k, replace=False))])

    def allowed(self, scene: Scene | None, cameras: Cameras) -> Cameras:
        """Level cameras (K,) at the nearest places clear of walls; outer walls only, if the maze is unknown (None)."""
        pose = cameras.pose.double().numpy().copy()
        asked = pose[:, None, :2] * self.unit - CORNER
        places = asked.clip(*_clear(scene))  # the nearest place in each rectangle, (K, R, 2)
        nearest = np.linalg.norm(places - asked, axis=2).argmin(1)
        pose[:, :2] = (places[np.arange(len(pose)), nearest] + CORNER) / self.unit
        pose[:, 2], pose[:, 4] = 0, 0
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov, self.convention)

    def orbit(self, scene: Scene, k: int) -> Cameras:
        """Cameras (K,) that turn on the spot in the middle of the first room."""
        row, column, rows, columns = scene.rooms[0]
        places = np.tile((column + columns / 2, row + rows / 2), (k, 1))
        return self._cameras(np.column_stack([places, np.linspace(0, 2 * math.pi, k, endpoint=False)]))

    def overhead(self, scene: Scene) -> Cameras:
        """The camera (1,) that sees the whole maze from straight above, as on a map: +x right, +y up."""
        middle = (CORNER + SIDE / 2) / self.unit
        height, yaw = ALTITUDE / self.unit - self.convention.eye, float(self.convention.yaw(0.0, 1.0))
        pose = torch.tensor([[middle, middle, height, yaw, -math.pi / 2]])
        return Cameras(pose, 2 * math.degrees(math.atan(SIDE / 2 / (ALTITUDE - HEIGHT))), self.convention)

    def _cameras(self, walk: NDArray[np.float64]) -> Cameras:
        """Cameras (K,) of x, y in cells of the arrays, and directions, (K, 3)."""
        pose = np.zeros((len(walk), 5))
        pose[:, :2] = (walk[:, :2] + CORNER) / self.unit
        pose[:, 3] = self.convention.yaw(np.cos(walk[:, 2]), np.sin(walk[:, 2]))
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov, self.convention)

    def render(self, scene: Scene, cameras: Cameras, size: int = 84, antialias: bool | None = None) -> Views:
        """Frames (K, 3, size, size) uint8; edges are not antialiased, as released, unless `antialias` is True.

        The game's display is drawn over the views of level cameras.
        """
        frames = raycast.render(_world(scene), cameras, size, self.unit, antialias is True)
        if self.overlay:
            level = cameras.pose[:, 4].numpy() == 0  # as all cameras are but those that look at the map
            frames[level] = overlay.drawn(frames[level])
        return Views(torch.from_numpy(frames), cameras)

    def inspect(self, scene: Scene, cameras: Cameras, size: int = 84) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth along the camera axis, in the units of camera positions (inf: sky), and ids; each (K, h, w).

        Ids are those of `gqn.scenes.raycast`: FLOOR, WALL, TOP, NOTHING.
        """
        return raycast.inspect(_world(scene), cameras, size, self.unit)

    def factors(self, scene: Scene) -> dict[str, Any]:
        """`open` (9, 9): whether a cell is free of wall; `rooms`; `wall` and `floor` (9, 9): as in `Scene`."""
        return {"open": scene.open, "rooms": scene.rooms, "wall": scene.wall, "floor": scene.floor}


def from_layout(layout: dict[str, Any], flat: bool = False) -> Scene:
    """The maze of a plan that was reconstructed from genuine frames.

    - `rows_from_top_y`: 7 strings of 7 characters, from the largest y down, "." for an open cell
    - `rooms`: a list of {`row_from_bottom`, `column`, `rows`, `columns`}, counted from 0
    - `room_wall` and `room_floor`: indices of `maze_looks.WALLS` and FLOORS

    With `flat`, walls and floors have their mean colours.
    """
    cells = np.array([[cell == "." for cell in row] for row in reversed(layout["rows_from_top_y"])])
    rooms = tuple((r["row_from_bottom"], r["column"], r["rows"], r["columns"]) for r in layout["rooms"])
    return _scene(cells, rooms, layout["room_wall"], layout["room_floor"], flat)


def _scene(
    cells: NDArray[np.bool_], rooms: tuple[Room, ...], room_wall: int, room_floor: int, flat: bool = False
) -> Scene:
    """The maze of a plan within its border; corridors have look 0."""
    rooms = tuple((row + 1, column + 1, rows, columns) for row, column, rows, columns in rooms)
    wall, floor = np.zeros((2, SIDE, SIDE), np.int64)
    for row, column, rows, columns in rooms:
        inside = np.s_[row : row + rows, column : column + columns]
        wall[inside], floor[inside] = room_wall, room_floor
    return Scene(np.pad(cells, 1), wall, floor, rooms, flat)


def _clear(scene: Scene | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where cameras may stand, as R rectangles: their smallest and largest x, y in cells of the arrays, each (R, 2).

    The square of side 2 NEAR around a camera touches a block of at most 2 x 2 cells. So each open block of 1 x 1, 1 x
    2, 2 x 1 or 2 x 2 cells, shrunk by NEAR, is a rectangle of allowed places.
    """
    if scene is None:
        return np.full((1, 2), 1 + walks.CLEAR), np.full((1, 2), SIDE - 1 - walks.CLEAR)
    blocks = [
        (column, row, column + columns, row + rows)
        for rows in (1, 2)
        for columns in (1, 2)
        for row in range(SIDE - rows + 1)
        for column in range(SIDE - columns + 1)
        if scene.open[row : row + rows, column : column + columns].all()
    ]
    return np.array(blocks)[:, :2] + walks.CLEAR, np.array(blocks)[:, 2:] - walks.CLEAR


NO_OBJECTS = raycast.Objects(
    np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 3, 3)), np.empty((0, 3)), np.empty((0, 3))
)


def _world(scene: Scene) -> raycast.World:
    def centred(cells: NDArray[Any], more: Any) -> NDArray[Any]:
        """With another row and column of border, (10, 10), so that the origin is in the middle."""
        return np.pad(cells, (0, 1), constant_values=more)

    grid = raycast.Grid(
        solid=centred(~scene.open, True),
        wall=centred(scene.wall, 0),
        floor=centred(scene.floor, 0) + len(maze_looks.WALLS),
        textures=maze_looks.textures(scene.flat),
        texels=1 if scene.flat else maze_looks.TEXELS,
        wall_colour=(1.0, 1.0, 1.0),
        floor_colour=(1.0, 1.0, 1.0),
        cell=1.0,
        height=HEIGHT,
        along_wall=1.0,
        on_floor=1.0,
        mirrored=True,
    )
    return raycast.World(NO_OBJECTS, grid, LIGHT, scene.sky)

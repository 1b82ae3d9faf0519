"""Mazes on a grid of 7x7 cells with one or two rooms, seen from inside, as in the `mazes` dataset.

A cell is one metre wide. The textures are not the released ones. No genuine frame was available: the field of view, the
heights of eye and walls, and the scale of camera positions are guesses based on DeepMind Lab's defaults.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.scenes import raycast, textures
from gqn.views import Cameras, Views

CELLS = 7  # per side, including the outer walls
UNIT = 3.5  # metres per unit of a camera position: the maze spans -1..1
HEIGHT = 1.0  # of the walls, metres
EYE = 0.5  # height of the cameras, metres
NEAR = 0.25  # least distance of a camera from a wall, metres
FOV = 90.0  # degrees
SKY = (0.53, 0.72, 0.92)
LIGHT = raycast.Light(ambient=0.55, headlight=0.15, lamp=0.45, white=0.0, spot=0, at=(4800.0, 3600.0, 8000.0))
ALTITUDE = 60.0  # height of the overhead camera, metres

Room = tuple[int, int, int, int]  # first row, first column, rows, columns


@dataclass(frozen=True)
class Scene:
    """A maze. Row 0 of the arrays lies at the smallest y, column 0 at the smallest x."""

    wall: NDArray[np.int64]  # (7, 7): texture of each wall cell; raycast.OPEN where there is no wall
    floor: NDArray[np.int64]  # (7, 7): texture of each cell's floor
    rooms: tuple[Room, ...]
    light: raycast.Light = LIGHT
    sky: tuple[float, float, float] = SKY


@dataclass(frozen=True)
class Family:
    """Random mazes: corridors that connect all odd cells, and one or two rooms, each with its own textures."""

    fov: ClassVar[float] = FOV
    motion: ClassVar[str] = "walk"

    def sample(self, rng: np.random.Generator) -> Scene:
        """A random maze: corridors form a random spanning tree over the odd cells, and rooms are cut into it."""
        open_ = np.zeros((CELLS, CELLS), bool)
        _carve(rng, open_, (1 + 2 * int(rng.integers(3)), 1 + 2 * int(rng.integers(3))))
        wall_style = rng.permutation(textures.MAZE_WALLS)
        floor_style = textures.MAZE_WALLS + rng.permutation(textures.MAZE_FLOORS)
        wall = np.full((CELLS, CELLS), wall_style[0])
        floor = np.full((CELLS, CELLS), floor_style[0])
        rooms: list[Room] = []
        for i in range(1, 1 + rng.integers(1, 3)):
            rows = columns = 3  # the first room lies in a corner, so that a smaller one fits beside it
            row, column = (1 + 2 * int(n) for n in rng.integers(2, size=2))
            while any(_overlap((row, column, rows, columns), other) for other in rooms):
                rows, columns = ((2, 2), (2, 3), (3, 2))[rng.integers(3)]
                row, column = int(rng.integers(1, CELLS - rows)), int(rng.integers(1, CELLS - columns))
            open_[row : row + rows, column : column + columns] = True
            floor[row : row + rows, column : column + columns] = floor_style[i]
            wall[row - 1 : row + rows + 1, column - 1 : column + columns + 1] = wall_style[i]
            rooms.append((row, column, rows, columns))
        wall[open_] = raycast.OPEN
        return Scene(wall, floor, tuple(rooms))

    def cameras(self, rng: np.random.Generator, scene: Scene, k: int) -> Cameras:
        """Level cameras at eye height, anywhere clear of the walls, with any yaw."""
        xy = np.empty((0, 2))
        while len(xy) < k:
            tries = rng.uniform(1, CELLS - 1, (4 * k, 2))  # x, y in cells
            corners = [tries + NEAR * np.array(d) for d in ((-1, -1), (-1, 1), (1, -1), (1, 1))]
            free = [scene.wall[c[:, 1].astype(int), c[:, 0].astype(int)] == raycast.OPEN for c in corners]
            xy = np.concatenate([xy, tries[np.all(free, 0)]])
        pose = np.zeros((k, 5))
        pose[:, :2] = (xy[:k] - CELLS / 2) / UNIT
        pose[:, 2] = EYE / UNIT
        pose[:, 3] = rng.uniform(0, 2 * math.pi, k)
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov)

    def allowed(self, scene: Scene | None, cameras: Cameras) -> Cameras:
        """Level cameras (K,) at the nearest places clear of walls; outer walls only, if the maze is unknown (None)."""
        pose = cameras.pose.double().numpy().copy()
        asked = pose[:, None, :2] * UNIT + CELLS / 2
        places = asked.clip(*_clear(scene))  # the nearest place in each rectangle, (K, R, 2)
        nearest = np.linalg.norm(places - asked, axis=2).argmin(1)
        pose[:, :2] = (places[np.arange(len(pose)), nearest] - CELLS / 2) / UNIT
        pose[:, 2], pose[:, 4] = EYE / UNIT, 0
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov)

    def orbit(self, scene: Scene, k: int) -> Cameras:
        """Cameras (K,) that turn on the spot in the middle of the first room."""
        row, column, rows, columns = scene.rooms[0]
        pose = np.zeros((k, 5))
        pose[:, :2] = (column + columns / 2 - CELLS / 2) / UNIT, (row + rows / 2 - CELLS / 2) / UNIT
        pose[:, 2] = EYE / UNIT
        pose[:, 3] = np.linspace(0, 2 * math.pi, k, endpoint=False)
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov)

    def overhead(self, scene: Scene) -> Cameras:
        """The camera (1,) that sees the whole maze from straight above, as on a map: +x right, +y up."""
        pose = torch.tensor([[0, 0, ALTITUDE / UNIT, -math.pi / 2, -math.pi / 2]])
        return Cameras(pose, 2 * math.degrees(math.atan(CELLS / 2 / (ALTITUDE - HEIGHT))))

    def render(self, scene: Scene, cameras: Cameras, size: int = 84, antialias: bool | None = None) -> Views:
        """Frames (K, 3, size, size) uint8; antialiased unless `antialias` is False."""
        frames = raycast.render(_world(scene), _metres(cameras), cameras.fov, size, antialias is not False)
        return Views(torch.from_numpy(frames), cameras)

    def inspect(self, scene: Scene, cameras: Cameras, size: int = 84) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth along the camera axis, in the units of camera positions (inf: sky), and ids; each (K, h, w).

        Ids are those of `gqn.scenes.raycast`: FLOOR, WALL, TOP, NOTHING.
        """
        depth, ids = raycast.inspect(_world(scene), _metres(cameras), cameras.fov, size)
        return depth / np.float32(UNIT), ids

    def factors(self, scene: Scene) -> dict[str, Any]:
        """`open` (7, 7): whether a cell is free of wall; `rooms`; `wall` and `floor` (7, 7): as in `Scene`."""
        return {
            "open": scene.wall == raycast.OPEN,
            "rooms": scene.rooms,
            "wall": scene.wall,
            "floor": scene.floor,
        }


def _clear(scene: Scene | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where cameras may stand, as R rectangles: their smallest and largest x, y in cells, each (R, 2).

    The square of side 2 NEAR around a camera touches a block of at most 2 x 2 cells. So each open block of 1 x 1, 1 x
    2, 2 x 1 or 2 x 2 cells, shrunk by NEAR, is a rectangle of allowed places.
    """
    if scene is None:
        return np.full((1, 2), 1 + NEAR), np.full((1, 2), CELLS - 1 - NEAR)
    open_ = scene.wall == raycast.OPEN
    blocks = [
        (column, row, column + columns, row + rows)
        for rows in (1, 2)
        for columns in (1, 2)
        for row in range(CELLS - rows + 1)
        for column in range(CELLS - columns + 1)
        if open_[row : row + rows, column : column + columns].all()
    ]
    margin = NEAR + 1e-6  # larger than the rounding error of float32
    return np.array(blocks)[:, :2] + margin, np.array(blocks)[:, 2:] - margin


def _carve(rng: np.random.Generator, open_: NDArray[np.bool_], cell: tuple[int, int]) -> None:
    """Open a cell, then, in random order, the way to each neighbouring odd cell that is still closed, recursively."""
    open_[cell] = True
    steps = ((2, 0), (-2, 0), (0, 2), (0, -2))
    for i in rng.permutation(4):
        row, column = cell[0] + steps[i][0], cell[1] + steps[i][1]
        if 0 < row < CELLS and 0 < column < CELLS and not open_[row, column]:
            open_[(cell[0] + row) // 2, (cell[1] + column) // 2] = True
            _carve(rng, open_, (row, column))


def _overlap(a: Room, b: Room) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


NO_OBJECTS = raycast.Objects(
    np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 3, 3)), np.empty((0, 3)), np.empty((0, 3))
)


def _metres(cameras: Cameras) -> NDArray[np.float32]:
    return cameras.pose.numpy() * np.array([UNIT, UNIT, UNIT, 1, 1], np.float32)


def _world(scene: Scene) -> raycast.World:
    grid = raycast.Grid(
        wall=scene.wall,
        floor=scene.floor,
        textures=textures.mazes(),
        wall_colour=(1.0, 1.0, 1.0),
        floor_colour=(1.0, 1.0, 1.0),
        cell=1.0,
        height=HEIGHT,
        along_wall=1.0,
        on_floor=0.5,
    )
    return raycast.World(NO_OBJECTS, grid, scene.light, scene.sky)

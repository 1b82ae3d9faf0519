"""How the camera of a maze moves: it turns on the spot, then wanders from cell to cell, as in genuine scenes.

The speeds, turns, inertia and distance from walls are measured. That the camera makes for one random cell after the
other, without much care, is a guess that gives walks alike: large rounds, with some dithering, along and past walls.
"""

import math

import numpy as np
from numpy.typing import NDArray

NEAR = 0.1612  # least distance from a wall along x or y, cells
CLEAR = NEAR + 1e-6  # more than the rounding error of float32
AROUND = 42  # views that turn on the spot: a full circle
STEP = 0.0768  # smallest turn, radians; a view turns by at most two
STRAY = 0.85  # standard deviation of the turns that do not lead to the aim, steps
PULL = 0.5  # the part of the angle to the aim that a view turns
MOST = 1.7  # steps that the aim turns a view by, at most
WIDE = 0.8  # looking so far aside of its aim, radians, the camera is pushed ahead by no more than
CREEP = 0.025  # cells per view
TRIES = 3  # to find a target that does not lie behind
TURN = 0.3  # probability that a view strays anew
WAYS = np.array(((1, 0), (0, 0), (-1, 0), (0, 1), (0, -1)))  # pushes: ahead and to the left
PUSHES = np.array((0.71, 0.14, 0.05, 0.05, 0.05))  # their shares
PUSH = 0.3  # probability of another push at each view
SPEED = 0.08  # that a push adds, cells per view
COAST = 0.65  # speed that is left after a view
STILL = 0.02  # slower than this, the camera stands

Cell = tuple[int, int]  # row, column


def walk(rng: np.random.Generator, free: NDArray[np.bool_], views: int) -> NDArray[np.float64]:
    """A walk over the free cells of a grid, whose border is not free: x, y in cells and direction, (views, 3).

    Cell (row, column) spans column..column + 1 in x and row..row + 1 in y. Directions are angles from x towards y.
    """
    at = free.tolist()
    cells = list(zip(*(i.tolist() for i in np.nonzero(free)), strict=True))
    targets = rng.integers(len(cells), size=TRIES * views + 1).tolist()
    row, column = cells[targets.pop()]
    x, y, angle = column + 0.5, row + 0.5, rng.uniform(0, 2 * math.pi)
    strays = rng.normal(0, STRAY, views)[_held(rng, TURN, views)].tolist()
    pushes = (SPEED * WAYS[rng.choice(len(WAYS), views, p=PUSHES)[_held(rng, PUSH, views)]]).tolist()
    speed_x = speed_y = off = 0.0  # off: the angle from the look to the aim
    way: dict[Cell, Cell] = {}
    walked = []
    for view in range(views):
        cos, sin = math.cos(angle), math.sin(angle)
        if view < AROUND:
            turn = 2 if view < AROUND - 1 else 0
        else:
            ahead, left = pushes[view]
            if abs(off) > WIDE:
                ahead = min(ahead, CREEP)
            speed_x, speed_y = COAST * speed_x + ahead * cos - left * sin, COAST * speed_y + ahead * sin + left * cos
            if speed_x * speed_x + speed_y * speed_y < STILL * STILL:
                speed_x = speed_y = 0.0
            x, speed_x = _slid(x, speed_x, [at[int(y - NEAR)], at[int(y + NEAR)]])
            columns = int(x - NEAR), int(x + NEAR)
            y, speed_y = _slid(y, speed_y, [[row[column] for row in at] for column in columns])
            here = int(y), int(x)
            if here not in way:
                for _ in range(TRIES):
                    way = _way(at, cells[targets.pop()])
                    row, column = way.get(here, here)
                    if (column + 0.5 - x) * cos + (row + 0.5 - y) * sin > 0.2:
                        break
            first = way.get(here, here)
            row, column = ((a + b) / 2 for a, b in zip(first, way.get(first, first), strict=True))
            off = math.atan2(row + 0.5 - y, column + 0.5 - x) - angle
            off = (off + math.pi) % (2 * math.pi) - math.pi
            turn = max(-2, min(2, round(max(-MOST, min(MOST, PULL * off / STEP)) + strays[view])))
        walked.append((x, y, angle))
        angle += STEP * turn
    return np.array(walked)


def _way(free: list[list[bool]], target: Cell) -> dict[Cell, Cell]:
    """The next cell on a shortest way to the target, from each cell but the target."""
    way = {target: target}
    queue = [target]
    for row, column in queue:
        for cell in ((row, column + 1), (row + 1, column), (row, column - 1), (row - 1, column)):
            if free[cell[0]][cell[1]] and cell not in way:
                way[cell] = (row, column)
                queue.append(cell)
    del way[target]
    return way


def _held(rng: np.random.Generator, change: float, views: int) -> NDArray[np.int64]:
    """For each view the number of the view at which its choice was made; a view makes one with a probability."""
    anew = rng.random(views) < change
    return np.maximum.accumulate(np.where(anew, np.arange(views), 0))


def _slid(place: float, speed: float, lines: list[list[bool]]) -> tuple[float, float]:
    """Where a step along a line of cells ends, and the speed that is left: none at a wall on either line."""
    edge = place + speed + math.copysign(CLEAR, speed)
    cell = int(edge)
    if not speed or all(line[cell] for line in lines):
        return place + speed, speed
    return (cell - CLEAR if speed > 0 else cell + 1 + CLEAR), 0.0

"""Plans of mazes: which of 7 x 7 cells are open, with one or two rooms and corridors that lead from room to room.

The rules were found by looking at the plans of genuine mazes, and give the shares that were counted there:

1. Nodes are the cells with both indices even. Two rooms of 3x3 (half of the tries), 3x5 or 5x3 cells are placed one
   after the other with their corners on nodes, anywhere that they do not touch. Where the first leaves no place for
   another, it mostly stays alone.
2. In each part of the plan that the rooms leave free, a random walk that backtracks joins all nodes by corridors.
3. Between any two of these rooms and parts that have but a wall cell between them, one such cell is opened at random,
   and each other one that is not beside it with a small probability.
4. Dead ends are filled until there are none. So a room alone is mostly closed.
"""

import numpy as np
from numpy.typing import NDArray

CELLS = 7
SIZES = ((3, 3), (3, 3), (3, 5), (5, 3))  # rows and columns of a room; equally likely
TRIES = 20  # for the second room
ALONE = 0.6  # probability that a room stays, if no other was found a place beside it
MORE = 0.055  # probability of another opening where one was made
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))

Room = tuple[int, int, int, int]  # first row, first column, rows, columns


def plan(rng: np.random.Generator) -> tuple[NDArray[np.bool_], tuple[Room, ...]]:
    """Random open cells (7, 7), and the one or two rooms among them; all that is open is connected."""
    part = np.full((CELLS + 2, CELLS + 2), -1)  # the room or free part of each open cell; with a border
    rooms = _rooms(rng)
    for i, (row, column, rows, columns) in enumerate(rooms):
        part[row + 1 : row + rows + 1, column + 1 : column + columns + 1] = i
    count = len(rooms)
    for node in np.ndindex(4, 4):
        row, column = 1 + 2 * node[0], 1 + 2 * node[1]
        if part[row, column] < 0:
            _carve(rng, part, row, column, count)
            count += 1
    _open_doors(rng, part)
    _fill_dead_ends(part, len(rooms))
    return part[1:-1, 1:-1] >= 0, tuple(rooms)


def _rooms(rng: np.random.Generator) -> tuple[Room, ...]:
    while True:
        first = _room(rng)
        for _ in range(TRIES):
            second = _room(rng)
            if any(
                abs(2 * (a - b) + m - n) > m + n
                for a, b, m, n in zip(first[:2], second[:2], first[2:], second[2:], strict=True)
            ):
                return first, second
        if rng.random() < ALONE:
            return (first,)


def _room(rng: np.random.Generator) -> Room:
    rows, columns = SIZES[rng.integers(len(SIZES))]
    row, column = (2 * int(rng.integers((CELLS - side) // 2 + 1)) for side in (rows, columns))
    return row, column, rows, columns


def _carve(rng: np.random.Generator, part: NDArray[np.int64], row: int, column: int, number: int) -> None:
    """Open a node, then, in random order, the way to each neighbouring node that is still closed, and so on."""
    part[row, column] = number
    for i in rng.permutation(4):
        down, right = STEPS[i]
        to = row + 2 * down, column + 2 * right
        if 0 < to[0] <= CELLS and 0 < to[1] <= CELLS and part[to] < 0:
            part[row + down, column + right] = number
            _carve(rng, part, *to, number)


def _open_doors(rng: np.random.Generator, part: NDArray[np.int64]) -> None:
    walls: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by the two parts that they divide
    for row, column in np.argwhere(part[1:-1, 1:-1] < 0) + 1:
        for a, b in ((part[row - 1, column], part[row + 1, column]), (part[row, column - 1], part[row, column + 1])):
            if a != b and min(a, b) >= 0:
                walls.setdefault((min(a, b), max(a, b)), []).append((row, column))
    door = part.max() + 1  # doors are a part of their own
    for cells in walls.values():
        part[cells[rng.integers(len(cells))]] = door
        for row, column in cells:
            beside = [part[row + down, column + right] for down, right in STEPS]
            if rng.random() < MORE and door not in beside:
                part[row, column] = door


def _fill_dead_ends(part: NDArray[np.int64], rooms: int) -> None:
    inside = part[1:-1, 1:-1]
    while True:
        free = part >= 0
        ways = free[2:, 1:-1] + 0 + free[:-2, 1:-1] + free[1:-1, 2:] + free[1:-1, :-2]
        ends = (inside >= rooms) & (ways < 2)
        if not ends.any():
            return
        inside[ends] = -1

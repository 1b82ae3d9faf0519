"""What is in released-format files, and whether it is whole: `gqn data info` and `gqn data verify`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from gqn.data import tfrecord
from gqn.data.stored import Stored, first_scene, frame, stored
from gqn.data.tasks import started
from gqn.errors import BadInput
from gqn.logs import Reporter, console
from gqn.stopping import leave_signals_to_the_parent

LOOKED_AT = 1000  # scenes whose cameras are read for their ranges
POSE = ("x", "y", "z", "yaw", "pitch")


@dataclass(frozen=True)
class Info:
    """What the files of one folder hold."""

    folder: Path
    files: int
    scenes: int
    bytes: int
    views: int  # of the first scene, as the next two
    size: int  # pixels of a frame's side
    low: NDArray[np.float32]  # (5,): of x, y, z, yaw, pitch, over scenes spread over the files
    high: NDArray[np.float32]
    frames: NDArray[np.uint8]  # (rows, columns, H, W, 3): views of a few scenes, spread likewise


def find(path: Path) -> dict[Path, list[Path]]:
    """The .tfrecord files at or below a path, by folder, train before test. Raises BadInput if there are none."""
    found: dict[Path, list[Path]] = {}
    paths = [path] if path.is_file() else sorted(path.rglob("*.tfrecord"))
    if not paths:
        raise BadInput(f"no .tfrecord files in {path}" if path.exists() else f"there is no {path}")
    for file in sorted(paths, key=lambda p: (p.parent.parent, p.parent.name != "train", p)):
        found.setdefault(file.parent, []).append(file)
    return found


def info(path: Path, rows: int = 6, columns: int = 9) -> list[Info]:
    """What the files at or below a path hold, folder by folder. Raises Damaged for a scene that it meets."""
    return [_info(folder, stored(paths), rows, columns) for folder, paths in find(path).items()]


def _info(folder: Path, scenes: Stored, rows: int, columns: int) -> Info:
    def spread(n: int) -> list[int]:
        return np.unique(np.linspace(0, len(scenes) - 1, n).round().astype(int)).tolist()

    cameras = np.concatenate([file.scene(record)[1] for file, record in map(scenes.place, spread(LOOKED_AT))])
    which = np.arange(min(columns, scenes.num_views))
    return Info(
        folder,
        files=len(scenes.files),
        scenes=len(scenes),
        bytes=sum(file.state[0] for file in scenes.files),
        views=scenes.stored_views,
        size=scenes.stored_size,
        low=cameras.min(0),
        high=cameras.max(0),
        frames=np.stack([scenes.views(i, which).frames.permute(0, 2, 3, 1).numpy() for i in spread(rows)]),
    )


def show(found: list[Info]) -> None:
    """Print what was found."""
    for i in found:
        ranges = "  ".join(f"{name} {a:.3f} to {b:.3f}" for name, a, b in zip(POSE, i.low, i.high, strict=True))
        console.print(str(i.folder), markup=False)
        console.print(
            f"  {i.files} file{'s' * (i.files > 1)}, {i.scenes} scenes of {i.views} views, "
            f"{i.size}x{i.size} pixels, {i.bytes / 1e6:.1f} MB"
        )
        console.print(f"  cameras of {min(i.scenes, LOOKED_AT)} scenes: {ranges}")


@dataclass(frozen=True)
class Verified:
    """What a check of one file found."""

    path: Path
    scenes: int  # that are whole
    damaged: list[str]  # one line for each that is not, and for a file that cannot be read on


def verify(path: Path, workers: int = 0) -> Iterator[Verified]:
    """Check the files at or below a path one by one: both checksums, JPEGs and counts of every record.

    All scenes of a folder must have as many views, and frames of the same size, as its first whole one.
    """
    for paths in find(path).values():
        loader = DataLoader(
            _Verified(paths, _expected(paths)),
            batch_size=None,
            num_workers=workers,
            worker_init_fn=leave_signals_to_the_parent,
        )
        yield from started(loader)


class _Verified(Dataset):
    def __init__(self, paths: list[Path], expected: tuple[int, int] | None):
        self.paths, self.expected = paths, expected

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Verified:
        return verify_file(self.paths[number], self.expected)


def verify_file(path: Path, expected: tuple[int, int] | None) -> Verified:
    """Check every record of a file, of `expected` views and pixels of a side."""
    damaged: list[str] = []
    try:
        file = tfrecord.scan(path, upto_damage=True)
    except BadInput as error:
        return Verified(path, 0, [str(error)])
    for record in range(len(file)):
        try:
            coded, _ = file.scene(record)
            if expected and len(coded) != expected[0]:
                raise file.damaged(record, f"it has {len(coded)} views, the first scene {expected[0]}")
            for k in range(len(coded)):
                frame(file, record, coded, k, expected[1] if expected else None)
        except BadInput as error:
            damaged.append(str(error))
    whole = len(file) - len(damaged)
    if len(file) == 0 or file.offsets[-1] < file.state[0]:
        try:
            tfrecord.scan(path)
        except BadInput as error:
            damaged.append(f"{error}; nothing after that can be read" if file.state[0] else str(error))
    return Verified(path, whole, damaged)


def _expected(paths: list[Path]) -> tuple[int, int] | None:
    for path in paths:
        try:
            _, _, (coded, _), size = first_scene([tfrecord.scan(path, upto_damage=True)])
            return len(coded), size
        except BadInput:
            continue
    return None


def verify_all(path: Path, workers: int = 0) -> int:
    """Check the files at or below a path, print what is damaged and a summary; how many records or files are."""
    files = sum(len(paths) for paths in find(path).values())
    scenes = damaged = 0
    with Reporter("verify", files, 0, "files") as report:
        for checked in verify(path, workers):
            scenes, damaged = scenes + checked.scenes, damaged + len(checked.damaged)
            for line in checked.damaged:
                console.print(line, markup=False)
            report.update(report.done + 1, f"{damaged} damaged" if damaged else "")
    console.print(f"{files} files: {scenes} whole scenes, {damaged or 'none'} damaged")
    return damaged

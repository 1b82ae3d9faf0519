"""`gqn data info` and `gqn data verify`: what files in the released format hold, and whether they are damaged."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gqn.data.files import tfrecord
from gqn.data.files.stored import Stored, frame, stored
from gqn.data.files.tfrecord import Damaged
from gqn.errors import BadInput
from gqn.runtime import content
from gqn.runtime.console import Reporter, say
from gqn.runtime.workers import made

LOOKED_AT = 1000  # at most so many scenes are read for the ranges of views, sizes and cameras
POSE = ("x", "y", "z", "yaw", "pitch")


@dataclass(frozen=True)
class Info:
    """What the files of one folder hold."""

    folder: Path
    files: int
    scenes: int
    bytes: int
    views: range  # fewest to most views per scene; this and the fields below come from scenes spread over the files
    sizes: range  # smallest to largest side of a scene's first frame, in pixels
    low: NDArray[np.float32]  # (5,): smallest x, y, z, yaw, pitch
    high: NDArray[np.float32]  # (5,): largest
    frames: NDArray[np.uint8]  # (rows, columns, H, W, 3): views of a few scenes


def find(path: Path) -> dict[Path, list[Path]]:
    """The scene files at or below a path, grouped by folder, train before test. Raises BadInput if there are none."""
    if path.is_file():
        return {path.parent: [path]}
    folders: dict[Path, list[str]] = {}
    for file in path.rglob("*"):
        if not any(part.startswith(".") for part in file.relative_to(path).parts):
            folders.setdefault(file.parent, []).append(file.name)
    order = sorted(folders, key=lambda folder: (folder.parent, folder.name != "train", folder))
    found = {folder: [folder / name for name in content.data_names(folders[folder])] for folder in order}
    if not any(found.values()):
        if not path.exists():
            raise BadInput(f"there is no {path}")
        full = next((folder for folder in order if any((folder / name).is_file() for name in folders[folder])), path)
        raise BadInput(f"no .tfrecord files in {path}; {content.listing(full)}")
    return {folder: files for folder, files in found.items() if files}


def info(path: Path, rows: int = 6, columns: int = 9) -> list[Info]:
    """What the files at or below a path hold, folder by folder.

    `rows` scenes and `columns` views of each are returned as frames. Raises Damaged if a file or a scene that it reads
    is damaged.
    """
    return [_info(folder, stored(paths), rows, columns) for folder, paths in find(path).items()]


def _info(folder: Path, scenes: Stored, rows: int, columns: int) -> Info:
    def spread(n: int) -> list[int]:
        return np.unique(np.linspace(0, len(scenes) - 1, n).round().astype(int)).tolist()

    shown = spread(rows)
    views, sizes, poses = set(), set(), []
    for file, record in map(scenes.place, {*shown, *spread(LOOKED_AT)}):
        coded, cameras = file.scene(record)
        views.add(len(coded))
        sizes.add(len(frame(file, record, coded, 0)))
        poses.append(cameras)
    cameras = np.concatenate(poses)
    scenes = replace(scenes, num_views=min(views), frame_size=None)
    which = np.arange(min(columns, min(views)))
    return Info(
        folder,
        files=len(scenes.files),
        scenes=len(scenes),
        bytes=sum(file.state[0] for file in scenes.files),
        views=_range(views),
        sizes=_range(sizes),
        low=cameras.min(0),
        high=cameras.max(0),
        frames=np.stack([scenes.views(i, which).frames.permute(0, 2, 3, 1).numpy() for i in shown]),
    )


def _range(numbers: set[int]) -> range:
    return range(min(numbers), max(numbers) + 1)


def _said(numbers: range) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def show(found: list[Info]) -> None:
    """Print the results of `info`."""
    for i in found:
        ranges = "  ".join(f"{name} {a:.3f} to {b:.3f}" for name, a, b in zip(POSE, i.low, i.high, strict=True))
        say(str(i.folder))
        say(
            f"  {i.files} file{'s' * (i.files > 1)}, {i.scenes} scenes of {_said(i.views)} views, "
            f"{_said(i.sizes)} pixels a side, {i.bytes / 1e6:.1f} MB"
        )
        say(f"  cameras of {min(i.scenes, LOOKED_AT)} scenes: {ranges}")


@dataclass(frozen=True)
class Verified:
    """What a check of one file found."""

    path: Path
    scenes: int = 0  # undamaged ones
    damaged: list[str] = field(
        default_factory=list
    )  # one line per damaged scene, and one if the file cannot be read to its end
    views: Counter[int] = field(default_factory=Counter)  # number of views -> undamaged scenes
    sizes: Counter[int] = field(default_factory=Counter)  # side of a scene's smallest frame, in pixels -> the same


def verify(path: Path, workers: int = 0) -> Iterator[Verified]:
    """Check the files at or below a path one by one: both checksums, the JPEGs and the counts of every record."""
    yield from made(_Verified([file for paths in find(path).values() for file in paths]), workers=workers)


class _Verified(Dataset):
    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Verified:
        return verify_file(self.paths[number])


def verify_file(path: Path) -> Verified:
    """Check every record of a file."""
    found, rest = Verified(path), []
    try:
        try:
            file = tfrecord.scan(path)
        except Damaged as error:
            file = tfrecord.scan(path, upto_damage=True)
            rest = [f"{error}; nothing after that can be read" if len(file) else str(error)]
    except BadInput as error:
        return Verified(path, damaged=[str(error)])
    for record in range(len(file)):
        try:
            coded, _ = file.scene(record)
            sides = {len(frame(file, record, coded, k)) for k in range(len(coded))}
            found.views[len(coded)] += 1
            found.sizes[min(sides)] += 1
        except BadInput as error:
            found.damaged.append(str(error))
    return replace(found, scenes=len(file) - len(found.damaged), damaged=found.damaged + rest)


def verify_all(path: Path, workers: int = 0) -> int:
    """Check the files at or below a path, print damage and a summary; returns the number of damaged records and files.

    Scenes that differ in their number of views or in size are reported but do not count as damaged.
    """
    files = sum(len(paths) for paths in find(path).values())
    scenes = damaged = 0
    views: dict[Path, Counter[int]] = {}
    sizes: dict[Path, Counter[int]] = {}
    with Reporter("verify", files, 0, "files") as report:
        for checked in verify(path, workers):
            scenes, damaged = scenes + checked.scenes, damaged + len(checked.damaged)
            views.setdefault(checked.path.parent, Counter()).update(checked.views)
            sizes.setdefault(checked.path.parent, Counter()).update(checked.sizes)
            for line in checked.damaged:
                say(line)
            report.update(report.done + 1, f"{damaged} damaged" if damaged else "")
    for folder, found in views.items():
        if len(found) > 1:
            they = f"{_counted(found)} views: of each the same number is used, `num_views={min(found)}` takes all"
            say(f"{folder}: scenes have {they}")
    for folder, found in sizes.items():
        if len(found) > 1:
            they = f"{_counted(found)} pixels a side: `image_size` makes them one"
            say(f"{folder}: frames have {they}")
    say(f"{files} files: {scenes} whole scenes, {damaged or 'none'} damaged")
    return damaged


def _counted(found: Counter[int]) -> str:
    """Numbers with how often each occurs, such as '10 (3 scenes) or 15 (20 scenes)'."""
    return " or ".join(f"{number} ({times} scene{'s' * (times > 1)})" for number, times in sorted(found.items()))

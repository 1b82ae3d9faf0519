"""Scenes read directly from files in the released format, in any order and without conversion."""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gqn.data import Record
from gqn.data.files import jpeg, tfrecord
from gqn.data.files.tfrecord import Damaged, File
from gqn.errors import Absent, BadInput
from gqn.runtime import content
from gqn.runtime.console import Reporter, note
from gqn.views import Cameras, Views, resized

ADVICE = "gqn data verify names all that cannot be used"
SMALLEST = 8  # smallest side in pixels at which bytes that are no JPEG are reported as raw pixels
MANY = 100  # with at least so many files, progress is shown while they are opened


@dataclass(frozen=True)
class Stored:
    """Scenes in files, numbered in the order of the files; a `gqn.data.Source`. Make one with `stored`.

    A scene must have at least `num_views` views, and its frames must be square; otherwise it counts as damaged.
    """

    files: list[File]
    ends: np.ndarray  # (files,): number of scenes up to the end of each file
    num_views: int  # the first so many views of each scene are used
    frame_size: int | None  # side in pixels that every frame in the files must have; None: any
    image_size: int  # side in pixels of the frames that `views` returns
    num_scenes: int  # the first so many scenes are used
    cameras: Callable[[Tensor], Cameras] = Cameras  # of poses (K, 5)
    skip_damaged: bool = False
    skipped: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64).share_memory_())
    """Number of times any worker skipped a damaged scene."""
    overhead_queries = False

    def __len__(self) -> int:
        return self.num_scenes

    @property
    def order(self) -> int:
        """The number of scenes, which means a uniformly random order."""
        return self.num_scenes

    def views(self, index: int, which: np.ndarray) -> Views:
        """The views `which` of scene `index`: Views (len(which),), frames uint8; no other frame is decoded.

        A damaged scene raises Damaged; with `skip_damaged` it is reported on stderr and counted in `skipped`, and the
        next scene is used instead. Raises BadInput if a file vanished or changed.
        """
        for i in range(index, index + len(self)):
            file, record = self.place(i % len(self))
            try:
                coded, poses = self._scene(file, record)
                frames = self._sized(self._frames(file, record, coded, which))
                return Views(frames, self.cameras(torch.from_numpy(poses[which])))
            except Damaged as error:
                if not self.skip_damaged:
                    raise Damaged(f"{error}; {ADVICE}") from error
                self.skipped.add_(1)
                note(f"skipped: {error}")
        raise BadInput("every scene is damaged")

    def coded(self, index: int, which: np.ndarray) -> Record:
        """The same views as a record: JPEGs as they are in the file, byte for byte, unless they must be resized.

        Raises as `views` does, but Damaged even with `skip_damaged`.
        """
        file, record = self.place(index)
        coded, cameras = self._scene(file, record)
        frames = self._frames(file, record, coded, which)
        kept = [
            coded[k] if len(f) == self.image_size else jpeg.encoded(self._sized([f]))[0]
            for k, f in zip(which, frames, strict=True)
        ]
        return kept, cameras[which]

    def place(self, index: int) -> tuple[File, int]:
        """The file that holds scene `index`, and the number of its record in that file."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        file = self.files[number]
        return file, index - int(self.ends[number]) + len(file)

    def _scene(self, file: File, record: int) -> Record:
        coded, cameras = file.scene(record)
        if (have := len(coded)) < self.num_views:
            raise file.damaged(record, f"it has {have} views, and {self.num_views} are used: give `num_views={have}`")
        return coded, cameras

    def _frames(self, file: File, record: int, coded: list[bytes], which: np.ndarray) -> list[jpeg.Pixels]:
        return [frame(file, record, coded, k, self.frame_size) for k in which]

    def _sized(self, frames: list[jpeg.Pixels]) -> Tensor:
        if len({len(frame) for frame in frames}) > 1:
            return torch.cat([self._sized([frame]) for frame in frames])
        tensor = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
        return tensor if tensor.shape[-1] == self.image_size else resized(tensor, self.image_size)


def stored(
    paths: Iterable[Path],
    image_size: int | None = None,
    num_views: int | None = None,
    num_scenes: int | None = None,
    cameras: Callable[[Tensor], Cameras] = Cameras,
    skip_damaged: bool = False,
) -> Stored:
    """Open files and return their scenes.

    Frames of another size than `image_size` are resized with antialiasing; without `image_size`, all frames must have
    the size of the first. Only the first `num_views` views of each scene (default: as many as the first scene has) and
    the first `num_scenes` scenes (default: all) are used. Raises BadInput if the files hold fewer, or if a file cannot
    be read. A file that is cut short or holds no scenes raises Damaged; with `skip_damaged` it is reported on stderr
    and its scenes before the damage are used.
    """
    files = open_files(list(paths), skip_damaged)
    _, _, (coded, _), size = first_scene(files)
    ends = np.cumsum([len(file) for file in files])
    for what, asked, have in (("scenes", num_scenes, ends[-1]), ("views of a scene", num_views, len(coded))):
        if asked and asked > have:
            raise BadInput(f"{files[0].path.parent} holds {have} {what}, and {asked} were asked for")
    return Stored(
        files,
        ends,
        num_views=num_views or len(coded),
        frame_size=None if image_size else size,
        image_size=image_size or size,
        num_scenes=num_scenes or int(ends[-1]),
        cameras=cameras,
        skip_damaged=skip_damaged,
    )


def open_files(paths: list[Path], skip_damaged: bool = False) -> list[File]:
    """Open files with their indexes, building those that are missing; shows progress if there are many files."""

    def open_one(path: Path) -> File:
        try:
            return tfrecord.opened(path)
        except Damaged as error:
            if not skip_damaged:
                raise Damaged(f"{error}; {ADVICE}") from error
            note(f"skipped from there on: {error}")
            return tfrecord.opened(path, upto_damage=True)

    opened: list[File] = []
    with (
        Reporter("open", len(paths), 0, "files", active=len(paths) >= MANY) as report,
        ThreadPoolExecutor(8) as pool,  # threads suffice: the time goes into waiting for the disk
    ):
        for file in pool.map(open_one, paths):
            opened.append(file)
            report.update(len(opened))
    return opened


def first_scene(files: list[File]) -> tuple[File, int, Record, int]:
    """The first undamaged scene: its file, record number, content, and the side of its first frame in pixels.

    Tries the first ten records of each file. Raises Damaged if all of these are, BadInput if there are no records.
    """
    reasons = []
    for file in files:
        for record in range(min(len(file), 10)):
            try:
                scene = file.scene(record)
                return file, record, scene, len(frame(file, record, scene[0], 0))
            except Damaged as error:
                reasons.append(error)
    raise reasons[0] if reasons else BadInput("there is no scene in these files")


def frame(file: File, record: int, coded: list[bytes], number: int, size: int | None = None) -> jpeg.Pixels:
    """Decode frame `number` of a scene to (size, size, 3). Raises Damaged if it is no square JPEG of side `size`."""
    try:
        pixels = jpeg.decode(coded[number])
    except ValueError as error:
        raise file.damaged(record, f"frame {number} is {_no_jpeg(coded[number], error)}") from error
    height, width = pixels.shape[:2]
    if height != width:
        raise file.damaged(record, f"frame {number} is {width}x{height}, not square")
    if size not in (None, height):
        wanted = f"{size}x{size} as the first scene's: give `image_size`"
        raise file.damaged(record, f"frame {number} is {width}x{height}, not {wanted}")
    return pixels


def _no_jpeg(data: bytes, error: ValueError) -> str:
    """Say what the bytes of a frame that cannot be decoded are."""
    way = "code frames as JPEG, as docs/data.md does"
    kind = next((kind for start, kind in content.IMAGES.items() if data.startswith(start)), "")
    if kind and kind != content.JPEG:
        return f"{kind}, and not a JPEG: {way}"
    for channels in (3, 1, 4):
        side = math.isqrt(len(data) // channels)
        if not kind and side >= SMALLEST and channels * side**2 == len(data):
            return f"{len(data)} bytes that are no JPEG: raw {side}x{side}x{channels} pixels: {way}"
    return f"not a good JPEG ({error})"


def find(data: Path, name: str, split: str) -> list[Path]:
    """The files of a split, sorted by name, in the first of `folders` that has any. Raises Absent if there are none."""
    if data.is_file():
        raise BadInput(f"{data} is a file: give the folder with the files of {name}, or with {name}/{split}")
    places = [Path(folder) for folder in folders(str(data), name, split)]
    for folder in places:
        if names := content.data_names(path.name for path in folder.glob("*")):
            return [folder / each for each in names]
    if not data.exists():
        raise Absent(f"no files of {name}'s {split} split: there is no folder {data}; `data` says where they are now")
    there = content.listing(next((folder for folder in places if folder.is_dir()), data))
    if content.data_names(path.name for path in data.iterdir()):
        there += f": put them into {data / 'train'} and {data / 'test'}"
    for below in sorted(data.glob(f"*/{name}/{split}")):
        there += f": give {below.parents[1]}"
    raise Absent(f"no files of {name}'s {split} split in {data}: {PLACES.format(name=name, split=split)}; {there}")


PLACES = "looked for {name}/{split}/*.tfrecord and {split}/*.tfrecord there; `data` says where they are now"


def folders(data: str, name: str, split: str) -> list[str]:
    """Where the files of a split may lie: `data`/NAME/SPLIT, `data`/SPLIT or, if `data` is a split, beside it."""
    data = data.rstrip("/")
    above, _, last = data.rpartition("/")
    return [f"{data}/{name}/{split}", f"{data}/{split}"] + [f"{above or '.'}/{split}"] * (last in ("train", "test"))

"""`gqn data render` and `gqn data export`: write the scenes of a source to files in the released format."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gqn.data import Source
from gqn.data.files import example, tfrecord
from gqn.data.sources import source
from gqn.data.specification import BESIDE, DATASETS, as_toml, beside
from gqn.errors import Absent, BadInput
from gqn.runtime import files, reading
from gqn.runtime.console import Reporter, say
from gqn.runtime.workers import made

RECIPE = "recipe.json"
VIEWS_PER_FILE = 15_000  # about 20 MB at 64 pixels


@dataclass(frozen=True)
class Recipe:
    """How the files of a folder were made; kept in recipe.json. The same recipe gives the same bytes."""

    dataset: str
    image_size: int
    num_views: int
    train_scenes: int
    test_scenes: int
    scenes_per_file: int
    hold_out: bool
    first_scene: str  # digest of the first scene, which differs if the renderer or the files read differ

    def files(self, folder: Path, split: str) -> list[tuple[Path, range]]:
        """The files of a split, each with the range of scenes that it holds."""
        scenes = range(self.train_scenes if split == "train" else self.test_scenes)
        n = -(-len(scenes) // self.scenes_per_file)
        width = len(str(n))
        parts = (scenes[i : i + self.scenes_per_file] for i in range(0, len(scenes), self.scenes_per_file))
        return [(folder / split / f"{i:0{width}}-of-{n}.tfrecord", part) for i, part in enumerate(parts, 1)]


def export(
    name: str,
    out: Path,
    scenes: int | None = None,
    test_scenes: int | None = None,
    splits: tuple[str, ...] = ("train", "test"),
    shard: tuple[int, int] = (1, 1),
    workers: int = 0,
    scenes_per_file: int | None = None,
    image_size: int | None = None,
    num_views: int | None = None,
    hold_out: bool = False,
    data: Path | str | None = None,
) -> Path:
    """Write the first `scenes` training and `test_scenes` held-out scenes of a source to `out`/`name`/{train,test}.

    The source is `source(name, split, ...)`, rendered or read from `data`. From `data`, all scenes are written unless
    `scenes` is given. `test_scenes` defaults to a tenth of `scenes`, or to all. Reading the written files gives the
    same frames, byte for byte, as the source. Frames read from `data` that keep their size are copied without being
    coded again. The bytes do not depend on the number of `workers` (processes; 0: this one). With `shard` (i, n), only
    every n-th file is written, starting with the i-th. Every file is written completely or not at all, and existing
    files are kept, so the same call continues after an interruption. Returns the folder `out`/`name`.

    If `data` holds only one split, only that split is written. Raises BadInput if the folder holds other data or was
    begun with another recipe, if another process writes it (or the same shard of it), if it cannot be written, or if
    the source has less than was asked for; Damaged for a damaged scene.
    """
    if data is None and scenes is None:
        raise BadInput("rendered scenes have no end: say how many `scenes`")
    if test_scenes is None and scenes is not None:
        test_scenes = -(-scenes // 10)
    sources: dict[str, Source] = {}
    absent: list[Absent] = []
    for split, number in (("train", scenes), ("test", test_scenes)):
        try:
            sources[split] = source(name, split, image_size, num_views, number, hold_out, data)
        except Absent as error:
            absent.append(error)
        except BadInput:
            if split in splits or data is None:
                raise
    if not (wanted_splits := [split for split in splits if split in sources]):
        raise absent[0]
    if len(wanted_splits) < len(splits):
        say(f"{data} holds one split: exporting {wanted_splits[0]} alone")
    numbers: dict[str, Any] = {split: scenes.order for split, scenes in sources.items()}
    if not all(isinstance(number, int) for number in numbers.values()):
        raise BadInput("remote scenes are not counted: say how many `scenes`")
    of_all = next(iter(sources.values()))
    first = payload(of_all, 0)
    recipe = Recipe(
        dataset=name,
        image_size=of_all.image_size,
        num_views=of_all.num_views,
        train_scenes=numbers.get("train", 0),
        test_scenes=numbers.get("test", 0),
        scenes_per_file=scenes_per_file or max(1, VIEWS_PER_FILE // of_all.num_views),
        hold_out=hold_out,
        first_scene=hashlib.sha256(first).hexdigest()[:16],
    )
    folder = out / name
    wanted = [
        (split, *file) for split in wanted_splits for file in recipe.files(folder, split)[shard[0] - 1 :: shard[1]]
    ]
    total = sum(len(part) for *_, part in wanted)
    own = folder if shard == (1, 1) else out / f"{name}.{shard[0]}-of-{shard[1]}"  # shards may be written at once
    try:
        with files.alone(own, "give another `out`"):
            open_folder(folder, recipe)
            if name not in DATASETS:
                toml = as_toml(beside(name, data) | {"size": of_all.image_size, "views": of_all.num_views})
                files.write(folder / BESIDE, lambda path: path.write_text(toml, encoding="utf-8"))
            for split in sources:
                (folder / split).mkdir(exist_ok=True)
            todo = [(split, path, part) for split, path, part in wanted if not path.exists()]
            done = total - sum(len(part) for *_, part in todo)
            say(
                f"{name}: {total} scenes of {recipe.num_views} views in {len(wanted)} files, "
                f"about {total * len(first) / 1e6:.1f} MB, to {folder}"
                + (f" ({len(wanted) - len(todo)} files are there)" if done else "")
            )
            order = _Order([(split, part) for split, _, part in todo])
            payloads = made(_Payloads(sources), order, workers, ahead=16)
            with Reporter("write", total, done, "scenes") as report:
                for _, path, part in todo:
                    tfrecord.write(path, _counted(islice(payloads, len(part)), report))
    except OSError as error:
        raise unwritten(folder, [path for _, path, _ in wanted], error) from error
    return folder


def unwritten(folder: Path, files: list[Path], error: OSError) -> BadInput:
    """The error that a folder cannot be written; some of its `files` may be there already."""
    there = sum(path.exists() for path in files)
    return BadInput(
        f"cannot write {folder}: {error.strerror}; {there} of {len(files)} files are whole: "
        "the same command goes on once it can"
    )


def payload(scenes: Source, index: int) -> bytes:
    """A scene of a source, with all its views, as the payload of a record."""
    return example.example(*scenes.coded(index, np.arange(scenes.num_views)))


def open_folder(folder: Path, recipe: Recipe) -> None:
    """Create the folder of a dataset, or raise BadInput if it holds other data or was begun with another recipe."""
    path = folder / RECIPE
    if path.exists():
        there = reading.table(path, way="give another `out`")
        now = asdict(recipe)
        if differ := [f"{k.replace('_', ' ')} is {now[k]}, was {there.get(k)}" for k in now if now[k] != there.get(k)]:
            raise BadInput(
                f"{folder} holds files of another recipe ({'; '.join(differ)}): "
                "give the options it was begun with, or another `out`"
            )
        return
    if folder.exists() and any(path.name != BESIDE for path in folder.iterdir()):
        raise BadInput(f"{folder} holds other data: give another `out`")
    folder.mkdir(parents=True, exist_ok=True)
    files.write(path, lambda part: part.write_text(reading.as_json(asdict(recipe)), encoding="utf-8"))


def _counted(payloads: Iterator[Tensor], report: Reporter) -> Iterator[bytes]:
    for item in payloads:
        yield item.numpy().tobytes()
        report.update(report.done + 1)


class _Payloads(Dataset):
    def __init__(self, sources: dict[str, Source]):
        self.sources = sources

    def __getitem__(self, scene: tuple[str, int]) -> Tensor:
        """The payload as a tensor (n,) uint8, which is passed in shared memory.

        Bytes would go through a pipe, and a worker blocked on a full pipe stays alive when its parent is killed.
        """
        split, index = scene
        return torch.from_numpy(np.frombuffer(payload(self.sources[split], index), np.uint8).copy())


class _Order:
    def __init__(self, parts: list[tuple[str, range]]):
        self.parts = parts

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((split, index) for split, part in self.parts for index in part)

    def __len__(self) -> int:
        return sum(len(part) for _, part in self.parts)

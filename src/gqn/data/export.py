"""`gqn data render` and `gqn data export`: the scenes of a source as released-format files."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gqn import files
from gqn.data import tfrecord
from gqn.data.sources import source
from gqn.data.tasks import Source, started
from gqn.errors import Absent, BadInput
from gqn.logs import Reporter, console
from gqn.stopping import leave_signals_to_the_parent

RECIPE = "recipe.json"
VIEWS_PER_FILE = 15_000  # about 20 MB at 64 pixels


@dataclass(frozen=True)
class Recipe:
    """What a folder of written files holds; the same recipe gives the same bytes."""

    dataset: str
    image_size: int
    num_views: int
    train_scenes: int
    test_scenes: int
    scenes_per_file: int
    hold_out: bool
    first_scene: str  # of the training split, its digest: another renderer or other files give another

    def files(self, folder: Path, split: str) -> list[tuple[Path, range]]:
        """The files of a split, with the scenes that each holds."""
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

    The source is `source(name, split, ...)`: rendered, or read from `data`, all of which is taken unless `scenes` says
    how much; held out are a tenth as many. What it gives is what the files give back, byte for byte; frames that are
    read and keep their size are copied and not coded again. The bytes depend on no number of `workers` (processes;
    0: this one). With `shard` (i, n) every n-th file is made, from the i-th on. Files come whole or not at all and are
    kept, so that the same call goes on after a stop. Returns the folder `out`/`name`.

    Of files that are of one split only, that is written. Raises BadInput if the folder holds other data or those of
    another recipe, or cannot be written, or if the source has less than was asked for; Damaged for a scene that is.
    """
    if data is None and scenes is None:
        raise BadInput("rendered scenes have no end: say how many --scenes")
    if test_scenes is None and scenes is not None:
        test_scenes = -(-scenes // 10)
    made: dict[str, Source] = {}
    absent: list[Absent] = []
    for split, number in (("train", scenes), ("test", test_scenes)):
        try:
            made[split] = source(name, split, image_size, num_views, number, hold_out, data)
        except Absent as error:
            absent.append(error)
        except BadInput:
            if split in splits or data is None:
                raise
    if not (wanted_splits := [split for split in splits if split in made]):
        raise absent[0]
    if len(wanted_splits) < len(splits):
        console.print(f"{data} holds one split: exporting {wanted_splits[0]} alone", markup=False)
    numbers: dict[str, Any] = {split: scenes.order for split, scenes in made.items()}
    if not all(isinstance(number, int) for number in numbers.values()):
        raise BadInput("remote scenes are not counted: say how many --scenes")
    of_all = next(iter(made.values()))
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
    try:
        open_folder(folder, recipe)
        for split in made:
            (folder / split).mkdir(exist_ok=True)
        todo = [(split, path, part) for split, path, part in wanted if not path.exists()]
        done = total - sum(len(part) for *_, part in todo)
        console.print(
            f"{name}: {total} scenes of {recipe.num_views} views in {len(wanted)} files, "
            f"about {total * len(first) / 1e6:.1f} MB, to {folder}"
            + (f" ({len(wanted) - len(todo)} files are there)" if done else "")
        )
        payloads = started(
            DataLoader(
                _Payloads(made),
                sampler=_Order([(split, part) for split, _, part in todo]),
                batch_size=None,
                num_workers=workers,
                prefetch_factor=16 if workers else None,
                worker_init_fn=leave_signals_to_the_parent,
            )
        )
        with Reporter("write", total, done, "scenes") as report:
            for _, path, part in todo:
                tfrecord.write(path, _counted(islice(payloads, len(part)), report))
    except OSError as error:
        there = sum(path.exists() for _, path, _ in wanted)
        raise BadInput(
            f"cannot write {folder}: {error.strerror}; {there} of {len(wanted)} files are whole: "
            "the same command goes on once it can"
        ) from error
    return folder


def payload(scenes: Source, index: int) -> bytes:
    """A scene of a source, all its views, as a record's payload."""
    return tfrecord.example(*scenes.coded(index, np.arange(scenes.num_views)))


def open_folder(folder: Path, recipe: Recipe) -> None:
    """Make the folder of a dataset, or check that it holds files of this recipe."""
    path = folder / RECIPE
    if path.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"{path} is damaged: give another --out") from error
        now = asdict(recipe)
        if differ := [f"{k.replace('_', '-')} is {now[k]}, was {there.get(k)}" for k in now if now[k] != there.get(k)]:
            raise BadInput(
                f"{folder} holds files of another recipe ({'; '.join(differ)}): "
                "give the options it was begun with, or another --out"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} holds other data: give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    files.write(path, lambda part: part.write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8"))


def _counted(payloads: Iterator[Tensor | BadInput], report: Reporter) -> Iterator[bytes]:
    for item in payloads:
        if isinstance(item, BadInput):
            raise type(item)(str(item))  # not `item`: it would hold this frame, which holds the workers
        yield item.numpy().tobytes()
        report.update(report.done + 1)


class _Payloads(Dataset):
    def __init__(self, sources: dict[str, Source]):
        self.sources = sources

    def __getitem__(self, scene: tuple[str, int]) -> Tensor | BadInput:
        """Bytes as a tensor (n,) uint8, which goes through shared memory: a full pipe would outlive a killed parent."""
        split, index = scene
        try:
            return torch.from_numpy(np.frombuffer(payload(self.sources[split], index), np.uint8).copy())
        except BadInput as error:
            return error  # raised in a worker it would reach the user as a traceback


class _Order:
    def __init__(self, parts: list[tuple[str, range]]):
        self.parts = parts

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((split, index) for split, part in self.parts for index in part)

    def __len__(self) -> int:
        return sum(len(part) for _, part in self.parts)

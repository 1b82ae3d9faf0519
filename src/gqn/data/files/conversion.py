"""`gqn data import`: write scenes of the files of other ports to files in the released format."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from gqn.data.files import example, foreign, tfrecord
from gqn.data.files.export import VIEWS_PER_FILE, Recipe, open_folder, unwritten
from gqn.data.specification import spec
from gqn.errors import BadInput
from gqn.runtime import content, files, reading
from gqn.runtime.console import Reporter, note, say
from gqn.runtime.workers import made

ENDS = (".pt", ".pt.gz")  # of names, besides those of gzipped TFRecord files
SURVEY = "imported.json"
File = tuple[str, Path, range]  # a file to write: its split, and the range of the split's scenes that it gets
SHAPE = {"name": str, "bytes": int, "kinds": [[int]], "damage": str}  # of Looked, in imported.json
KINDS = "*.pt.gz, *.pt or *.tfrecord.gz"


@dataclass
class Looked:
    """What a file was found to hold."""

    name: str  # of the file, from the folder that is imported
    bytes: int
    kinds: list[tuple[int, int, int]] = field(default_factory=list)  # views and side in pixels of so many scenes
    damage: str = ""  # why it cannot be used

    @property
    def scenes(self) -> int:
        """Number of scenes; 0 for a damaged file."""
        return sum(number for *_, number in self.kinds)


@dataclass(frozen=True)
class Imported:
    """What was written, and what was not."""

    folder: Path
    scenes: dict[str, int]  # by split
    views: int  # of all scenes together
    files: int
    damaged: int  # files left out
    doubled: int  # gzipped files left out, as they are there unpacked, too


def convert(
    src: Path,
    name: str,
    out: Path,
    split: str | None = None,
    scenes_per_file: int | None = None,
    workers: int = 0,
    skip_damaged: bool = False,
) -> Imported:
    """Write the scenes of the files at or below `src` to `out`/`name`/{train,test}, as those of dataset `name`.

    A dataset that is not a released one needs a dataset.toml in its folder (`gqn.data.specification`).

    Files are *.pt, *.pt.gz (see `foreign`) and *.tfrecord.gz. Those below a folder train or test are of that split, all
    others of `split`. They are taken in the order of their names, with numbers in numerical order. All files are read
    twice, by so many `workers` (processes; 0: this one): first to check and to count what they hold, then to write it.
    Every file is written completely or not at all, existing files are kept, and what was found is kept in
    imported.json, so the same call continues after an interruption. With `skip_damaged` files that cannot be read are
    named on stderr, counted and left out.

    Raises BadInput if there are no such files, if one cannot be read, if scenes differ in their number of views or in
    size, if the folder holds other data or was begun with other options or files, if another process writes it, or if
    it cannot be written.
    """
    spec(name, out if (out / name).is_dir() else None)
    found, doubled = find(src, split)
    folder, root = out / name, src.parent if src.is_file() else src
    looked = _looked(root, found, folder, workers, skip_damaged)
    whole = {which: [each for each in of_split if each.scenes] for which, of_split in looked.items()}
    views, size = _alike(src, [each for of_split in whole.values() for each in of_split])
    if len(some := [which for which in whole if whole[which]]) == 1:
        say(f"{src} holds one split: importing {some[0]} alone")
    first = next(_payloads(root / whole[some[0]][0].name, 0, 1))
    numbers = {which: sum(each.scenes for each in of_split) for which, of_split in whole.items()}
    recipe = Recipe(
        dataset=name,
        image_size=size,
        num_views=views,
        train_scenes=numbers["train"],
        test_scenes=numbers["test"],
        scenes_per_file=scenes_per_file or max(1, VIEWS_PER_FILE // views),
        hold_out=False,
        first_scene=hashlib.sha256(first).hexdigest()[:16],
    )
    wanted = [(which, *file) for which in some for file in recipe.files(folder, which)]
    try:
        with files.alone(folder, "give another `out`"):
            open_folder(folder, recipe)
            _save(folder / SURVEY, looked)
            for which in some:
                (folder / which).mkdir(exist_ok=True)
            written(folder, wanted, _Payloads(root, whole), workers, len(first))
    except OSError as error:
        raise unwritten(folder, [path for _, path, _ in wanted], error) from error
    damaged = sum(bool(each.damage) for of_split in looked.values() for each in of_split)
    return Imported(folder, numbers, views * sum(numbers.values()), len(wanted), damaged, doubled)


def find(src: Path, split: str | None = None) -> tuple[dict[str, list[Path]], int]:
    """The files of each split, and how many gzipped ones were left out as they are there unpacked, too.

    Hidden files and those in hidden folders are left alone. Raises BadInput if there are none, or if a file is in no
    folder train or test, and `split` is not given.
    """
    if not src.exists():
        raise BadInput(f"there is no {src}")
    every = [src] if src.is_file() else [path for path in src.rglob("*") if _is_known(path, src) and path.is_file()]
    unpacked = {path for path in every if path.suffix == ".pt"}
    paths = [path for path in every if path.suffix != ".gz" or path.with_suffix("") not in unpacked]
    if not paths:
        raise BadInput(f"no {KINDS} files in {src}; {content.listing(src)}")
    found: dict[str, list[Path]] = {"train": [], "test": []}
    for path in sorted(paths, key=_by_number):
        above = path.relative_to(src).parts[:-1]
        which = next((part for part in reversed(above) if part in found), split)
        if which is None:
            raise BadInput(f"{path} is in no folder train or test: say with `split` which split it is of")
        found[which].append(path)
    return found, len(every) - len(paths)


def _is_known(path: Path, src: Path) -> bool:
    named = path.name.endswith(ENDS) or (path.name.endswith(".gz") and content.is_data(path.name))
    return named and not any(part.startswith(".") for part in path.relative_to(src).parts)


def _by_number(path: Path) -> list[Any]:
    """Sorts paths with the numbers in them in numerical order."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), part) if n % 2 else part for n, part in enumerate(parts)]


def _looked(
    root: Path, found: dict[str, list[Path]], folder: Path, workers: int, skip_damaged: bool
) -> dict[str, list[Looked]]:
    """What the files of each split hold: as an earlier call for this folder found, else they are read."""
    try:
        items = [(s, p, p.relative_to(root).as_posix(), p.stat().st_size) for s, paths in found.items() for p in paths]
    except OSError as error:
        raise BadInput(f"cannot read {root}: {error.strerror}") from error
    known = _load(folder / SURVEY)
    if known:
        then = {(which, each.name, each.bytes) for which, each in known}
        if differ := sorted(then ^ {(which, name, size) for which, _, name, size in items}):
            raise BadInput(
                f"{folder} was begun with other files than are in {root} now ({len(differ)} differ, such as "
                f"{differ[0][1]}): give another `out`"
            )
    looked: dict[str, list[Looked]] = {which: [] for which in found}
    with Reporter("look at", len(items), 0, "files", active=not known) as report:
        for which, each in known or zip((item[0] for item in items), made(_Look(items), workers=workers), strict=True):
            looked[which].append(each)
            report.update(report.done + 1)
            if each.damage and not skip_damaged:
                raise BadInput(f"{each.damage}; `skip_damaged` leaves such files out")
            if each.damage:
                note(f"left out: {each.damage}")
    return looked


def _save(path: Path, looked: dict[str, list[Looked]]) -> None:
    text = reading.as_json({which: [asdict(each) for each in looked[which]] for which in looked}).encode()
    if not path.exists() or path.read_bytes() != text:
        files.write(path, lambda part: part.write_bytes(text))


def _load(path: Path) -> list[tuple[str, Looked]]:
    """What was saved; empty if nothing was, or it is damaged: then the files are looked at again."""
    if not path.exists():
        return []
    try:
        with reading.named(path):
            saved = reading.table(path, {str: [SHAPE]})
            found = [(which, Looked(**each)) for which in saved for each in saved[which]]
            if any(len(kind) != 3 for _, each in found for kind in each.kinds):
                raise ValueError("its scenes have no views, side and number")
            return found
    except BadInput as error:
        note(f"{error}: looking at the files again")
        return []


def _alike(src: Path, looked: list[Looked]) -> tuple[int, int]:
    """The number of views and the side that all scenes have. BadInput if they differ, or if there are none."""
    if not looked:
        raise BadInput(f"no scenes in {src}: every file is damaged")
    names: dict[tuple[int, int], str] = {}
    for each in looked:
        for views, side, _ in each.kinds:
            names.setdefault((views, side), each.name)
    if len(names) > 1:
        (a, b), (c, d) = list(names)[:2], list(names.values())[:2]
        of_a, of_b = (f"{views} views of {side} pixels" for views, side in (a, b))
        raise BadInput(f"scenes differ in {src}: {of_a} in {c}, {of_b} in {d}: import them apart")
    return next(iter(names))


def written(
    folder: Path, wanted: list[File], payloads: Callable[[str, range], Iterator[bytes]], workers: int, scene_bytes: int
) -> None:
    """Write the files of a dataset that are not there yet, and show progress.

    `payloads` gives the payloads of a range of the scenes of a split; it is called in the workers. A scene has about
    `scene_bytes`. Raises what it raises, or OSError.
    """
    todo = [file for file in wanted if not file[1].exists()]
    total, left = (sum(len(part) for *_, part in some) for some in (wanted, todo))
    say(
        f"{folder.name}: {total} scenes in {len(wanted)} files, about {total * scene_bytes / 1e6:.1f} MB, to {folder}"
        + (f" ({len(wanted) - len(todo)} files are there)" if len(todo) < len(wanted) else "")
    )
    with Reporter("write", total, total - left, "scenes") as report:
        for scenes in made(_Write(payloads, todo), workers=workers):
            report.update(report.done + scenes)


def _payloads(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """Scenes `start` to `stop` of a file as payloads of records."""
    left = stop - start
    for scene in islice(foreign.scenes(path), start, stop):
        yield example.example(*scene.record())
        left -= 1
    if left:
        raise BadInput(f"{path} changed while it was in use: give another `out`")


class _Look(Dataset):
    """What each file holds; every frame is decoded."""

    def __init__(self, items: list[tuple[str, Path, str, int]]):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Looked:
        _, path, name, size = self.items[number]
        kinds: Counter[tuple[int, int]] = Counter()
        try:
            for scene in foreign.scenes(path):
                try:
                    kinds[len(scene.cameras), scene.side()] += 1
                except ValueError as error:
                    raise BadInput(f"{path}: scene {kinds.total()}: {error}") from error
        except BadInput as error:
            return Looked(name, size, damage=str(error))
        if not kinds:
            return Looked(name, size, damage=f"{path} holds no scenes")
        return Looked(name, size, [(*kind, times) for kind, times in kinds.items()])


class _Payloads:
    """The payloads of the scenes of the files that were looked at."""

    def __init__(self, root: Path, looked: dict[str, list[Looked]]):
        self.root, self.looked = root, looked
        self.ends = {which: np.cumsum([0] + [each.scenes for each in looked[which]]) for which in looked}

    def __call__(self, which: str, part: range) -> Iterator[bytes]:
        """Those of a range of the scenes of a split."""
        ends = self.ends[which]
        file = int(np.searchsorted(ends, part.start, side="right")) - 1
        while file < len(self.looked[which]) and ends[file] < part.stop:
            first, each = int(ends[file]), self.looked[which][file]
            start, stop = max(part.start - first, 0), min(part.stop - first, each.scenes)
            yield from _payloads(self.root / each.name, start, stop)
            file += 1


class _Write(Dataset):
    """Writes each file; an item is the number of its scenes."""

    def __init__(self, payloads: Callable[[str, range], Iterator[bytes]], todo: list[File]):
        self.payloads, self.todo = payloads, todo

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, number: int) -> int:
        which, path, part = self.todo[number]
        tfrecord.write(path, self.payloads(which, part))
        return len(part)

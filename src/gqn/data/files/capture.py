"""`gqn data import` of photographs: scenes with cameras of any kind become a dataset of one's own.

A scene is a folder with a `transforms.json`, or with a model of COLMAP's. Its world is turned so that z is up, and
moved and scaled so that the cameras are around the origin, at a distance of 1 on average. Its photographs become frames
of level cameras with one field of view (`photos`). `dataset.toml` beside the files says what the numbers mean, and
`scenes.json` which photograph each view was, and where it lies in the source's own coordinates.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gqn.data.files import colmap, example, jpeg, transforms
from gqn.data.files.conversion import written
from gqn.data.files.export import VIEWS_PER_FILE, Recipe, open_folder, unwritten
from gqn.data.files.photos import WIDEST, Array, Photo
from gqn.data.specification import BESIDE, DATASETS, as_toml, check_size, described
from gqn.data.tasks import rng
from gqn.errors import BadInput
from gqn.runtime import files
from gqn.runtime.console import Reporter, note, say

SCENES = "scenes.json"
TRANSFORMS, MODEL = "transforms.json", "images"
PARTS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")  # of one scene, each with some views
INWARD = 0.5  # cameras look inward if their lines of sight pass the middle at less than this share of their distance
SEEN = 95  # per cent of a model's points that the region contains


@dataclass(frozen=True)
class Options:
    """How photographs become a dataset; None: as found."""

    image_size: int = 64  # side of the frames in pixels
    fov: float | None = None  # degrees; views that show less are left out. None: what all of them show
    views: int | None = None  # of a scene; scenes with fewer are left out. None: as many as all have
    up: str | None = None  # direction that is up in the source: x, -x, y, ..., or "cameras", their mean. None: z; of
    # COLMAP's models, and what nerfstudio made of them, "cameras"
    frame: str | None = None  # "scene": each scene has coordinates of its own, "dataset": all have the same
    centre: tuple[float, float, float] | None = None  # of the scenes, in the source's coordinates
    region: tuple[float, float, float] | None = None  # half extents of the scenes, in the source's units
    test_scenes: int | None = None  # how many of the last scenes to hold out. None: a tenth


@dataclass
class Capture:
    """A scene: its photographs, in the coordinates of the source until it is `aligned`."""

    name: str  # its folder, from the folder that is imported
    split: str  # "train", "test", or "" if nothing says which
    photos: list[Photo]
    points: Array = field(default_factory=lambda: np.zeros((0, 3)))  # on surfaces, (N, 3)
    loose: bool = False  # whether its coordinates are its own, as COLMAP's are
    gauge: dict[str, Any] = field(default_factory=dict)  # how positions came from the source's

    def aligned(self, gauge: "Gauge") -> "Capture":
        """The scene in other coordinates."""
        moved = [replace(p, rotation=gauge.turn @ p.rotation, position=gauge.moved(p.position)) for p in self.photos]
        return replace(self, photos=moved, points=gauge.moved(self.points), gauge=gauge.said())


@dataclass(frozen=True)
class Gauge:
    """From the coordinates of a source to those of a dataset: (turn p - centre) / unit."""

    turn: Array  # (3, 3)
    centre: Array  # (3,), turned
    unit: float

    def moved(self, points: Array) -> Array:
        """Points (*B, 3) of the source."""
        return (points @ self.turn.T - self.centre) / self.unit

    def said(self) -> dict[str, Any]:
        """For JSON: a position p of the source is at (turn p - centre) / unit."""
        return {"turn": self.turn.tolist(), "centre": self.centre.tolist(), "unit": self.unit}


def found(src: Path) -> list[tuple[str, Path]]:
    """Scenes of photographs at or below a folder, or in one file: pairs of a kind, TRANSFORMS or MODEL, and a path."""
    if src.is_file():
        return [(TRANSFORMS, src)] if src.suffix == ".json" else []
    below = [path for path in src.rglob("*") if not any(part.startswith(".") for part in path.relative_to(src).parts)]
    scenes = {path.parent: (TRANSFORMS, path) for path in below if path.name == TRANSFORMS}
    for path in below:
        if path.name in PARTS:
            scenes.setdefault(path.parent, (TRANSFORMS, path.parent))
    models: dict[Path, list[Path]] = {}
    for path in below:
        if path.name in ("images.bin", "images.txt") and path.with_name("cameras" + path.suffix).exists():
            models.setdefault(_scene_of(path.parent, src), []).append(path)
    for root, paths in models.items():
        if root not in scenes:  # nerfstudio leaves COLMAP's model beside its transforms.json
            scenes[root] = (MODEL, max(paths, key=lambda path: path.stat().st_size).parent)
    return [scenes[folder] for folder in sorted(scenes)]


def _scene_of(model: Path, src: Path) -> Path:
    """The folder of the scene, in `src`, that a model of COLMAP's is of: without colmap/, sparse/ and sparse/0/."""
    folder = model
    if folder != src and folder.name.isdigit() and folder.parent.name == "sparse":
        folder = folder.parent
    for name in ("sparse", "colmap"):
        if folder != src and folder.name == name:
            folder = folder.parent
    return folder


def convert(
    src: Path,
    name: str,
    out: Path,
    options: Options = Options(),
    split: str | None = None,
    scenes_per_file: int | None = None,
    workers: int = 0,
) -> Path:
    """Write the scenes of photographs in `src` to `out`/`name`/{train,test}, with a dataset.toml; returns the folder.

    Scenes below a folder train or test are of that split; of the others, if no `split` is given, the last tenth are
    held out; of one scene alone, every eighth view. Every file is written completely or not at all, and existing files
    are kept, so the same call continues after an interruption.

    BadInput if there are no such scenes, one cannot be read, there are too few views, or the folder cannot be written
    or was begun with other options.
    """
    if name in DATASETS:
        raise BadInput(f"{name} is the name of a released dataset: give photographs another `name`")
    check_size(options.image_size)
    if options.fov is not None and not 0 < options.fov < WIDEST:
        raise BadInput(f"`fov` is between 0 and {WIDEST:g} degrees, not {options.fov:g}")
    if options.region is not None and min(options.region) <= 0:
        raise BadInput(f"`region` holds three half extents: give positive lengths, not {options.region}")
    scenes = [scene for place in found(src) for scene in _read(src, *place)]
    scenes = _split(_aligned(scenes, options), split, options.test_scenes)
    scenes, fov = _covering(scenes, options)
    scenes, views = _counted(scenes, options.views)
    toml = _described(name, scenes, fov, views, options)
    folder, by_split = out / name, {which: [s for s in scenes if s.split == which] for which in ("train", "test")}
    size, most = options.image_size, max(len(scene.photos) for scene in scenes)

    payloads = _Payloads(by_split, fov, size)
    some = [which for which in by_split if by_split[which]]
    first = next(payloads(some[0], range(1)))
    recipe = Recipe(
        dataset=name,
        image_size=size,
        num_views=views,
        train_scenes=len(by_split["train"]),
        test_scenes=len(by_split["test"]),
        scenes_per_file=scenes_per_file or max(1, VIEWS_PER_FILE // most),
        hold_out=False,
        first_scene=hashlib.sha256(first + toml.encode()).hexdigest()[:16],
    )
    wanted = [(which, *file) for which in some for file in recipe.files(folder, which)]
    try:
        with files.alone(folder, "give another `out`"):
            open_folder(folder, recipe)
            files.write(folder / BESIDE, lambda path: path.write_text(toml, encoding="utf-8"))
            files.write(folder / SCENES, lambda path: path.write_text(_index(by_split, src), encoding="utf-8"))
            for which in some:
                (folder / which).mkdir(exist_ok=True)
            written(folder, wanted, payloads, workers, len(first))
    except OSError as error:
        raise unwritten(folder, [path for _, path, _ in wanted], error) from error
    return folder


def _read(src: Path, kind: str, path: Path) -> list[Capture]:
    """The scene in a transforms.json or a model of COLMAP's; or a scene for each split of a folder with `PARTS`."""
    root = src if src.is_dir() else src.parent
    if kind == MODEL:
        above = _scene_of(path, root)
        images = above / "images" if (above / "images").is_dir() else above
        taken, points = colmap.photos(path, images)
        found = [((taken, True), above, "")]
    else:
        points = np.zeros((0, 3))
        if path.is_dir():
            parts = [path / part for part in PARTS if (path / part).exists()]
            found = [(transforms.photos(part), path, "test" if "test" in part.name else "train") for part in parts]
        else:
            found = [(transforms.photos(path), path.parent, "")]
    scenes = []
    for (taken, loose), folder, of in found:
        below = folder.relative_to(root).parts
        which = next((part for part in reversed(below) if part in ("train", "test")), of)
        scenes.append(Capture("/".join(below) or root.resolve().name, which, taken, points, loose))
    return scenes


def _aligned(scenes: list[Capture], options: Options) -> list[Capture]:
    """The scenes in the coordinates of the dataset."""
    if not scenes:
        raise BadInput("no scenes of photographs: each is a folder with a transforms.json, or a model of COLMAP's")
    own = any(scene.loose for scene in scenes) if options.frame is None else options.frame == "scene"
    if own:
        return [scene.aligned(_gauge([scene], options)) for scene in scenes]
    gauge = _gauge(scenes, options)
    return [scene.aligned(gauge) for scene in scenes]


def _gauge(scenes: list[Capture], options: Options) -> Gauge:
    photos = [photo for scene in scenes for photo in scene.photos]
    tops = np.mean([-photo.rotation[:, 1] for photo in photos], 0)
    up = options.up or ("cameras" if any(scene.loose for scene in scenes) else "z")
    direction = tops if up == "cameras" else np.eye(3)["xyz".index(up[-1])] * (-1 if up.startswith("-") else 1)
    if np.linalg.norm(direction) < 0.1:
        raise BadInput(f"the cameras of {scenes[0].name} have no common up: say with `up` which direction is")
    turn = _turn(direction / np.linalg.norm(direction))
    if (turn @ tops)[2] < 0.5 * np.linalg.norm(tops):
        note(f"{scenes[0].name}: the cameras lie on their sides if {up} is up: `up` says what is")
    at = np.array([photo.position for photo in photos]) @ turn.T
    looks = np.array([photo.look() for photo in photos]) @ turn.T
    middle, _ = _middle(at, looks)
    if options.centre is not None:
        middle = turn @ np.array(options.centre)
    unit = float(np.linalg.norm(at - middle, axis=1).mean())
    return Gauge(turn, middle, unit if unit > 1e-9 else 1.0)


def _turn(up: Array) -> Array:
    """The smallest rotation (3, 3) that takes a direction to z."""
    axis, cosine = np.array([up[1], -up[0], 0.0]), up[2]
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def _middle(at: Array, looks: Array) -> tuple[Array, bool]:
    """The middle of a scene, and whether the cameras at `at` (N, 3) look at it: the place nearest their lines of sight.

    If there is none, it is the middle of the cameras.
    """
    across = np.eye(3) - looks[:, :, None] * looks[:, None]
    matrix = across.sum(0)
    if np.linalg.cond(matrix) < 1e3:
        middle = np.linalg.solve(matrix, (across @ at[:, :, None])[..., 0].sum(0))
        ahead = ((middle - at) * looks).sum(1)
        distance = np.linalg.norm(at - middle, axis=1)
        aside = np.linalg.norm(at + ahead[:, None] * looks - middle, axis=1)
        if (ahead > 0).mean() > 0.9 and aside.mean() < INWARD * distance.mean():
            return middle, True
    return at.mean(0), False


def _split(scenes: list[Capture], split: str | None, held_out: int | None) -> list[Capture]:
    """The scenes, each with its split. Scenes of `PARTS` keep their parts only if there is no other scene."""
    if len({scene.name for scene in scenes}) > 1:
        whole: dict[str, Capture] = {}
        for scene in scenes:
            named = scene.split if scene.split in scene.name.split("/") else ""
            known = whole.get(scene.name)
            whole[scene.name] = replace(
                scene, split=named, photos=[*known.photos, *scene.photos] if known else scene.photos
            )
        scenes = list(whole.values())
    elif len(scenes) > 1:  # the parts of one scene
        parts = {which: [p for s in scenes if s.split == which for p in s.photos] for which in ("train", "test")}
        scenes = [replace(scenes[0], split=which, photos=photos) for which, photos in parts.items() if photos]
    if split or all(scene.split for scene in scenes):
        return [replace(scene, split=scene.split or split or "train") for scene in scenes]
    if len(scenes) == 1:
        photos = scenes[0].photos
        if len(photos) < 16:
            return [replace(scenes[0], split="train")]
        say(f"{scenes[0].name} is the only scene: every eighth of its {len(photos)} views is held out")
        return [
            replace(scenes[0], split="train", photos=[p for i, p in enumerate(photos) if i % 8]),
            replace(scenes[0], split="test", photos=photos[::8]),
        ]
    free = [i for i, scene in enumerate(scenes) if not scene.split]
    last = -(-len(free) // 10) if held_out is None else held_out
    if any(scene.split == "test" for scene in scenes) and held_out is None:
        last = 0
    if last >= len(free):
        raise BadInput(f"{last} held-out scenes leave none of {len(free)} to train on: give fewer `test_scenes`")
    test = set(free[len(free) - last :])
    return [replace(s, split=s.split or ("test" if i in test else "train")) for i, s in enumerate(scenes)]


def _covering(scenes: list[Capture], options: Options) -> tuple[list[Capture], float]:
    """The scenes without the photographs that show less than the field of view, and the field of view in degrees."""
    shown = []
    with Reporter("measure", sum(len(scene.photos) for scene in scenes), 0, "photos") as report:
        for scene in scenes:
            shown.append(np.array([photo.fov() for photo in scene.photos]))
            report.update(report.done + len(scene.photos))
    every = np.concatenate(shown)
    least, usual = float(every.min()), float(np.median(every))
    fov = math.floor(10 * least) / 10 if options.fov is None else options.fov
    if fov <= 0:
        worst = next(p for scene in scenes for p in scene.photos if p.fov() <= 0.1)
        raise BadInput(
            f"{worst.path} shows nothing level in its middle: check its camera, or give `fov` to leave it out"
        )
    if options.fov is None and least < usual / 2:
        note(f"one photograph shows {least:.1f} degrees alone, half of all {usual:.1f}: `fov` leaves such ones out")
    kept = [
        replace(scene, photos=[photo for photo, wide in zip(scene.photos, of, strict=True) if wide >= fov])
        for scene, of in zip(scenes, shown, strict=True)
    ]
    if left := len(every) - sum(len(scene.photos) for scene in kept):
        say(f"left out: {left} photographs that show less than {fov:g} degrees of a level square")
    if left == len(every):
        raise BadInput(f"no photograph shows {fov:g} degrees of a level square; they show up to {every.max():.1f}")
    return kept, float(fov)


def _counted(scenes: list[Capture], views: int | None) -> tuple[list[Capture], int]:
    """The scenes that have so many views, and their number; by default as many as the smallest scene has."""
    wanted = max(2, views or 0)
    kept = [scene for scene in scenes if len(scene.photos) >= wanted]
    if len(kept) < len(scenes):
        say(f"left out: {len(scenes) - len(kept)} scenes of fewer than {wanted} views")
    if not kept:
        raise BadInput(f"no scene has {wanted} views; the largest has {max(len(scene.photos) for scene in scenes)}")
    if all(scene.split == "test" for scene in kept):
        say("all scenes are held out: there are none to train on")
    shuffled = []
    for number, scene in enumerate(kept):  # so that the first views of a scene are from all around
        order = rng(number).permutation(len(scene.photos))
        shuffled.append(replace(scene, photos=[scene.photos[i] for i in order]))
    return shuffled, views or min(len(scene.photos) for scene in kept)


def _described(name: str, scenes: list[Capture], fov: float, views: int, options: Options) -> str:
    """The text of dataset.toml."""
    at = np.array([photo.position for scene in scenes for photo in scene.photos])
    looks = np.array([photo.look() for scene in scenes for photo in scene.photos])
    middle, inward = _middle(at, looks)
    inward = inward and float(np.linalg.norm(middle)) < INWARD
    units = [scene.gauge["unit"] for scene in scenes]
    unit = float(np.mean(units))
    points = [np.percentile(np.abs(scene.points), SEEN, axis=0) for scene in scenes if len(scene.points)]
    if options.region is not None:
        region = np.array(options.region) / unit
    elif points:
        region = np.median(points, axis=0)
    elif inward:
        region = np.full(3, math.tan(math.radians(fov) / 2))
    else:
        region = np.abs(at).max(0) + np.array([1.0, 1.0, 0.5])
    values = {
        "name": name,
        "fov": fov,
        "views": views,
        "size": options.image_size,
        "region": [round(float(x), 4) for x in np.maximum(region, 1e-3)],
        "clockwise": False,
        "unit": float(f"{unit:.6g}"),
    }
    if inward:
        values["orbit"] = [round(float(np.hypot(at[:, 0], at[:, 1]).mean()), 4), round(float(at[:, 2].mean()), 4)]
    described(values, BESIDE)
    return as_toml(values)


@dataclass(frozen=True)
class _Payloads:
    """The payloads of a range of the scenes of a split."""

    scenes: dict[str, list[Capture]]
    fov: float
    size: int

    def __call__(self, which: str, part: range) -> Iterator[bytes]:
        for i in part:
            photos = self.scenes[which][i].photos
            frames = torch.stack([photo.frame(self.fov, self.size) for photo in photos])
            poses = np.array([photo.pose() for photo in photos], np.float32)
            yield example.example(jpeg.encoded(frames), poses)


def _index(by_split: dict[str, list[Capture]], src: Path) -> str:
    """The text of scenes.json: of each split the scenes, in order, with the photograph of each view."""
    root = src if src.is_dir() else src.parent

    def named(path: Path) -> str:
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    listed = {
        which: [{"name": s.name, **s.gauge, "views": [named(photo.path) for photo in s.photos]} for s in scenes]
        for which, scenes in by_split.items()
    }
    return json.dumps(listed, indent=1) + "\n"

"""`gqn data`: the commands for files of scenes."""

import argparse
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from gqn.cli.parsing import Parser, positive, whole
from gqn.data.specification import BUCKET
from gqn.errors import BadInput


def data(argv: list[str]) -> int:
    """`gqn data download | render | export | import | info | verify`: files of scenes, in the released format."""
    parser = Parser("gqn data", description="Files of scenes, in the released format.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser(
        "render",
        help="render a dataset to files",
        description="Render a dataset to DIR/NAME/{train,test}/*.tfrecord, in the released format. The same command "
        "goes on after a stop; the bytes do not depend on the number of workers.",
    )
    add.set_defaults(data=None)
    add.add_argument("--scenes", type=positive, required=True, metavar="N", help="training scenes")
    add.add_argument("--hold-out", action="store_true", help="without the family's documented combinations of factors")
    _add_export(add)

    add = commands.add_parser(
        "export",
        help="write scenes of files to other files, resized or in part",
        description="Write scenes of files to DIR/NAME/{train,test}/*.tfrecord, in the released format: the first N, "
        "the first K views of each, at another size. Frames that keep their size are copied byte for byte.",
    )
    add.set_defaults(hold_out=False)
    add.add_argument("--data", required=True, metavar="DIR", help="folder with the dataset's files, as of gqn train")
    add.add_argument("--scenes", type=positive, metavar="N", help="training scenes (default: all)")
    _add_export(add)

    add = commands.add_parser(
        "import",
        help="write photographs, or other ports' files, to files in the released format",
        description="Write scenes to DIR/NAME/{train,test}/*.tfrecord, in the released format. Photographs or "
        "renderings with their cameras, each scene a folder with a transforms.json (Blender, nerfstudio) or a "
        "model of COLMAP's, "
        "become a dataset of your own, with a dataset.toml. Other ports' files (*.pt.gz and *.pt of torch.save, and "
        "*.tfrecord.gz) stay what they are; nothing in them is executed. The same command goes on after a stop.",
    )
    add.set_defaults(run=_import)
    add.add_argument("src", type=Path, metavar="SRC", help="a file, or a folder with some at any depth")
    add.add_argument("--name", required=True, metavar="NAME", help="dataset: a new name for photographs")
    add.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder in which to make the dataset's folder"
    )
    add.add_argument("--split", choices=("train", "test"), help="split of the files in no folder train or test")
    add.add_argument("--scenes-per-file", type=positive, metavar="F", help="default: 15,000 views' worth")
    add.add_argument("--workers", type=whole, metavar="W", help="processes (default: one per core; 0: this one)")
    add.add_argument("--skip-damaged", action="store_true", help="leave out files that cannot be read, and count them")
    photographs = add.add_argument_group("for photographs")
    photographs.add_argument(
        "--image-size", type=positive, metavar="S", help="side of the frames in pixels (default: 64)"
    )
    photographs.add_argument(
        "--fov", type=float, metavar="DEGREES", help="field of view (default: the widest that all photographs show)"
    )
    photographs.add_argument(
        "--views", type=positive, metavar="K", help="views of a scene (default: as many as all have)"
    )
    photographs.add_argument(
        "--up",
        choices=("x", "-x", "y", "-y", "z", "-z", "cameras"),
        help="what is up in the source; cameras: the mean of the cameras' (default: z; of what COLMAP made, cameras)",
    )
    photographs.add_argument(
        "--frame",
        choices=("scene", "dataset"),
        help="whether each scene has coordinates of its own (default: dataset; of what COLMAP made, scene)",
    )
    photographs.add_argument(
        "--centre",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="middle of the scenes, in the source's coordinates",
    )
    photographs.add_argument(
        "--region", type=float, nargs=3, metavar=("X", "Y", "Z"), help="half extents of the scenes, in its units"
    )
    photographs.add_argument(
        "--test-scenes", type=positive, metavar="N", help="held-out scenes, the last (default: a tenth)"
    )

    add = commands.add_parser(
        "download",
        help="fetch files of a released dataset",
        description="Fetch files of a released dataset to DIR/NAME/{train,test}, from its public bucket or a mirror. "
        "The same command goes on after a stop.",
    )
    add.set_defaults(run=_download)
    add.add_argument("name", metavar="NAME", help="dataset, by its released name")
    add.add_argument(
        "--files",
        type=positive,
        required=True,
        metavar="N",
        help="how many files of each split to fetch, from the first on",
    )
    add.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder in which to make the dataset's folder"
    )
    add.add_argument("--split", choices=("train", "test", "both"), default="both", help="default: %(default)s")
    add.add_argument(
        "--from",
        dest="address",
        default=BUCKET,
        metavar="ADDRESS",
        help="address of the folder that holds NAME: gs://, https:// or any that fsspec knows (default: %(default)s)",
    )
    add.add_argument(
        "--connections", type=positive, default=8, metavar="C", help="files at a time (default: %(default)s)"
    )

    add = commands.add_parser(
        "info",
        help="say what files hold",
        description="Files, scenes, views, sizes and camera ranges, and a picture of some scenes.",
    )
    add.set_defaults(run=_info)
    add.add_argument("path", type=Path, metavar="PATH", help="a file of scenes, or a folder with some at any depth")
    add.add_argument(
        "--sheet", type=Path, default=Path("contact_sheet.png"), help="picture file (default: %(default)s)"
    )

    add = commands.add_parser(
        "verify",
        help="check every record",
        description="Check the checksums, images and counts of every record; name those that are damaged, and exit "
        "with 1 if there are any.",
    )
    add.set_defaults(run=_verify)
    add.add_argument("path", type=Path, metavar="PATH", help="a file of scenes, or a folder with some at any depth")
    add.add_argument("--workers", type=whole, metavar="W", help="processes (default: one per core; 0: this one)")

    if not argv:
        parser.print_help()
        return 2
    given = parser.parse_args(argv)
    return given.run(given)


def _add_export(add: argparse.ArgumentParser) -> None:
    """Add the flags that `render` and `export` share."""
    add.set_defaults(run=_export)
    add.add_argument("name", metavar="NAME", help="dataset, by its released name")
    add.add_argument(
        "--test-scenes", type=positive, metavar="N", help="held-out scenes (default: a tenth of --scenes, or all)"
    )
    add.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder in which to make the dataset's folder"
    )
    add.add_argument("--split", choices=("train", "test", "both"), default="both", help="default: %(default)s")
    add.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="only every N-th file, from the I-th on"
    )
    add.add_argument("--workers", type=whole, metavar="W", help="processes (default: one per core; 0: this one)")
    add.add_argument("--scenes-per-file", type=positive, metavar="F", help="default: 15,000 views' worth")
    add.add_argument("--image-size", type=positive, metavar="S", help="side in pixels (default: as they are)")
    add.add_argument(
        "--views",
        "--num-views",
        dest="views",
        type=positive,
        metavar="K",
        help="views of a scene (default: as they are)",
    )


def _export(given: argparse.Namespace) -> int:
    from gqn.data.files.export import export
    from gqn.runtime.console import say

    folder = export(
        given.name,
        given.out,
        given.scenes,
        given.test_scenes,
        splits=_splits(given),
        shard=given.shard,
        workers=_workers(given),
        scenes_per_file=given.scenes_per_file,
        image_size=given.image_size,
        num_views=given.views,
        hold_out=given.hold_out,
        data=given.data,
    )
    say(f"done: {folder} (next: gqn data info {folder})")
    return 0


def _import(given: argparse.Namespace) -> int:
    from gqn.data.files import capture
    from gqn.data.files.conversion import convert
    from gqn.runtime.console import say

    asked = {field.name: getattr(given, field.name) for field in dataclasses.fields(capture.Options)}
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in asked.items() if value
    }
    if given.src.exists() and capture.found(given.src):
        options = capture.Options(**chosen)
        out, per_file = given.out, given.scenes_per_file
        folder = capture.convert(given.src, given.name, out, options, given.split, per_file, _workers(given))
        say(f"done: {folder} (next: gqn data info {folder}; gqn train fast --data {out} -d {given.name})")
        return 0
    if chosen:
        raise BadInput(
            f"{given.src} holds no transforms.json and no model of COLMAP's: leave `{next(iter(chosen))}` away"
        )
    done = convert(
        given.src,
        given.name,
        given.out,
        given.split,
        scenes_per_file=given.scenes_per_file,
        workers=_workers(given),
        skip_damaged=given.skip_damaged,
    )
    splits = " and ".join(f"{number} of {split}" for split, number in done.scenes.items() if number)
    say(f"{sum(done.scenes.values())} scenes ({splits}), {done.views} views, {done.files} files")
    for number, why in ((done.damaged, "damaged"), (done.doubled, "gzipped that are there unpacked, too")):
        if number:
            say(f"left out: {number} files, {why}")
    say(f"done: {done.folder} (next: gqn data info {done.folder}; gqn train --data {given.out} -d {given.name})")
    return 0


def _download(given: argparse.Namespace) -> int:
    from gqn.data.remote.download import download
    from gqn.runtime.console import say

    folder = download(given.name, given.out, given.files, _splits(given), given.address, given.connections)
    say(f"done: {folder} (next: gqn data verify {folder}; gqn train --data {given.out} -d {given.name})")
    return 0


def _info(given: argparse.Namespace) -> int:
    from gqn.data.files import inspect
    from gqn.figures import scenes
    from gqn.runtime.console import say

    found = inspect.info(given.path)
    inspect.show(found)
    try:
        scenes.draw({"frames": found[0].frames}).save(given.sheet)
    except (OSError, ValueError) as error:  # Pillow raises ValueError for an unknown suffix
        raise BadInput(f"cannot write {given.sheet}: {error}: give another --sheet") from error
    say(f"some scenes of {found[0].folder}: {given.sheet}")
    return 0


def _verify(given: argparse.Namespace) -> int:
    from gqn.data.files.inspect import verify_all

    return 1 if verify_all(given.path, _workers(given)) else 0


def _splits(given: argparse.Namespace) -> tuple[str, ...]:
    return ("train", "test") if given.split == "both" else (given.split,)


def _workers(given: argparse.Namespace) -> int:
    return os.cpu_count() or 1 if given.workers is None else given.workers


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(match[1]), int(match[2])

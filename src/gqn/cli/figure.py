"""`gqn figure`: pictures of runs and of datasets."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gqn.artifacts import trained
from gqn.cli.parsing import DATA, Parser, positive, whole
from gqn.errors import RUN, BadInput


def figure(argv: list[str]) -> int:
    """`gqn figure NAME SUBJECT [flags]`: write a picture, its arrays and, if it has them, numbers and an animation."""
    import inspect

    from gqn.runtime import lookup

    names = lookup.names("figures")
    about = f"Draw a figure of a run, or of a dataset. NAME is one of {', '.join(names)}; it has its own --help."
    if not argv or argv[0].startswith("-"):
        parser = Parser("gqn figure", "gqn figure NAME SUBJECT [flags]", about)
        parser.parse_args(argv)
        parser.print_help()
        return 2
    module = lookup.load("figures", argv[0])
    keep = argparse.RawDescriptionHelpFormatter
    parser = Parser(f"gqn figure {argv[0]}", description=module.__doc__, formatter_class=keep)
    parser.add_argument("subject", help="a dataset's name" if module.SUBJECT == "dataset" else RUN)
    parser.add_argument("--out", type=Path, help="picture (default: NAME.png beside RUN, DATASET.png), or animation")
    parser.add_argument("--data", metavar="DIR", help=DATA)
    parameters = inspect.signature(module.compute).parameters
    options = {name: p.default for name, p in parameters.items() if p.default != p.empty and name != "data"}
    for name, default in options.items():
        count = positive if default else whole
        kind: Any = {"action": "store_true"} if isinstance(default, bool) else {"type": count, "metavar": "N"}
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help="(default: %(default)s)", **kind)
    given = parser.parse_args(argv[1:])
    flags = {name: getattr(given, name) for name in options}
    if module.SUBJECT == "dataset":
        subject: Any = [given.subject]
        flags["data"] = given.data or ""
        out = given.out or Path(f"{given.subject}.png")
    else:
        from gqn.artifacts import checkpoint

        config, model = checkpoint.load(given.subject)
        subject = [config if given.data is None else config.having(data=given.data), model]
        out = given.out or trained.beside(given.subject) / f"{argv[0]}.png"
    _draw(module, lambda: module.compute(*subject, **flags), out)
    return 0


def _draw(module: Any, compute: Callable[[], dict[str, Any]], out: Path) -> None:
    """Write a figure's arrays (.npz), picture and, if it has them, numbers (.json) and animation.

    `out` names the picture, or the animation if it has the suffix of one; the other files lie beside it.
    """
    import io
    import json

    import numpy as np
    from PIL import Image

    from gqn.artifacts.checkpoint import write
    from gqn.figures import drawing
    from gqn.runtime.reading import finite

    moves = hasattr(module, "frames")
    animated = moves and out.suffix.lower() in drawing.MOVING
    picture = out.with_suffix(".png") if animated else out
    known = Image.registered_extensions()
    if picture.suffix.lower() not in known or not out.parent.is_dir():  # checked before the computation
        raise BadInput(f"cannot write {out}: {'there is no such folder' if picture.suffix in known else 'choose .png'}")
    arrays = compute()

    def keep(path: Path, content: bytes) -> None:
        write(path, lambda part: part.write_bytes(content))
        print(path)

    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    keep(out.with_suffix(".npz"), file.getvalue())
    if hasattr(module, "numbers"):
        numbers = finite(module.numbers(arrays))
        keep(out.with_suffix(".json"), (json.dumps(numbers, indent=2, allow_nan=False) + "\n").encode())
    module.draw(arrays).save(file := io.BytesIO(), known[picture.suffix.lower()])
    keep(picture, file.getvalue())
    if moves:
        film = out if animated else out.with_suffix(".webp")
        keep(film, drawing.animation(module.frames(arrays), film.suffix.lower()))

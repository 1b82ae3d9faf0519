"""The command line. Torch is imported by the commands and not by this file, so that --help is instant."""

import argparse
import dataclasses
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gqn import __version__, stopping, streams, trained
from gqn.errors import BadInput, Unfamiliar, within_memory
from gqn.parsing import Parser, parsed

USAGE = """usage: gqn COMMAND ...

Generative Query Networks: train, measure and show them.

  train [PRESET] [flags]   train a model, or go on with it
  eval RUN                 measure a run on held-out scenes, beside the floors
  compare RUN RUN ...      put evaluated runs side by side, with significance
  figure NAME RUN          draw a figure of a run, or of a dataset
  view RUN                 see a run think: a page in the browser, served from here
  export RUN --to FORMAT   write a model to give away: safetensors, onnx, hub
  bench NAME               measure speed: step, muon, sampling, render, loader, viewer
  data COMMAND             files of scenes: download, render, export, look at, check
  help COMMAND             what a command does, and its flags; also gqn COMMAND --help
  --version

RUN is a run folder, a .safetensors or .ckpt file, hf://owner/repo, or the name of weights that come with the package:
{names}.
"""

DATA = "files of scenes, in a folder or at an address (default: where the run's lay); '' for rendered scenes"


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code. Bad input is one line on stderr and 2.

    Output that cannot be written does not stop it; it exits with 1 then, if not with another error.
    """
    stopping.end_with_first()
    with streams.standard() as out, stopping.by_signals(process=argv is None), warnings.catch_warnings():
        warnings.showwarning = _warned(warnings.showwarning)
        try:
            code = _run(sys.argv[1:] if argv is None else argv)
            out.flush()
        except SystemExit as stop:  # of argparse and tyro
            out.flush()
            if stop.code or not out.lost:
                raise
            code = 0
        return code or int(out.lost)


def _run(argv: list[str]) -> int:
    if argv[:1] == ["help"] and argv[1:]:
        argv = [*argv[1:], "--help"]
    if argv[:1] in (["--version"], ["-V"]):
        print(f"gqn {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE.format(names=", ".join(trained.shipped()) or "none yet"), end="")
        return 0 if argv else 2
    command = COMMANDS.get(argv[0])
    try:
        if command is None:
            from gqn.lookup import unknown

            raise BadInput(unknown("command", argv[0], COMMANDS))
        with within_memory("close other programs, or ask for less at a time (fewer --samples, --scenes or --workers)"):
            return command(argv[1:]) or 0
    except BadInput as error:
        print(f"gqn: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # of the system: a full disk, too many open files
        print(f"gqn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("gqn: interrupted", file=sys.stderr)
        return stopping.code(stop)


def _warned(show: Callable[..., None]) -> Callable[..., None]:
    """How warnings are shown, with those of this package as one line of the first rank's."""

    def line(message, category, *where, **more):
        if category is not Unfamiliar:
            show(message, category, *where, **more)
        elif int(os.environ.get("LOCAL_RANK", 0)) == 0:
            print(f"gqn: {message}", file=sys.stderr)

    return line


def train(argv: list[str]) -> int:
    """`gqn train [PRESET] [--config FILE] [--dry-run] [flags]`: preset, then file, then flags."""
    import tyro

    from gqn import config as configs

    argv = argv[argv[:1] == ["--"] :]
    name, argv = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("founding", argv)
    base = configs.preset(name)

    @dataclasses.dataclass(frozen=True)
    class Options:
        config: tyro.conf.OmitArgPrefixes[configs.Config]
        place: tyro.conf.OmitArgPrefixes[configs.Place]
        dry_run: bool = False
        """Print the resolved config and the model's size, and exit."""

    first = Parser("gqn train", add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    first.add_argument("--init", default="")
    first.add_argument("-d", "--dataset-name", "--dataset_name")
    given, rest = first.parse_known_args(argv)

    def with_file(base: configs.Config) -> configs.Config:
        return configs.read_toml(given.config, base) if given.config else base

    if init := given.init or with_file(base).init:
        base = base.with_model_of(configs.read(trained.find(init).with_name(trained.CONFIG)))
    base = dataclasses.replace(with_file(base), init=init)
    if given.dataset_name:
        base = base.on(given.dataset_name)
    late = [word for word in rest if word in configs.PRESETS]
    options = parsed(
        tyro.cli,
        Options,
        prog="gqn train",
        hint=f"; PRESET comes first: gqn train {late[0]}" if late else "",
        description="gqn train [PRESET] [--config FILE.toml] [flags]: train a GQN, or go on with it. "
        f"PRESET is one of {', '.join(configs.PRESETS)} (here {name}); with --init, the model's options are those of "
        "the weights; a TOML file, then flags, override both. The same command resumes; with a larger -t, a run goes "
        "on, its schedules from there on those of a run of that length.",
        args=rest,
        default=Options(base, configs.Place()),
    )
    config, place = options.config, options.place
    folder = place.logdir / f"{name}-{config.dataset_name}-{config.image_size}px{place.run_suffix}"
    if options.dry_run:
        return _dry_run(config, folder)

    from gqn.logs import console
    from gqn.train import Stopped, train

    first_rank = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if first_rank:
        console.print(f"preset {name}, run folder {folder}", markup=False)
    try:
        train(config, place, folder)
    except Stopped as stopped:
        if stopped.first:
            console.print(str(stopped))
        return 128 + stopped.signum if stopped.first else 0
    if first_rank:
        console.print(f"done: {folder} (model.safetensors, predictions.png; next: gqn eval {folder})")
    return 0


def _dry_run(config, folder: Path) -> int:
    import torch

    from gqn import config as configs
    from gqn.models.gqn import GQN

    with torch.device("meta"):  # counted, not allocated
        model = GQN(**config.model())
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    print(configs.as_json(config), end="")
    for place in configs.PLACES:
        if getattr(config, place):
            print(f"{place}: {getattr(config, place)}")
    print(f"run folder: {folder}")
    print(f"steps: {config.steps}")
    print(f"parameters: {sum(sizes.values()):,} ({', '.join(f'{name} {n:,}' for name, n in sizes.items())})")
    return 0


def evaluate(argv: list[str]) -> int:
    """`gqn eval RUN`: tables on the screen, and eval.json, eval.npz and eval.png in the run folder."""
    parser = Parser("gqn eval", description="Measure a run on held-out scenes, beside the floors.")
    add = parser.add_argument
    add("run", metavar="RUN", help=trained.RUN)
    add(
        "--context",
        type=_numbers,
        default=(3,),
        metavar="M,...",
        help="numbers of context views (default: 3); several also give curves, eval.png",
    )
    add("--scenes", type=_positive_or_all, default=1000, metavar="N", help="held-out scenes, or all (default: 1000)")
    add("--samples", type=_positive, default=8, metavar="S", help="from the prior, per query (default: %(default)s)")
    add("--importance-samples", type=_positive, default=4, metavar="K", help="of the bound (default: %(default)s)")
    add("--dataset-name", "-d", metavar="NAME", help="a dataset other than the run's")
    add("--data", metavar="DIR", help=DATA)
    add("--num-views", type=_positive, default=0, metavar="N", help="of a scene, the first (default: as the run's)")
    add("--skip-damaged", action="store_true", help="pass over damaged scenes of files, and count them")
    add("--gpu", action="store_true", help="on GPU instead of CPU")
    add("--devices", type=_positive, default=1, metavar="N", help="GPUs, or CPU processes (default: %(default)s)")
    given = parser.parse_args(argv)

    from gqn import results
    from gqn.evaluate import Settings, evaluate

    settings = Settings(
        context=given.context,
        scenes=given.scenes,
        samples=given.samples,
        draws=given.importance_samples,
        dataset=given.dataset_name,
        data=given.data,
        num_views=given.num_views,
        skip_damaged=given.skip_damaged,
        gpu=given.gpu,
        devices=given.devices,
    )
    if found := evaluate(given.run, settings):
        results.show(found)
        print(trained.beside(given.run) / "eval.json")
    return 0


def compare(argv: list[str]) -> int:
    """`gqn compare RUN RUN ...`: evaluated runs side by side."""
    parser = Parser("gqn compare", description="Evaluated runs side by side, against the first.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"after gqn eval: {trained.RUN}")
    given = parser.parse_args(argv)

    from gqn.compare import compare, show

    show(given.runs, compare(given.runs))
    return 0


def figure(argv: list[str]) -> int:
    """`gqn figure NAME SUBJECT [flags]`: a picture; its arrays, numbers and animation, where it has them, beside it."""
    import inspect

    from gqn import lookup

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
    parser.add_argument("subject", help="a dataset's name" if module.SUBJECT == "dataset" else trained.RUN)
    parser.add_argument("--out", type=Path, help="picture (default: NAME.png beside RUN, DATASET.png), or animation")
    parser.add_argument("--data", metavar="DIR", help=DATA)
    parameters = inspect.signature(module.compute).parameters
    options = {name: p.default for name, p in parameters.items() if p.default != p.empty and name != "data"}
    for name, default in options.items():
        count = _positive if default else _whole
        kind: Any = {"action": "store_true"} if isinstance(default, bool) else {"type": count, "metavar": "N"}
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help="(default: %(default)s)", **kind)
    given = parser.parse_args(argv[1:])
    flags = {name: getattr(given, name) for name in options}
    if module.SUBJECT == "dataset":
        subject: Any = [given.subject]
        flags["data"] = given.data or ""
        out = given.out or Path(f"{given.subject}.png")
    else:
        from gqn import checkpoint

        config, model = checkpoint.load(given.subject)
        subject = [config if given.data is None else dataclasses.replace(config, data=given.data), model]
        out = given.out or trained.beside(given.subject) / f"{argv[0]}.png"
    _draw(module, lambda: module.compute(*subject, **flags), out)
    return 0


def _draw(module: Any, compute: Callable[[], dict[str, Any]], out: Path) -> None:
    """Write a figure's arrays, numbers, picture and, where it moves, animation; `out` names the last two's place."""
    import io
    import json

    import numpy as np
    from PIL import Image

    from gqn import drawing
    from gqn.checkpoint import write

    moves = hasattr(module, "frames")
    animated = moves and out.suffix.lower() in drawing.MOVING
    picture = out.with_suffix(".png") if animated else out
    known = Image.registered_extensions()
    if picture.suffix.lower() not in known or not out.parent.is_dir():  # before the work, not after it
        raise BadInput(f"cannot write {out}: {'there is no such folder' if picture.suffix in known else 'choose .png'}")
    arrays = compute()

    def keep(path: Path, content: bytes) -> None:
        write(path, lambda part: part.write_bytes(content))
        print(path)

    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    keep(out.with_suffix(".npz"), file.getvalue())
    if hasattr(module, "numbers"):
        keep(out.with_suffix(".json"), (json.dumps(module.numbers(arrays), indent=2) + "\n").encode())
    module.draw(arrays).save(file := io.BytesIO(), known[picture.suffix.lower()])
    keep(picture, file.getvalue())
    if moves:
        film = out if animated else out.with_suffix(".webp")
        keep(film, drawing.animation(module.frames(arrays), film.suffix.lower()))


def export(argv: list[str]) -> int:
    """`gqn export RUN --to safetensors | onnx | hub`: a model to give away."""
    about = "Write a model to give away: a folder with a model card, the same as a repository on the hub, or a sampler."
    parser = Parser("gqn export", description=about)
    add = parser.add_argument
    add("run", metavar="RUN", help=trained.RUN)
    add("--to", required=True, choices=("safetensors", "onnx", "hub"), help="what to write, or where to")
    add("--out", type=Path, metavar="DIR", help="folder (default: export/NAME, NAME that of RUN)")
    add("--dtype", choices=("f32", "bf16"), default="f32", help="numbers of safetensors (default: %(default)s)")
    add("--repo", metavar="OWNER/NAME", help="repository on the hub, made if it is not there")
    given = parser.parse_args(argv)
    if bool(given.repo) != (given.to == "hub"):
        raise BadInput("--to hub and --repo OWNER/NAME go together")
    if given.to == "onnx" and given.dtype != "f32":
        raise BadInput("a sampler is in float32: leave --dtype away")

    out = given.out or Path("export") / trained.name(given.run)
    if given.to == "onnx":
        from gqn import onnx

        print(onnx.export(given.run, out))
        return 0
    from gqn import export

    if given.to == "hub":
        print(export.upload(given.run, out, given.dtype, given.repo))
    else:
        print(export.export(given.run, out, given.dtype))
    return 0


def data(argv: list[str]) -> int:
    """`gqn data download | render | export | info | verify`: files of scenes, in the released format."""
    from gqn.data import commands

    return commands.main(argv)


def view(argv: list[str]) -> int:
    """`gqn view RUN`: a page in the browser, served until Ctrl-C."""
    about = "See a run think: drag a camera around a scene that it has seen twice. Open the address in a browser."
    parser = Parser("gqn view", description=about)
    add = parser.add_argument
    add("run", metavar="RUN", help=trained.RUN)
    add("--data", metavar="DIR", help="show the scenes of files, in a folder or at an address, and not rendered ones")
    add("--host", default="127.0.0.1", help="address to listen on; beyond this machine a token is asked for")
    add("--port", type=_whole, default=8000, help="0: any that is free (default: %(default)s)")
    add("--threads", type=_positive, metavar="N", help="of the model (default: all but one, which the browser needs)")
    add("--token", help="what the page's address must hold (beyond this machine, by default: a new random one)")
    given = parser.parse_args(argv)
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise BadInput("gqn view needs the extra `viewer`: pip install 'gqn[viewer]'") from error

    import asyncio

    import torch

    from gqn import checkpoint
    from gqn.viewer.answers import Answers
    from gqn.viewer.server import Server, serve

    torch.set_num_threads(given.threads or max(1, torch.get_num_threads() - 1))
    config, model = checkpoint.load(given.run)
    answers = Answers(trained.name(given.run), config, model, given.data)
    server = Server(answers, given.host, given.port, given.token)
    asyncio.run(serve(server, lambda url: print(f"open {url} (Ctrl-C stops)", flush=True)))
    return 0


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def bench(argv: list[str]) -> int:
    """`gqn bench NAME [flags]`: a measurement of the checkout's folder `bench`."""
    import runpy

    folder = Path(__file__).parents[2] / "bench"
    if not folder.is_dir():
        raise BadInput("gqn bench needs a checkout of the project, installed with pip install --editable")
    names = sorted(p.stem for p in folder.glob("*.py") if p.stem != "forms")
    if not argv or argv[0].startswith("-"):
        about = f"Measure speed. NAME is one of {', '.join(names)}; it has its own --help."
        parser = Parser("gqn bench", "gqn bench NAME [flags]", about)
        parser.parse_args(argv)
        parser.print_help()
        return 2
    if argv[0] not in names:
        from gqn.lookup import unknown

        raise BadInput(unknown("measurement", argv[0], names))
    script = folder / f"{argv[0]}.py"
    sys.argv = [str(script), *argv[1:]]
    sys.path.insert(0, str(folder))
    runpy.run_path(str(script), run_name="__main__")
    return 0


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _positive_or_all(text: str) -> int | None:
    return None if text == "all" else _positive(text)


def _numbers(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "eval": evaluate,
    "compare": compare,
    "figure": figure,
    "export": export,
    "data": data,
    "view": view,
    "bench": bench,
}

if __name__ == "__main__":
    sys.exit(main())

"""The command line. Only the commands import torch, not this file, so that --help is instant."""

import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module

from gqn import __version__
from gqn.artifacts import trained
from gqn.cli.parsing import flags
from gqn.errors import BadInput, Unfamiliar, within_memory
from gqn.runtime import stopping, streams

USAGE = """usage: gqn COMMAND ...

Generative Query Networks: train, measure and show them.

  train [PRESET] [flags]   train a model, or resume its training
  eval RUN                 measure a run on held-out scenes, beside the baselines
  compare RUN RUN ...      put evaluated runs side by side, with significance
  figure NAME RUN          draw a figure of a run, or of a dataset
  view RUN                 explore what a model imagines: a page in the browser, served from here
  export RUN --to FORMAT   write a model to give away: safetensors, onnx, hub
  bench NAME               measure speed: step, muon, sampling, render, loader, viewer
  data COMMAND             files of scenes: download, render, export, look at, check
  help COMMAND             what a command does, and its flags; also gqn COMMAND --help
  --version

RUN is a run folder, a .safetensors or .ckpt file, hf://owner/repo, or the name of weights that come with the package:
{names}.
"""

COMMANDS = {  # command -> module of this package, imported on demand, and function
    "train": "train.train",
    "eval": "evaluate.evaluate",
    "compare": "evaluate.compare",
    "figure": "figure.figure",
    "export": "share.export",
    "data": "data.data",
    "view": "share.view",
    "bench": "bench.bench",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code. Bad input prints one line to stderr and returns 2.

    A command goes on if its output cannot be written, but then returns 1 unless it fails with another code.
    """
    stopping.end_with_first()
    with streams.standard() as out, stopping.by_signals(process=argv is None), warnings.catch_warnings():
        warnings.showwarning = _warned(warnings.showwarning)
        try:
            code = _run(sys.argv[1:] if argv is None else argv)
            out.flush()
        except KeyboardInterrupt as stop:
            print("gqn: interrupted", file=sys.stderr)
            return stopping.code(stop)
        except SystemExit as stop:  # raised by argparse and tyro
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
    from gqn.runtime.console import complain, naming

    with naming(flags):
        try:
            with within_memory(
                "close other programs, or ask for less at a time (fewer `samples`, `scenes` or `workers`)"
            ):
                return _command(argv[0])(argv[1:]) or 0
        except (BadInput, OSError) as error:  # OSError: a full disk, too many open files
            complain(error)
            return 2


def _command(name: str) -> Callable[[list[str]], int]:
    if name not in COMMANDS:
        from gqn.runtime.lookup import unknown

        raise BadInput(unknown("command", name, COMMANDS))
    module, function = COMMANDS[name].split(".")
    return getattr(import_module(f"gqn.cli.{module}"), function)


def _warned(show: Callable[..., None]) -> Callable[..., None]:
    """A `warnings.showwarning` that prints this package's warnings as one line, and only in the first rank."""

    def line(message, category, *where, **more):
        if category is not Unfamiliar:
            show(message, category, *where, **more)
        elif int(os.environ.get("LOCAL_RANK", 0)) == 0:
            from gqn.runtime.console import complain

            complain(str(message))

    return line


if __name__ == "__main__":
    sys.exit(main())

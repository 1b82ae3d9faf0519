"""`gqn bench`: run the speed measurements in the folder `bench` of a checkout."""

import sys
from pathlib import Path

from gqn.cli.parsing import Parser
from gqn.errors import BadInput


def bench(argv: list[str]) -> int:
    """`gqn bench NAME [flags]`: run `bench/NAME.py` of the checkout."""
    import runpy

    folder = Path(__file__).parents[3] / "bench"
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
        from gqn.runtime.lookup import unknown

        raise BadInput(unknown("measurement", argv[0], names))
    script = folder / f"{argv[0]}.py"
    sys.argv = [str(script), *argv[1:]]
    sys.path.insert(0, str(folder))
    runpy.run_path(str(script), run_name="__main__")
    return 0

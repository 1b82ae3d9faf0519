"""Imports go down only: between rooms as ROOMS stand, inside a room without a circle; variants do not know each other.

`python tests/test_imports.py` draws it: rooms and files, arrows between rooms, the longest files.
"""

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import gqn
from gqn.runtime import lookup

ROOT = Path(gqn.__file__).parent
ROOMS = [  # from the bottom; a room may import what stands before it
    "errors",
    "runtime",
    "views",
    "objective",
    "models",
    "metrics",
    "scenes",
    "data",
    "presets",
    "config",
    "artifacts",
    "figures",
    "evaluation",
    "training",
    "sharing",
    "viewer",
    "cli",
    "__main__",
]
APART = {"scenes": {"models", "metrics", "objective"}, "data": {"models", "metrics", "objective"}}
VARIANTS = {"models": {"gqn"}, "scenes": {"shepard_metzler", "rooms", "jaco", "mazes"}}
LONGEST = 400  # lines of a file, but for the renderer


def modules():
    """All files of the package, by module."""
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, path


def imports(path):
    """The modules that a file imports, and the names taken from them, as modules may be; not those for types alone."""
    tree = ast.parse(path.read_text())
    types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in set(ast.walk(tree)) - types:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = dict(modules())


def arrows():
    """Which file imports which."""
    for name, path in FILES.items():
        for imported in {i.removeprefix("gqn.") for i in imports(path) if i.startswith("gqn.")} & FILES.keys():
            yield name, imported


def room(name):
    return name.split(".")[0]


def test_every_file_is_in_a_room():
    assert {room(name) for name in FILES} == set(ROOMS)
    assert len(ROOMS) <= 18


def test_imports_between_rooms_go_down():
    up = [(a, b) for a, b in arrows() if ROOMS.index(room(b)) > ROOMS.index(room(a))]
    assert up == []
    assert [(a, b) for a, b in arrows() if room(b) in APART.get(room(a), ())] == []


def test_no_files_import_each_other_in_a_circle():
    graph = {name: set() for name in FILES}
    for a, b in arrows():
        if a != b and not a.startswith(f"{b}."):  # a package is imported before its files
            graph[a].add(b)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' -> '.join(error.args[1])}") from error


def test_variants_do_not_know_each_other():
    for home, names in VARIANTS.items():
        files = {f"{home}.{name}" for name in names}
        assert [(a, b) for a, b in arrows() if a in files and b in files and a != b] == []
    figures = {f"figures.{name}" for name in lookup.names("figures")}
    assert [(a, b) for a, b in arrows() if a in figures and b in figures] == []


def test_nobody_outside_of_models_names_a_model():
    for name, path in FILES.items():
        if room(name) != "models":
            assert "gqn.models.gqn" not in path.read_text() and "GQN(" not in path.read_text(), name


def test_flags_stay_in_the_command_line():
    """Below it, what is said names an option as in Python; git's options, and flags that are read, are no advice."""
    for name, path in FILES.items():
        if room(name) == "cli" or name == "artifacts.provenance":
            continue
        tree = ast.parse(path.read_text())
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        said = [
            node.value for node in texts if node not in prose and re.search(r"(?<![\w-])--[a-z][a-z-]*", node.value)
        ]
        assert said == [], name


def test_no_file_is_too_long():
    lines = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: n for name, n in lines.items() if n > LONGEST} == {"scenes.raycast": lines["scenes.raycast"]}


def main():
    between = Counter((room(a), room(b)) for a, b in arrows() if room(a) != room(b))
    for place in reversed(ROOMS):
        files = [name for name in FILES if room(name) == place]
        below = [f"{b} {n}" for (a, b), n in sorted(between.items(), key=lambda x: ROOMS.index(x[0][1])) if a == place]
        print(f"{place:10} {len(files):3} file{'s' * (len(files) > 1)}  -> {', '.join(below)}")
    up = sum(ROOMS.index(b) > ROOMS.index(a) for a, b in between)
    print(f"{len(ROOMS)} rooms, {len(FILES)} files, {len(between)} arrows between rooms, {up} of them up")
    longest = sorted(FILES, key=lambda name: -len(FILES[name].read_text().splitlines()))[:4]
    print("longest:", ", ".join(f"{name} {len(FILES[name].read_text().splitlines())}" for name in longest))


if __name__ == "__main__":
    main()

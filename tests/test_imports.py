"""Imports go down only: cli, then train, and so on to the types at the bottom; siblings do not know each other."""

import ast
from pathlib import Path

import gqn

ROOT = Path(gqn.__file__).parent
LEVELS = [  # from the bottom; a module may import those of lower levels
    {"errors", "content", "streams", "stopping"},
    {"views", "lookup", "files", "trained", "provenance", "parsing", "viewer.wire"},
    {"checks", "drawing", "layers", "logs", "objective", "optimizers", "ranks", "visibility", "scenes.raycast"},
    {"scenes.textures"},
    {"representations", "scenes", "data.released", "data.jpeg", "data.tfrecord", "data.fetch"},
    {"models", "data.tasks", "data.stored"},
    {"data.remote"},
    {"data.sources", "data.fingerprint", "data.download"},
    {"data.export", "data.inspect"},
    {"metrics", "config"},
    {"checkpoint", "heldout"},
    {"begin"},
    {"results", "editing"},
    {"curves", "card"},
    {"evaluate", "figures"},
    {"train", "compare", "data.commands", "export", "onnx", "viewer.answers"},
    {"viewer.server"},
    {"cli"},
    {"__main__"},
]
FORBIDDEN = {"models": {"data", "scenes", "config"}, "scenes": {"models", "data", "config"}}


def level(module):
    """A file's own name counts before its room's."""
    for name in (module, module.split(".")[0]):
        for height, names in enumerate(LEVELS):
            if name in names:
                return height
    raise AssertionError(f"gqn.{module} has no level: give it one")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not name.endswith("__init__"):
            yield name, path


KNOWN = {name for name, _ in modules()}


def test_imports_go_down():
    for name, path in modules():
        for imported in imports(path):
            target = imported.removeprefix("gqn.")
            if imported.startswith("gqn.") and target in KNOWN:
                assert level(target) < level(name), f"gqn.{name} imports gqn.{target}, which is not below it"
                assert target.split(".")[0] not in FORBIDDEN.get(name.split(".")[0], ())

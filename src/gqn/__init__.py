"""Generative Query Networks (Eslami et al., Science 2018): train, measure, explain and show them.

For a notebook: `load` a model, render a `scene`, compare images by `mse` and `psnr`, show a `picture`. Each is imported
on first use, so that `import gqn` is fast.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

NOTEBOOK = {
    "load": "gqn.artifacts.checkpoint",
    "scene": "gqn.data.sources",
    "mse": "gqn.metrics.images",
    "psnr": "gqn.metrics.images",
    "picture": "gqn.figures.drawing",
}


def __getattr__(name: str) -> Any:
    if name not in NOTEBOOK:
        raise AttributeError(f"module 'gqn' has no attribute {name!r}")
    return getattr(import_module(NOTEBOOK[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *NOTEBOOK])

"""Does changing a property change the representation alike in every scene? The paper's factorised code, as a number.

For a change of one property, from a to b, and base scenes i that differ in everything else,

    delta_i = r(scene i with b) - r(scene i with a),    s = mean over i != j of cos(delta_i, delta_j),

where r is the representation of the views of always the same cameras. Bars are the mean of s over changes, with its
standard error. Beside them are the same with the images themselves in place of r, and chance: delta_j then comes from a
change of another property.

What to expect of a factorised code: s far above chance. It is also above that of images wherever a change affects other
pixels in each scene (hue, shape, size: objects stand in other places).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.data.tasks import rng
from gqn.figures import drawing, editing, heldout
from gqn.metrics import statistics
from gqn.models import Model

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
SPACES = {"representation": "representations", "pixels": "images"}


def compute(config: Config, model: Model, changes: int = 16, bases: int = 12) -> Arrays:
    """`representation` and `pixels` (2, P, changes): s for every property and change, then the same for chance.

    BadInput if the dataset is not of rooms.
    """
    held_out = editing.scenes(config)
    cameras, _ = editing.around(held_out, config.data.max_context_size)
    units: dict[str, list[NDArray[Any]]] = {space: [] for space in SPACES}
    for number, prop in enumerate(editing.PROPERTIES.values()):
        for change in range(changes):
            generator = rng(heldout.SEED, number, change)
            pair = prop.pair(generator)
            scenes = [editing.base(generator) for _ in range(bases)]
            before, after = (editing.seen(held_out, [prop.edit(s, value) for s in scenes], cameras) for value in pair)
            codes = editing.codes(model, after) - editing.codes(model, before)
            units["representation"].append(unit(codes.flatten(1).double().numpy()))
            units["pixels"].append(unit((after.frames - before.frames).flatten(1).double().numpy()))
    shape = (len(editing.PROPERTIES), changes, bases, -1)
    return {space: np.stack(agreement(np.stack(parts).reshape(shape))) for space, parts in units.items()}


def unit(deltas: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (N, D) scaled to length one; zero vectors stay zero."""
    return deltas / np.linalg.norm(deltas, axis=1, keepdims=True).clip(1e-12)


def agreement(units: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Mean cosines, (P, changes) each, between unit vectors (P, changes, bases, D).

    First between base scenes with the same change, then between scenes with changes of two different properties.
    """
    bases, properties = units.shape[2], len(units)
    mean = units.mean(2)
    itself = (units**2).sum((2, 3))
    same = ((mean**2).sum(2) * bases**2 - itself) / (bases * (bases - 1))
    others = (mean.sum(0) - mean) / (properties - 1)
    return same, (mean * others).sum(2)


def numbers(arrays: Arrays) -> dict[str, Any]:
    """The mean cosine for each property and for chance, of representations and of images; over changes."""
    values: dict[str, Any] = {}
    for space in SPACES:
        same, chance = arrays[space]
        values |= {f"{space}_{p}": statistics.estimate(s) for p, s in zip(editing.PROPERTIES, same, strict=True)}
        values[f"{space}_chance"] = statistics.estimate(chance.mean(0))
    return values


def draw(arrays: Arrays) -> Image.Image:
    """A group of bars per property."""
    from matplotlib.figure import Figure

    values, properties = numbers(arrays), list(editing.PROPERTIES)
    figure = Figure((9, 4.5), layout="constrained")
    ax = figure.subplots()
    at = np.arange(len(properties))
    for i, ((space, plural), colour) in enumerate(zip(SPACES.items(), ("tab:blue", "tab:gray"), strict=True)):
        bars = [values[f"{space}_{p}"] for p in properties]
        heights, errors = [b["mean"] for b in bars], [b["stderr"] for b in bars]
        ax.bar(at + 0.38 * i, heights, 0.36, yerr=errors, capsize=3, color=colour, label=f"change of {plural}")
    chance = values["representation_chance"]["mean"]
    ax.axhline(chance, color="black", linestyle=":", label="chance: changes of two properties")
    ax.set(
        xticks=at + 0.19,
        xticklabels=properties,
        ylabel="mean cosine between base scenes",
        title="the same change of one property, made in different scenes: do the changes point the same way?",
    )
    figure.legend(loc="outside lower center", ncol=3, fontsize=9)
    return drawing.plot(figure)

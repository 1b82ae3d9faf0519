"""Composition: are pairs of shape and hue that were held out in training drawn as well as those that were seen?

Every scene is a room with one object of a held-out pair (`gqn.scenes.rooms.HELD_OUT`). Its twin is the same room, but
its object has a hue that training showed with that shape. Of both, one sample from the prior is drawn, given views from
the same three cameras. Of several cameras, the query is the one that sees most of the object. The error is the RMSE on
0-255, over all pixels and over the object's pixels alone (known from the renderer).

What to expect of a model trained with --hold-out: an error on held-out pairs like that on seen ones, and far below that
of painting the object in its twin's hue, which a model that only remembers pairs would do. A model trained without
--hold-out has seen both kinds of pairs: it is a control.
"""

import colorsys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.data.tasks import rng
from gqn.figures import drawing, editing, heldout
from gqn.figures.drawing import Group
from gqn.metrics import statistics
from gqn.models import Model
from gqn.scenes import raycast, rooms
from gqn.views import Task

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
PAIRS = ("seen", "held_out")
CONTEXT, CHOICE = 3, 8  # context views, cameras to choose the query among


@torch.no_grad()
def compute(config: Config, model: Model, scene: int = 0, scenes: int = 300) -> Arrays:
    """Scenes from number `scene` on; BadInput if the dataset is not of rooms.

    `shape` (N,): index into `rooms.SHAPES`; `truth` and `drawn` (N, 2, H, W, 3), in the order of PAIRS; `object`
    (N, H, W): whether a pixel is the object's; `hold_out`: whether training left the held-out pairs out.
    """
    source = editing.scenes(config)
    held = replace(source.family, only_held_out=True, max_objects=1)
    shapes, masks, tasks = [], [], []
    for number in range(scene, scene + scenes):
        generator = rng(heldout.SEED, number)
        one = held.sample(generator)
        cameras = source.family.cameras(generator, one, CONTEXT + CHOICE)
        masks_here = source.family.inspect(one, cameras[CONTEXT:], source.image_size)[1] == 0
        best = int(masks_here.sum((1, 2)).argmax())
        both = [twin(one, generator), one]
        context, query = (editing.seen(source, both, cameras[i]) for i in (slice(CONTEXT), [CONTEXT + best]))
        tasks.append(Task(context, query))
        masks.append(masks_here[best])
        shapes.append(list(rooms.SHAPES).index(one.objects[0].shape))
    noise = torch.Generator().manual_seed(heldout.SEED)
    drawn = [model.sample(model.represent(t.context), t.query.cameras, noise)[0, :, 0] for t in tasks]
    return {
        "shape": np.array(shapes),
        "truth": drawing.images(torch.stack([t.query.frames[:, 0] for t in tasks])),
        "drawn": drawing.images(torch.stack(drawn)),
        "object": np.stack(masks),
        "hold_out": np.array(config.data.hold_out),
    }


def twin(scene: rooms.Scene, generator: np.random.Generator) -> rooms.Scene:
    """The scene, its object in a random hue that training shows with the object's shape."""
    (one,) = scene.objects
    _, saturation, value = colorsys.rgb_to_hsv(*one.colour)
    arc = 1 / len(rooms.SHAPES)  # width of the range of held-out hues, which begins at HELD_OUT
    hue = rooms.HELD_OUT[one.shape] + generator.uniform(arc, 1)
    colour = tuple(raycast.hsv(np.array(hue % 1), saturation, value).tolist())
    return replace(scene, objects=(replace(one, colour=colour),))


def errors(arrays: Arrays) -> dict[str, NDArray[np.floating]]:
    """RMSE, 0-255, (N, 2) in the order of PAIRS: over `all` pixels and over the `object`'s.

    `wrong_hue` (N, 2): over the object's pixels, with the twin's true image in place of the sample.
    """
    truth, drawn = arrays["truth"].astype(float), arrays["drawn"].astype(float)
    mask = arrays["object"][:, None]

    weight = mask[..., None].astype(float)
    return {
        "all": statistics.rmse(drawn, truth, 2),
        "object": statistics.rmse(drawn, truth, 2, weight),
        "wrong_hue": statistics.rmse(truth[:, ::-1], truth, 2, weight),
    }


def numbers(arrays: Arrays) -> dict[str, Any]:
    """The errors on both kinds of pairs, and the difference, held-out minus seen; over scenes."""
    values: dict[str, Any] = {}
    for where, error in errors(arrays).items():
        if where == "wrong_hue":
            values[where] = statistics.estimate(error[:, 1])
            continue
        values |= {f"{where}_{pair}": statistics.estimate(error[:, i]) for i, pair in enumerate(PAIRS)}
        values[f"{where}_difference"] = statistics.estimate(error[:, 1] - error[:, 0])
    return values


def draw(arrays: Arrays) -> Image.Image:
    """The errors as bars, and an example of each shape."""
    from matplotlib.figure import Figure

    values = numbers(arrays)
    figure = Figure((8, 3.2), layout="constrained")
    ax = figure.subplots()
    held = "held out in training" if arrays["hold_out"] else "seen as well (control)"
    for i, (pair, label, colour) in enumerate(
        zip(PAIRS, ("seen pairs", held), ("tab:blue", "tab:orange"), strict=True)
    ):
        bars = [values[f"{where}_{pair}"] for where in ("all", "object")]
        at = np.arange(2) + 0.3 * i
        ax.bar(
            at, [b["mean"] for b in bars], 0.28, yerr=[b["stderr"] for b in bars], capsize=3, color=colour, label=label
        )
    wrong = values["wrong_hue"]["mean"]
    ax.plot([0.85, 1.45], [wrong, wrong], "k:", label="the object in its twin's hue")
    ax.set(xticks=[0.15, 1.15], xticklabels=["all pixels", "the object's pixels"], ylabel="RMSE, 0-255")
    ax.set_title(f"pairs of shape and hue: {len(arrays['shape'])} rooms with one object, and their twins")
    ax.legend(fontsize=9, loc="upper left")
    present = np.unique(arrays["shape"])
    shown = [int(np.flatnonzero(arrays["shape"] == s)[0]) for s in present]
    examples = np.stack([arrays[kind][shown, i] for i in range(2) for kind in ("truth", "drawn")])  # (4, shapes, ...)
    rows = ["seen pair:\ntruth", "sample", f"{held}:\ntruth", "sample"]
    group = Group("an object of each shape", examples, [list(rooms.SHAPES)[s] for s in present])
    return drawing.below(drawing.plot(figure), drawing.sheet([group], rows))

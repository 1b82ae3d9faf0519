"""Where single views of several scenes lie in the space of representations: the paper's figure S9 (t-SNE).

Each point is the representation of one view, r = represent({view}), flattened; colours are scenes. t-SNE and PCA map
the representations, and for comparison the images themselves, to the plane. For both, two numbers are given, with V
views of each scene: how often the nearest neighbour (Euclidean) of a view is of the same scene, and the share of its
V - 1 nearest neighbours that are.

What to expect: views of one scene lie together in the space of representations, wherever they were taken from, but not
in that of images.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gqn.config import Config
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.figures import drawing, editing, heldout
from gqn.metrics import statistics
from gqn.models import Model
from gqn.views import Views

Arrays = dict[str, NDArray[Any]]
SUBJECT = "run"
SPACES = {"representation": "representations", "pixels": "images"}


def compute(config: Config, model: Model, scene: int = 0, scenes: int = 10, views: int = 9) -> Arrays:
    """The N = `scenes` x `views` single views of held-out scenes, from number `scene` on, as points.

    `scene` (N,): which scene a view is of. For each S of `representation` and `pixels`: `S` (N, D), and its maps to the
    plane, `S_tsne` and `S_pca` (N, 2).
    BadInput without scikit-learn, or if the model's representation is not a tensor.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise BadInput("this figure needs the extra tsne: pip install 'gqn[tsne]'") from error
    seen = heldout.tasks(source(**config.scenes("test")), scene, scenes, views).context
    codes = editing.codes(model, one_by_one(seen)).flatten(1)
    arrays = {"scene": np.repeat(np.arange(scenes), views)}
    for name, points in {"representation": codes, "pixels": seen.frames.flatten(0, 1).flatten(1)}.items():
        x = points.numpy()
        perplexity = min(views, (len(x) - 1) / 3)
        arrays[name] = x
        arrays[f"{name}_pca"] = PCA(2).fit_transform(x)
        arrays[f"{name}_tsne"] = TSNE(perplexity=perplexity, init="pca", random_state=heldout.SEED).fit_transform(x)
    return arrays


def one_by_one(views: Views) -> Views:
    """Views (B, M) as contexts of one view each, (B M, 1)."""
    pose = views.cameras.pose.flatten(0, 1)[:, None]
    return Views(views.frames.flatten(0, 1)[:, None], replace(views.cameras, pose=pose))


def numbers(arrays: Arrays) -> dict[str, Any]:
    """`S_nearest` and `S_neighbours` for both spaces S, over scenes, and `chance`, their value by chance.

    `nearest`: the share of views whose nearest neighbour is of the same scene; `neighbours`: the share of the V - 1
    nearest that are.
    """
    scene = arrays["scene"]
    views = int((scene == scene[0]).sum())
    values: dict[str, Any] = {"chance": (views - 1) / (len(scene) - 1)}
    for name in SPACES:
        same = scene[order(arrays[name])[:, : views - 1]] == scene[:, None]
        for kind, hits in {"nearest": same[:, 0], "neighbours": same.mean(1)}.items():
            values[f"{name}_{kind}"] = statistics.estimate(hits.reshape(-1, views).mean(1))
    return values


def order(points: NDArray[np.floating]) -> NDArray[np.int64]:
    """For each point, the indices of the others by distance, nearest first: (N, N - 1)."""
    square = (points.astype(float) ** 2).sum(1)
    distance = square[:, None] + square - 2 * points.astype(float) @ points.T.astype(float)
    np.fill_diagonal(distance, -np.inf)
    return distance.argsort(1)[:, 1:]


def draw(arrays: Arrays) -> Image.Image:
    """t-SNE above, PCA below; representations on the left, images on the right; a colour and marker per scene."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    values, scene = numbers(arrays), arrays["scene"]
    near = int((scene == scene[0]).sum()) - 1
    figure = Figure((9, 8.6), layout="constrained")
    axes = figure.subplots(2, 2)
    for column, (name, plural) in enumerate(SPACES.items()):
        for row, method in enumerate(("tsne", "pca")):
            ax = axes[row, column]
            for s in range(scene.max() + 1):
                x, y = arrays[f"{name}_{method}"][scene == s].T
                ax.scatter(x, y, 36, color=colormaps["tab10"](s % 10), marker="osv^DPX*<>"[s // 10 % 10])
            ax.set(xticks=[], yticks=[], title=f"{'t-SNE' if method == 'tsne' else 'PCA'} of {plural}")
        of = {kind: 100 * values[f"{name}_{kind}"]["mean"] for kind in ("nearest", "neighbours")}
        axes[1, column].set_xlabel(
            f"of the same scene: the nearest neighbour {of['nearest']:.0f} %,\n"
            f"the {near} nearest {of['neighbours']:.0f} % (chance {100 * values['chance']:.0f} %)"
        )
    figure.suptitle(f"one point per view, one colour per scene ({scene.max() + 1} scenes)")
    return drawing.plot(figure)

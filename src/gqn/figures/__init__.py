"""Figures: one file each, found by its name and run by `gqn figure NAME RUN`.

A figure's file has a docstring (the paper's figure, the formula, what to expect) and

    SUBJECT = "run"                              or "dataset", then `compute(dataset, ..., data)` and no `numbers`
    compute(config, model, ...) -> arrays        a dict of NumPy arrays with all that the others need, stored as .npz
    numbers(arrays) -> numbers                   the measurements by name, stored as .json: a float, or {"mean",
                                                 "stderr"} over scenes
    draw(arrays) -> picture                      a PIL image that needs no caption
    frames(arrays) -> pictures                   only if the figure moves too: an animation beside the picture

Keyword arguments of `compute`, except `data`, are flags of the command: `fresh: bool = False` is --fresh, and
`scene: int = 0` is --scene; a number may be zero only where that is its default.
Figures use a model only through the methods of `gqn.models.Model`. What figures share is in `drawing` (sheets of
images, plots, animations), `heldout` (scenes and views to show) and `editing` (rooms that differ in one property). A
module outside of the package that has a `compute` can be used as a figure by its dotted name.
"""

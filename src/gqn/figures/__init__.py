"""Figures: one file each, found by its name and run by `gqn figure NAME RUN`.

A figure's file has a docstring (the paper's figure, the formula, what to expect) and

    SUBJECT = "run"                              or "dataset", then `compute(dataset, ..., data)` and no `numbers`
    compute(config, model, ...) -> arrays        a dict of numpy arrays: all that the others need, kept as .npz
    numbers(arrays) -> numbers                   what was measured, kept as .json: a float, or {"mean", "stderr"} over
                                                 scenes, by name
    draw(arrays) -> picture                      a PIL image that needs no caption
    frames(arrays) -> pictures                   only if the figure moves too: an animation beside the picture

Keyword arguments of `compute`, but `data`, are flags of the command: `fresh: bool = False` is --fresh, `scene: int = 0`
is --scene; a number may be zero only where that is its default.
A model is used through its verbs alone (`gqn.objective.Model`). What figures share is in `gqn.drawing` (sheets of
images, plots, animations) and `gqn.heldout` (scenes and views to show).
"""

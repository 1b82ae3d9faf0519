"""Metrics: pure functions, independent of runs and files.

`images`: errors and similarity of images. `information`: bounds, surprise, predicted gain. `statistics`: RMSE, spread,
standard error. `visibility`: which pixels a context saw.

To add a metric of images, write a function and add a row to `images.METRICS`, which says how tables show it.
"""

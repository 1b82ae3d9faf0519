"""The curves of an evaluation show every metric with its errors."""

from gqn.evaluation import curves, results
from gqn.evaluation.results import MODEL


def test_curves_show_every_metric(run):
    figure = curves.plot(results.load(run))
    titles = [axis.get_title("left") for axis in figure.axes]
    assert len(titles) == 12 and {"MSE", "SSIM", "calibration (1 is right)", "loss - floor, nats"} <= set(titles)
    mse = figure.axes[titles.index("MSE")]
    assert len(mse.containers) == 5
    line = mse.containers[0].lines[0]
    found = results.load(run)
    assert list(line.get_xdata()) == [1, 2, 4]
    assert list(line.get_ydata()) == [found.summary(k, MODEL)["mse"]["mean"] for k in (1, 2, 4)]

"""TensorBoard gets curves, histograms and pictures of a run."""


def test_tensorboard_has_curves_histograms_and_pictures(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight)).Reload().Tags()
    assert {"train/loss", "val/excess", "train/learning_rate", "train/pixel_std"} <= set(events["scalars"])
    assert "predictions" in events["images"]
    assert any(name.startswith("gradients/") for name in events["histograms"])

"""The schedules of pixel std and learning rate."""

from gqn.config import Config


def anneal(samples: int, initial: float, final: float, over: int) -> float:
    """Linear from `initial` to `final` over the first `over` training samples, then constant."""
    return final if samples >= over else initial + (final - initial) * samples / over


def schedule(config: Config, samples: int) -> tuple[float, float]:
    """Pixel std and learning rate after `samples` training samples."""
    whole, std, rate = config.run.num_train_samples, config.objective, config.optimizer
    pixel_std = anneal(samples, std.pixel_std_initial, std.pixel_std_final, round(std.pixel_std_fraction * whole))
    learning_rate = anneal(
        samples, rate.learning_rate_initial, rate.learning_rate_final, round(rate.learning_rate_fraction * whole)
    )
    return pixel_std, learning_rate * anneal(samples, 0.0, 1.0, rate.learning_rate_warmup)

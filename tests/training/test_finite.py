"""What is not finite is named with its step, and never saved."""

import pytest

from gqn.artifacts import checkpoint
from gqn.training import loop as training
from gqn.training.finite import NotFinite
from gqn.training.loop import train
from support import BRIEF as TOY
from support import HERE


@pytest.mark.parametrize(
    ("samples", "says"), [(20, r"log_likelihood is not finite at step 6"), (28, r"weight .* step 8")]
)
def test_what_is_not_finite_is_named_and_never_saved(tmp_path, monkeypatch, samples, says):
    """Poison after step 5, and in the very step whose weights are to be saved."""

    def poisoned(config, seen):
        return 0.7, float("nan") if seen == samples else 1e-3

    monkeypatch.setattr(training, "schedule", poisoned)
    with pytest.raises(NotFinite, match=rf"{says}.*: the last good checkpoint is .*latest\.ckpt"):
        train(TOY, HERE, tmp_path / "run")
    state = checkpoint.load_state(tmp_path / "run", print)
    assert state["step"] == 4 and all(weight.isfinite().all() for weight in state["model"].values())

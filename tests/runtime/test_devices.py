"""Several processes train one model as one process does: every preset, the smallest options, both optimizers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gqn.runtime import devices

PROGRAM = """
import torch
from support import made_up
from gqn.artifacts import checkpoint
from gqn.runtime import devices
from gqn.config import preset, PRESETS
from gqn.objective import elbo
from gqn.training.optimizers import optimizers, update

SMALL = dict(image_size=16, representation_maps=16, num_recurrent_maps=8, num_canvas_maps=8)


def trained(config, setup, rank, count):
    model = checkpoint.build(config)
    steppers = optimizers(model, config.optimizer.name, 1e-3, (rank, count))
    whole, *_ = setup(model, *steppers)
    for step in range(3):
        task = made_up(batch=4, seed=step)[4 // count * rank : 4 // count * (rank + 1)]
        for stepper in steppers:
            stepper.zero_grad()
        noise = model.noise(4, 1, torch.Generator().manual_seed(step))[:, 4 // count * rank : 4 // count * (rank + 1)]
        prediction = whole(task.context, task.query, 0.7, noise)
        (-elbo(prediction, task.query.frames).elbo.mean()).backward()
        update(steppers, 1e-3)
    return model


fabric = devices.launch(False, 2)
for name in PRESETS:
    for steps in (1, 2):
        config = preset(name).having(num_steps=steps, **SMALL)
        both = trained(config, fabric.setup, fabric.global_rank, 2)
        alone = trained(config, lambda *all: all, 0, 1)
        for (weight, a), b in zip(both.named_parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=f"{name}, {steps} steps: {weight}")
        if fabric.is_global_zero:
            print("equal", name, steps, flush=True)
"""


def test_two_processes_train_every_preset_as_one_does(tmp_path):
    (tmp_path / "program.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{PROGRAM}"
    )
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {f"equal {name} {steps}" for name in ("paper", "founding", "demo", "fast") for steps in (1, 2)} <= set(
        done.stdout.splitlines()
    )


@pytest.mark.parametrize("before", [True, False])
def test_algorithms_are_searched_for_only_where_asked(before, monkeypatch):
    """In training, whose shapes come again; not in a validation, nor where runs are to be repeatable."""
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", before)
    with pytest.raises(ZeroDivisionError), devices.searching():
        assert cudnn.benchmark
        raise ZeroDivisionError
    assert cudnn.benchmark == before
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    with devices.searching():
        assert not cudnn.benchmark


def test_repeatable(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    try:
        devices.repeatable()
        assert torch.are_deterministic_algorithms_enabled() and os.environ["CUBLAS_WORKSPACE_CONFIG"]
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)


def test_products_of_matrices_stay_in_float32():
    """Cameras and Muon need it. Convolutions in float32 may use TF32."""
    assert not torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32

"""The training step: what it does to the weights, what it gives back, and that it can be captured."""

import pytest
import torch
from lightning_fabric import Fabric

from gqn.artifacts import checkpoint
from gqn.config import preset
from gqn.objective import elbo
from gqn.training.optimizers import optimizers
from gqn.training.step import Step
from support import made_up

SMALL = dict(image_size=16, representation_maps=16, num_recurrent_maps=8, num_canvas_maps=8)
PRESETS = ("demo", "founding")  # Muon, Adam


def made(name, accumulate=1):
    config = preset(name, **SMALL)
    model = checkpoint.build(config)
    return model, Step(
        Fabric(accelerator="cpu", devices=1), model, optimizers(model, config.optimizer.name, 1.0), accumulate
    )


def steps(name, count=3, accumulate=1, kind=float):
    """A model after a few steps, and what the last one recorded."""
    model, step = made(name, accumulate)
    for i in range(count):
        noise = model.noise(4, 1, torch.Generator().manual_seed(i))
        recorded = step(made_up(batch=4, seed=i), noise, kind(0.5), kind(1e-3 / (i + 1)))
    return model, recorded


def near(one, other, atol=1e-5):
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol, msg=name)


@pytest.mark.parametrize("name", PRESETS)
def test_it_is_forward_backward_update(name):
    """As written out by hand, at the rate of each call."""
    model = checkpoint.build(preset(name, **SMALL))
    steppers = optimizers(model, preset(name).optimizer.name, 1.0)
    for i in range(3):
        task, noise = made_up(batch=4, seed=i), model.noise(4, 1, torch.Generator().manual_seed(i))
        model.zero_grad()
        prediction = model(task.context, task.query, 0.5, noise)
        score = elbo(prediction, task.query.frames)
        (-score.elbo.mean()).backward()
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = 1e-3 / (i + 1)
            stepper.step()
    ours, recorded = steps(name)
    near(ours, model, 0)
    expected = {"loss": -score.elbo, "excess": score.excess, "kl": score.kl, "mse": score.mse}
    assert recorded.keys() == {*expected, "kl_steps"}
    for term, value in expected.items():
        torch.testing.assert_close(recorded[term], value.mean())
    torch.testing.assert_close(recorded["kl_steps"], prediction.kl.mean((0, 1, 2)))
    assert not any(value.requires_grad for value in recorded.values())


@pytest.mark.parametrize("name", PRESETS)
def test_parts_add_up_to_the_batch(name):
    whole, recorded = steps(name)
    for accumulate in (2, 4):
        parts, same = steps(name, accumulate=accumulate)
        near(whole, parts)
        for term, value in recorded.items():
            torch.testing.assert_close(same[term], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_pixel_std_and_learning_rate_may_be_tensors(name):
    """As those that a captured step reads."""
    near(steps(name)[0], steps(name, kind=lambda value: torch.tensor(value, dtype=torch.float64))[0])


@pytest.mark.parametrize("name", PRESETS)
def test_it_does_not_talk_to_the_host(name, monkeypatch):
    """It reads no value of a tensor, and makes none from values of the host."""
    model, step = made(name)
    task, noise = made_up(batch=4), model.noise(4, 1)

    def refuse(*_, **__):
        raise AssertionError("the host was asked")

    step(task, noise, 0.5, 1e-3)  # the optimizers' first step makes their state
    for where in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, where, refuse)
    for where in ("tensor", "from_numpy"):
        monkeypatch.setattr(torch, where, refuse)
    step(task, noise, 0.5, 1e-3)

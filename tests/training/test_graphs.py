"""Steps as graphs. On the CPU graphs are plain calls: the same buffers, the same updates in place.

On a GPU, they are real: against steps without graphs, for every preset and number of context views.
"""

import dataclasses
import os
import signal

import pytest
import torch
from lightning_fabric import Fabric

from gqn.artifacts import checkpoint
from gqn.config import PRESETS, preset
from gqn.training import loop
from gqn.training.graphs import CudaRecorder, Graphs, _capturable
from gqn.training.loop import train
from gqn.training.optimizers import optimizers
from gqn.training.step import Step
from support import BRIEF, HERE, made_up, needs_gpu, records, same_weights

NARROW = dict(image_size=16, representation_maps=16, num_recurrent_maps=8, num_canvas_maps=8, num_steps=3)
MOST = 3  # context views


class Plain:
    """In place of `CudaRecorder`: a replay does the work again, and its results lie where they did before."""

    bytes = 3 << 30

    def __init__(self):
        self.ran = self.recordings = self.replays = 0

    def run(self, work):
        self.ran += 1
        return work()

    def record(self, work):
        self.recordings += 1
        results = {}

        def replay():
            self.replays += 1
            for name, value in work().items():
                results.setdefault(name, value).copy_(value)
            return results

        return replay


class Refusing(Plain):
    def record(self, work):
        raise RuntimeError("operation not permitted when stream is capturing\nMore.")


def made(name, device="cpu", said=None, recorder=None, graph=True):
    """A narrow model of a preset, and its training step, as graphs or not."""
    config = preset(name, **NARROW)
    model = checkpoint.build(config).to(device)
    fabric = Fabric(accelerator="cuda" if device == "cuda" else "cpu", devices=1)
    step = Step(fabric, model, optimizers(model, config.optimizer.name, 1.0))
    if not graph:
        return model, step
    recorder = recorder or (CudaRecorder(fabric.device, list(model.parameters())) if device == "cuda" else Plain())
    return model, Graphs(step, recorder, MOST, [].append if said is None else said.append)


def inputs(model, number, device="cpu"):
    """Task, noise, pixel std and learning rate of a step; every number of context views comes every few steps."""
    task = made_up(batch=4, context=1 + number % MOST, seed=number).to(device)
    noise = model.noise(4, 1, torch.Generator(device).manual_seed(number))
    return task, noise, 0.5 + 0.1 * number, 1e-3 / (number + 1)


def trained(name, count=4 * MOST, **options):
    """The model after some steps, and what they recorded."""
    model, step = made(name, **options)
    device = options.get("device", "cpu")
    return model, [step(*inputs(model, number, device)) for number in range(count)], step


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["founding", "demo", "paper"])
def test_replayed_steps_are_those_without_graphs_to_the_last_bit(name):
    plain, expected, _ = trained(name, graph=False)
    model, recorded, step = trained(name)
    assert equal(plain, model)
    for ours, theirs in zip(recorded, expected, strict=True):
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[term], theirs[term]) for term in ours)
    plain = step.recorder
    assert (plain.ran, plain.recordings, plain.replays) == (MOST, MOST, 3 * MOST)  # the first of each shape is not one


def test_a_whole_run_is_the_same(straight, tmp_path, monkeypatch, at_step):
    """With its validations and records, stopped and resumed in the middle, where no graphs are left."""
    monkeypatch.setattr(loop, "graphed", lambda step, *_: Graphs(step, Plain(), MOST, print))
    at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.Stopped):
        train(BRIEF, HERE, tmp_path / "run")
    at_step(-1, None)
    train(BRIEF, HERE, tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")
    for ours, theirs in zip(records(tmp_path / "run", "val"), records(straight, "val"), strict=True):
        assert ours == theirs


@pytest.mark.parametrize("name", ["founding", "demo"])
def test_all_that_a_graph_writes_stays_where_it_is(name):
    """A graph knows addresses: a weight or a state that moved would not be trained."""
    model, step = made(name)
    where = []
    for number in range(3 * MOST):
        step(*inputs(model, number))
        states = [value for each in step.optimizers for state in each.state.values() for value in state.values()]
        where.append([x.data_ptr() for x in [*model.parameters(), *states, *step.scalars]])
    assert where[1:] == where[:-1]


def test_a_shape_that_comes_again_is_recorded_once_and_others_are_other_graphs():
    model, step = made("founding")
    for views in (1, 1, 2, 1, 2, 2, 1):
        task, noise, *rates = inputs(model, 0)
        step(dataclasses.replace(task, context=made_up(batch=4, context=views).context), noise, *rates)
    assert (step.recorder.ran, step.recorder.recordings, step.recorder.replays) == (2, 2, 5)


def test_when_all_shapes_are_recorded_it_says_so():
    said = []
    trained("founding", said=said)
    [line] = said
    assert line.startswith("steps are 3 CUDA graphs, recorded in ") and line.endswith("they keep 3.0 GiB")


def test_where_nothing_can_be_recorded_training_goes_on_and_says_so_once():
    said = []
    plain, expected, _ = trained("demo", graph=False)
    model, recorded, step = trained("demo", said=said, recorder=Refusing())
    assert equal(plain, model)
    assert [r["loss"] for r in recorded] == [r["loss"] for r in expected]
    assert said == [
        "training goes on without CUDA graphs (`graph=False`): operation not permitted when stream is capturing"
    ]
    assert step.recorder.ran == 4 * MOST


def test_a_reason_without_words_is_named_by_its_kind():
    class Silent(Plain):
        def record(self, work):
            raise RuntimeError

    said = []
    trained("founding", said=said, recorder=Silent())
    assert said == ["training goes on without CUDA graphs (`graph=False`): RuntimeError"]


def test_errors_of_another_kind_are_not_hidden():
    class Wrong(Plain):
        def record(self, work):
            raise KeyError("a mistake")

    with pytest.raises(KeyError):
        trained("founding", recorder=Wrong())


def test_adam_may_be_recorded_only_while_it_is():
    _, step = made("demo")
    adam = step.optimizers[0]
    with pytest.raises(ZeroDivisionError), _capturable(step.optimizers):
        assert all(group["capturable"] for group in adam.param_groups)
        raise ZeroDivisionError
    assert not any(group["capturable"] for group in adam.param_groups)
    assert "capturable" not in step.optimizers[1].param_groups[0]  # Muon has nothing of the kind


def test_a_cpu_has_no_graphs():
    model, step = made("founding", graph=False)
    fabric, config = step.fabric, preset("founding")
    assert loop.graphed(step, fabric, config, HERE, model, print) is step


@needs_gpu
@pytest.mark.parametrize("name", PRESETS)
def test_on_a_gpu_graphs_train_as_steps_without(name):
    """Equal to rounding: sums in other orders, as between any two runs on a GPU."""
    plain, expected, _ = trained(name, device="cuda", graph=False)
    model, recorded, step = trained(name, device="cuda")
    assert len(step.recorded) == MOST
    for ours, theirs in zip(recorded, expected, strict=True):
        for term, value in theirs.items():
            torch.testing.assert_close(ours[term], value, rtol=1e-3, atol=1e-3)
    for (where, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3, msg=where)


@needs_gpu
def test_on_a_gpu_the_gradients_are_those_of_the_last_step():
    """Of whichever graph ran, as the journal draws them."""
    model, step = made("founding", device="cuda")
    for number in range(3 * MOST):
        step(*inputs(model, number, "cuda"))
        found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        assert found and all(gradient.isfinite().all() for gradient in found)
    step(*inputs(model, 0, "cuda"))
    again = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert any(not torch.equal(one, other) for one, other in zip(found, again, strict=True))

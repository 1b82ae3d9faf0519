"""What is expected of every model: those that are found by name, with each representation, and the baselines."""

import pytest
import torch

from gqn import models
from gqn.models import Model, baselines
from gqn.models.representations import REPRESENTATIONS
from gqn.objective import elbo
from gqn.runtime import lookup
from support import made_up

REGION = (1.0, 1.0, 1.0)
SMALL = dict(representation_maps=16, num_steps=3, num_recurrent_maps=8, num_canvas_maps=12)  # for tests to take no time


def built(name, **options):
    return models.build(models.options(name)(**options), 16, REGION).train()


MAKE = {name: (lambda name=name: built(name, **(SMALL if name == "gqn" else {}))) for name in lookup.names("models")}
MAKE |= {r: (lambda r=r: built("gqn", representation=r, **SMALL)) for r in REPRESENTATIONS}
FOUNDING = dict(representation="identity_tower", joint_downsampling=True, activation="elu", sigmoid_output=True)
MAKE["founding"] = lambda: built("gqn", **FOUNDING, **SMALL)
MAKE |= {"nearest view": baselines.nearest, "mean image": lambda: baselines.constant(torch.rand(3, 16, 16))}


@pytest.fixture(params=MAKE)
def model(request) -> Model:
    return MAKE[request.param]()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_prediction_scores_each_sample_of_each_query(model):
    """Shapes (S, B, Q, ...), and a KL that is not negative."""
    task = made_up(batch=2, context=3, queries=4)
    prediction = model(task.context, task.query, 0.7, model.noise(2, 4, seeded(0), samples=5))
    assert prediction.image.mean.shape == (5, *task.query.frames.shape)
    assert prediction.kl.shape == prediction.log_ratio.shape
    assert prediction.kl.shape[:3] == (5, 2, 4) and prediction.kl.dtype == torch.float32
    assert (prediction.kl >= -1e-4).all()
    assert elbo(prediction, task.query.frames).elbo.shape == (5, 2, 4)
    alone = model(task.context, task.query, 0.7)
    assert alone.image.mean.shape == (1, *task.query.frames.shape)


def test_the_generator_decides_what_is_drawn(model):
    task = made_up(batch=2, context=3, queries=4)
    r = model.represent(task.context)
    a, same, other = (model.sample(r, task.query.cameras, seeded(seed)) for seed in (0, 0, 1))
    assert a.shape == (1, *task.query.frames.shape)
    assert torch.equal(a, same)
    random = model.noise(2, 4).numel() > 0
    assert torch.equal(a, other) != random
    given = model.sample(r, task.query.cameras, noise=model.noise(2, 4, seeded(0)))
    assert torch.equal(a, given)


def test_samples_are_draws_of_their_own(model):
    """Each of them is what its noise draws alone, also if it scores what is known."""
    task = made_up(batch=2, context=3, queries=4)
    r = model.represent(task.context)
    noise = model.noise(2, 4, seeded(0), samples=3)
    drawn, scored = model.sample(r, task.query.cameras, noise=noise), model(task.context, task.query, 0.7, noise)
    assert len(drawn) == len(noise) == 3
    assert torch.equal(drawn, model.sample(r, task.query.cameras, seeded(0), samples=3))
    for s in range(3):
        torch.testing.assert_close(
            drawn[s : s + 1], model.sample(r, task.query.cameras, noise=noise[s : s + 1]), rtol=1e-4, atol=1e-5
        )
        alone = model(task.context, task.query, 0.7, noise[s : s + 1])
        torch.testing.assert_close(scored.image.mean[s], alone.image.mean[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(scored.log_ratio[s], alone.log_ratio[0], rtol=1e-3, atol=1e-3)
    if noise.numel():
        assert not torch.equal(drawn[0], drawn[1])


def test_scenes_are_answered_each_from_its_own(model):
    """Two scenes' queries, together and alone, with the noise of their places."""
    task = made_up(batch=2, context=3, queries=4)
    noise = model.noise(2, 4, seeded(0))
    together = model.sample(model.represent(task.context), task.query.cameras, noise=noise)
    for scene in (slice(0, 1), slice(1, 2)):
        r = model.represent(task.context[scene])
        alone = model.sample(r, task.query.cameras[scene], noise=noise[:, scene])
        torch.testing.assert_close(together[:, scene], alone, rtol=1e-4, atol=1e-5)


def test_shared_noise_is_one_for_the_queries_of_a_scene(model):
    """Four queries from one place are then answered alike."""
    task = made_up(batch=2, context=3, queries=1)
    r, cameras = model.represent(task.context), task.query.cameras[:, [0, 0, 0, 0]]
    drawn = model.sample(r, cameras, seeded(0), share_noise=True)
    torch.testing.assert_close(drawn, drawn[:, :, :1].expand_as(drawn), rtol=1e-4, atol=1e-5)


def test_the_order_of_context_views_does_not_matter(model):
    task = made_up(batch=2, context=3, queries=2)
    noise = model.noise(2, 2, seeded(0))
    drawn = [
        model.sample(model.represent(task.context[:, order]), task.query.cameras, noise=noise)
        for order in ([0, 1, 2], [2, 0, 1])
    ]
    torch.testing.assert_close(*drawn, rtol=1e-3, atol=1e-4)


def test_training_does_not_talk_to_the_host(model, monkeypatch):
    """A step reads no value of a tensor and makes none elsewhere than on the model's device."""
    task = made_up(batch=2, context=3, queries=2)
    noise = model.noise(2, 2, seeded(0))

    def refuse(*_, **__):
        raise AssertionError("the host was asked for a value")

    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    loss = -elbo(model(task.context, task.query, 0.7, noise), task.query.frames).elbo.mean()
    if loss.requires_grad:  # a baseline has nothing to train
        loss.backward()


@pytest.mark.parametrize("name", lookup.names("models"))
def test_the_seed_decides_the_first_weights(name):
    """And torch's random state is left as it was."""
    options = models.options(name)(**(SMALL if name == "gqn" else {}))
    before = torch.get_rng_state()
    one, same, other = (models.build(options, 16, REGION, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)

"""The GQN against the textbook form, against counts, and against the mistakes other implementations made."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import reference
from gqn.config import PRESETS, preset
from gqn.models.gqn import GQN
from gqn.objective import Prediction, elbo
from support import SMALL, made_up, scored, small

FOUNDING = dict(joint_downsampling=True, activation="elu", sigmoid_output=True, head_size=1)
PAPER_VARIANTS = [
    pytest.param(dict(representation=r, shared_cores=s), id=f"{r}-{'shared' if s else 'unshared'}")
    for r in ("pyramid", "tower", "pool")
    for s in (False, True)
]
VARIANTS = [
    *PAPER_VARIANTS,
    pytest.param(dict(representation="identity_tower", shared_cores=True, **FOUNDING), id="founding"),
    pytest.param(dict(representation="identity_tower", shared_cores=False, **FOUNDING), id="founding-unshared"),
]


def run_reference(model, options, task, image, generator):
    return reference.draw(
        dict(model.named_parameters()),
        options["representation"],
        SMALL["num_steps"],
        "joint_downsampling" in options,
        task.context.frames,
        task.context.cameras.pose,
        task.query.cameras.pose[:, 0],
        image,
        generator,
    )


@pytest.mark.parametrize("options", VARIANTS)
def test_training_equals_the_textbook_form(options, task):
    """ELBO terms and the gradient of every parameter, to 1e-5."""
    model = small(options)
    image = task.query.frames[:, 0]
    prediction = scored(model, task, 3)
    score = elbo(prediction, task.query.frames)
    score.elbo.mean().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    assert set(dict(model.named_parameters())) - set(ours) <= {"cores.0.down.weight"}  # of unshared cores
    model.zero_grad()

    mean, kls = run_reference(model, options, task, image, torch.Generator().manual_seed(3))
    log_likelihood = reference.log_likelihood(mean, image, 0.7)
    (log_likelihood - sum(kls)).mean().backward()

    torch.testing.assert_close(prediction.image.mean[0, :, 0], mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prediction.kl[0, :, 0], torch.stack(kls, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(score.log_likelihood[0, :, 0], log_likelihood, rtol=1e-5, atol=1e-5)
    for name, gradient in ours.items():
        expected = model.get_parameter(name).grad
        assert (gradient - expected).abs().max() <= 1e-5 * max(expected.abs().max(), 1), name


@pytest.mark.parametrize("options", VARIANTS)
def test_sampling_equals_the_textbook_form(options, task):
    model = small(options)
    drawn = model.sample(model.represent(task.context), task.query.cameras, torch.Generator().manual_seed(5))
    mean, _ = run_reference(model, options, task, None, torch.Generator().manual_seed(5))
    torch.testing.assert_close(drawn[0, :, 0], mean, rtol=1e-5, atol=1e-5)


def test_steps_end_in_the_sample(task):
    """The canvas after the last step is the sample; with one step it is all there is."""
    model = small({})
    r, cameras = model.represent(task.context), task.query.cameras
    steps = model.steps(r, cameras, torch.Generator().manual_seed(5))
    assert steps.shape == (2, 1, 3, 3, 16, 16)
    torch.testing.assert_close(steps[:, :, -1], model.sample(r, cameras, torch.Generator().manual_seed(5))[0])
    model.num_steps = 1
    torch.testing.assert_close(steps[:, :, 0], model.sample(r, cameras, torch.Generator().manual_seed(5))[0])


def test_noise_can_be_given(task):
    """That of a generator draws what the generator does; a scene's query takes its own."""
    model = small({})
    r, cameras = model.represent(task.context), task.query.cameras
    noise = model.noise(2, 1, torch.Generator().manual_seed(5))
    assert noise.shape == (1, 2, 3, 1, 3, 4, 4)
    torch.testing.assert_close(
        model.sample(r, cameras, noise=noise), model.sample(r, cameras, torch.Generator().manual_seed(5))
    )
    one, other = (model.sample(r, cameras, noise=n)[0] for n in (noise, torch.cat([noise[:, :1], -noise[:, 1:]], 1)))
    torch.testing.assert_close(other[0], one[0])
    assert (other[1] - one[1]).abs().mean() > 1e-4


def test_shared_noise_is_the_noise_of_one_query():
    """Four queries from one place, with noise of their own and with one."""
    model, task = small({}), made_up(queries=1)
    cameras = task.query.cameras[:, [0, 0, 0, 0]]
    fresh, shared = (
        model.sample(model.represent(task.context), cameras, torch.Generator().manual_seed(5), share_noise=share)[0]
        for share in (False, True)
    )
    assert (fresh[:, 0] - fresh[:, 1]).abs().mean() > 1e-4
    torch.testing.assert_close(shared, shared[:, :1].expand(-1, 4, -1, -1, -1))
    assert (shared[0] - shared[1]).abs().mean() > 1e-4


def test_the_kl_is_the_expected_log_ratio(task):
    """Of one step, whose distributions do not depend on what is drawn."""
    model = small(dict(num_steps=1))
    drawn = scored(model, task, 0, samples=400)
    error = drawn.log_ratio.std(0) / 20
    assert ((drawn.log_ratio.mean(0) - drawn.kl[0]).abs() < 4 * error).all()


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_parameters_count_as_in_the_paper():
    """Unshared cores 167 M, shared 14 M, tower 1.96 M, pyramid 2.14 M."""
    paper = vars(preset("paper").model)
    with torch.device("meta"):
        unshared, shared = GQN(**paper), GQN(**paper | {"shared_cores": True})
        pyramid = GQN(**paper | {"shared_cores": True, "representation": "pyramid"})
        assert millions(GQN()) == millions(unshared)
    assert millions(unshared.cores) == pytest.approx(167.1, abs=0.1)
    assert millions(shared.cores) == pytest.approx(13.9, abs=0.1)
    assert millions(unshared.represent_view) == pytest.approx(1.96, abs=0.005)
    assert millions(pyramid.represent_view) == pytest.approx(2.14, abs=0.005)


# Mistakes that other implementations made, as listed in the notes of the project.


class Blind(nn.Module):
    """A posterior that sees what the prior should see: the generator's state before this step."""

    def __init__(self, core, states):
        super().__init__()
        self.prior, self.states, generate = core.prior, states, core.generate
        core.generate = lambda *given: states.append(generate(*given)) or states[-1]

    def forward(self, h):
        return self.prior(self.states[-1][0] if self.states else torch.zeros_like(h))


@pytest.mark.parametrize("shared", [True, False])
def test_mistake_1_prior_is_computed_before_its_latent(shared, task):
    """With such a posterior training is sampling, and the KL is zero."""
    model = small(dict(shared_cores=shared))
    states = []
    for core in model.cores:
        core.posterior = Blind(core, states)
    trained = scored(model, task, 1)
    drawn = model.sample(model.represent(task.context), task.query.cameras, torch.Generator().manual_seed(1))
    torch.testing.assert_close(trained.image.mean, drawn)
    assert len(states) == 2 * model.num_steps and not trained.kl.any()


def test_mistake_2_posterior_reads_the_state_after_its_update(task):
    model = small({})
    seen = []
    model.cores[0].posterior.register_forward_hook(lambda module, inputs, output: seen.append(output))
    other = made_up(seed=0)
    other.query.frames[:, :, :, :8] = 0
    for t in (task, other):
        scored(model, t, 1)
    assert not torch.allclose(seen[0], seen[1])  # the first step already sees the image


def test_mistake_7_training_and_sampling_see_the_same_camera(task):
    model = small({})
    seen = []
    fixed = model.cores[0].generation.fixed
    model.cores[0].generation.fixed = lambda constant, n, size: (seen.append(constant[0]), fixed(constant, n, size))[1]
    scored(model, task)
    model.sample(model.represent(task.context), task.query.cameras)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0][:, :, 0, 0], reference.camera_vector(task.query.cameras.pose[:, 0]))


def test_mistake_12_samples_differ(task):
    model = small({})
    r = model.represent(task.context)
    a, b = (model.sample(r, task.query.cameras, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert (a - b).abs().mean() > 1e-4


def test_one_graph_is_compiled_for_any_number_of_context_views(monkeypatch):
    """And the compiled loop gives what the plain one gives."""
    model, counter = small({}), CompileCounter()
    plain = [scored(model, t, 1).image.mean for t in map(with_views, (1, 2, 4))]
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **options: compile_(*a, **options, backend=counter))
    model.compile_steps()
    for views, expected in zip((1, 2, 4), plain, strict=True):
        task = with_views(views)
        torch.testing.assert_close(scored(model, task, 1).image.mean, expected)
    assert counter.frame_count == 1


def with_views(context):
    return made_up(context=context)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("shared", [True, False])
def test_every_parameter_that_is_trained_gets_a_gradient(name, steps, shared, task):
    """Several processes wait for the gradient of each, so one that nothing uses must not ask for any."""
    toy = SMALL | dict(num_steps=steps, shared_cores=shared, head_size=1)
    model = GQN(**vars(preset(name).model) | toy)
    elbo(scored(model, task), task.query.frames).elbo.mean().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_bfloat16_stays_near_float32(task):
    model = small({})
    scores = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            prediction = scored(model, task, 1, pixel_std=1.0)
        assert isinstance(prediction, Prediction)
        scores.append(elbo(prediction, task.query.frames))
    assert scores[1].elbo.dtype == torch.float32
    torch.testing.assert_close(scores[0].elbo, scores[1].elbo, rtol=5e-3, atol=1.0)


@pytest.mark.parametrize("joint", [False, True])
def test_the_names_of_the_weights_are_documented(joint):
    """All of them, in docs/weights.md, with what comes in which order at the input of the ConvLSTMs."""
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    named = set(re.findall(r"`((?:cores\.C|observe)\.[a-z_.]*)`", text))
    model = small(dict(joint_downsampling=joint))
    ours = {re.sub(r"cores\.\d+", "cores.C", name) for name in model.state_dict()}
    ours = {name for name in ours if not name.startswith("represent_view.")}
    plain = {name for name in ours if name.endswith("weight")} | ({"cores.C.look.bias"} if joint else set())
    assert named - {"cores.C.look.bias"} == plain - {"cores.C.look.bias"}
    biased = {name.replace(".weight", ".bias") for name in plain if "gates" in name or "observe" in name}
    biased |= {"cores.C.prior.bias", "cores.C.posterior.bias"}
    assert ours == plain | biased
    core, r, h, u, z = model.cores[0], 16, 8, 12, 3
    assert core.inference.constant + core.inference.changing == ([7, r, h, u, h] if joint else [3, 7, r, h, u, h])
    assert core.generation.constant + core.generation.changing == [7, r, z, h]

"""The GQN against the textbook form, against counts, and against the mistakes other implementations made."""

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import reference
from gqn.config import PRESETS, preset
from gqn.models.baselines import nearest
from gqn.models.gqn import GQN
from gqn.models.layers import uniform
from gqn.models.representations import REPRESENTATIONS
from gqn.objective import Prediction, elbo
from gqn.views import Cameras
from support import made_up

SMALL = dict(image_size=16, representation_maps=16, num_steps=3, num_recurrent_maps=8, num_canvas_maps=12, head_size=5)
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


def small(options, seed=0):
    torch.manual_seed(seed)
    model = GQN(**SMALL | options)
    with torch.no_grad():  # default weights are so small that mistakes would hide
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def scored(model, task, seed=0, pixel_std=0.7, samples=1):
    """A prediction of a task, with the noise of a seed."""
    b, q = task.query.frames.shape[:2]
    noise = model.noise(b, q, torch.Generator().manual_seed(seed), samples)
    return model(task.context, task.query, pixel_std, noise)


def lattice():
    """The representation network of a small region."""
    torch.manual_seed(0)
    return GQN(**SMALL, representation="lattice", region=(0.4, 0.4, 0.4)).represent_view


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


@pytest.mark.parametrize("size", [2, 4, 5, 6, 9])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_an_image_that_is_the_same_all_over_is_convolved_at_its_border(size, kernel):
    x, weight = torch.randn(2, 3, 1, 1), torch.randn(4, 3, kernel, kernel)
    whole = torch.nn.functional.conv2d(x.expand(-1, -1, size, size), weight, padding=kernel // 2)
    torch.testing.assert_close(uniform(x, weight, size), whole, rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("size", [32, 64, 84, 128])
def test_every_image_size(representation, size):
    task = made_up(1, 2, 2, size)
    maps = dict(representation_maps=16, num_recurrent_maps=4, num_canvas_maps=4)
    model = GQN(size, representation=representation, num_steps=2, shared_cores=True, **maps)
    assert scored(model, task).image.mean.shape == (1, 1, 2, 3, size, size)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_several_queries_are_answered_as_one_by_one(name):
    """Each of two scenes' four queries from its own scene and camera, with the noise of its place."""
    model, task = small(dict(representation=name)), made_up(batch=2, context=3, queries=4)
    for core in model.cores:  # no noise: all latents are their means
        core.generate = lambda constant, z, generation, core=core: core.generation(
            constant.generation, [torch.zeros_like(z)], generation
        )
    representation = model.represent(task.context)
    together = model.sample(representation, task.query.cameras)
    alone = [model.sample(representation, task.query.cameras[:, q : q + 1]) for q in range(4)]
    torch.testing.assert_close(together, torch.cat(alone, 2), rtol=1e-4, atol=1e-5)
    first = model.sample(model.represent(task.context[:1]), task.query.cameras[:1])
    torch.testing.assert_close(together[:, :1], first, rtol=1e-4, atol=1e-5)


def test_order_of_context_views_does_not_matter():
    for name in REPRESENTATIONS:
        model, task = small(dict(representation=name)), made_up()
        a = model.represent(task.context)
        torch.testing.assert_close(a, model.represent(task.context[:, [2, 0, 1]]), rtol=1e-4, atol=1e-5)


def test_nearest_answers_with_the_query_if_it_is_in_the_context():
    task = made_up(context=3, queries=3)
    drawn = nearest().sample(task.query, task.query.cameras)
    assert torch.equal(drawn[0], task.query.frames)


def test_lattice_projects_as_the_cameras_do():
    """A point falls into the pixel whose ray points at it; queries read inside the region."""
    model = lattice()
    task = made_up()
    cameras = task.context.cameras[:, 0]
    where, in_view = model._project(cameras)
    homogeneous = torch.nn.functional.pad(model.lattice.flatten(0, 1), (0, 1), value=1.0)
    in_camera = torch.einsum("nij,pqj->npqi", cameras.matrix().inverse(), homogeneous)
    plane = in_camera[..., :2] / in_camera[..., 2:3] / math.tan(math.radians(cameras.fov) / 2)
    torch.testing.assert_close(where, plane, atol=1e-5, rtol=1e-5)
    origin, rays = cameras.rays(16, 16)
    towards = model.lattice.flatten(0, 1) - origin[:, None, None]
    towards = towards / towards.norm(dim=-1, keepdim=True)  # (2, P P, P, 3)
    column, row = ((where + 1) * 8).long().clamp(0, 15).unbind(-1)
    ray = rays[torch.arange(2)[:, None, None], row, column]
    visible = in_view[:, 0] > 0
    assert visible.float().mean() > 0.5
    half_diagonal = 0.75 * math.radians(20.5) / 16
    assert (ray * towards).sum(-1)[visible].min() > math.cos(half_diagonal)
    along = model._along(task.query.cameras, 4, 8)[0].unflatten(0, (2, -1))
    middle = along[:, :, :, 1:3, 1:3]
    assert (middle.abs() <= 1.0001).all()
    origin, rays = task.query.cameras.rays(4, 4)
    reached = along * 0.4 - origin[:, :, None, None, None]
    depth = reached.norm(dim=-1)
    torch.testing.assert_close(reached, depth[..., None] * rays[:, :, None], atol=1e-4, rtol=0)
    assert (depth[:, :, 1:, 1:3, 1:3] > depth[:, :, :-1, 1:3, 1:3]).all()  # front to back


def test_lattice_points_behind_a_camera_are_not_seen():
    """From the middle of the region those in front, and from outside, looking away along a row of points, none."""
    model = lattice()
    pose = torch.tensor([[0.0, 0, 0, 0, 0], [2.0, 0.04, 0.04, 0, 0]])  # both look along x
    _, in_view = model._project(Cameras(pose, 90.0))
    inside, away = in_view.bool()[:, 0]
    x = model.lattice.flatten(0, 1)[..., 0]
    assert inside.any() and (x[inside] > 0).all() and not away.any()


@pytest.mark.parametrize("density", [-50.0, 500.0])
def test_lattice_paints_what_is_in_front(density):
    """Red on the camera's side and blue behind: red is seen if the lattice is dense, and nothing if it is empty."""
    network, task = lattice(), made_up()
    codes, cameras = network.encode(task.context.frames[:, 0], task.context.cameras[:, 0])[:, None], task.query.cameras
    near = torch.einsum("zyxi,bi->bzyx", network.lattice, cameras.pose[:, 0, :3]) > 0
    dense = torch.full_like(near, density, dtype=torch.float32)
    del network.paint
    network.paint = lambda x: torch.stack([20.0 * near - 10, 0 * dense - 10, 10 - 20.0 * near, dense], 1)
    _, picture = network.answer(network.join(codes), cameras)
    along, _ = network._along(cameras, 16, network.picture_depths)
    enters = (along[:, :3].abs() < 0.9).all(-1).any(1)  # well inside: the lattice fades beyond its outermost points
    assert enters.sum() > 10
    red = torch.tensor([float(density > 0), 0.0, 0.0])
    torch.testing.assert_close(picture.movedim(1, -1)[enters], red.expand(int(enters.sum()), 3), atol=0.02, rtol=0)


# Mistakes that other implementations made, as listed in the notes of the project.


class Recall(nn.Module):
    """A posterior that is whatever the prior just was."""

    def __init__(self, prior):
        super().__init__()
        prior.register_forward_hook(lambda module, inputs, output: setattr(self, "last", output))

    def forward(self, h):
        return self.last


@pytest.mark.parametrize("shared", [True, False])
def test_mistake_1_prior_is_computed_before_its_latent(shared, task):
    """With posterior := prior, training is sampling, and the KL is zero."""
    model = small(dict(shared_cores=shared))
    seen = []
    for core in model.cores:
        core.posterior = Recall(core.prior)
        core.prior.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    trained = scored(model, task, 1)
    assert not seen[0].any() and seen[1].any()  # the first prior knows nothing
    drawn = model.sample(model.represent(task.context), task.query.cameras, torch.Generator().manual_seed(1))
    torch.testing.assert_close(trained.image.mean, drawn)
    assert not trained.kl.any()


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

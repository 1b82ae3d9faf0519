"""Muon against the singular value decomposition, and who steps what."""

import pytest
import torch
from torch import nn
from torch.optim import Adam

from gqn.models.gqn import GQN
from gqn.training.optimizers import Muon, optimizers, orthogonal, orthogonal_each, shares, work


def made_matrix(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_orthogonal_keeps_the_singular_vectors(shape):
    matrix = made_matrix(shape)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ orthogonal(matrix) @ v.T
    diagonal = values.diagonal()
    assert (values - diagonal.diag()).abs().max() < 1e-4
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16), (4, 1), (256, 2682)])
def test_orthogonal_is_newton_schulz_on_the_matrix_itself(shape):
    """The iteration as Jordan 2024 has it, in float64."""
    x = made_matrix(shape).double()
    x = x / x.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    ours = orthogonal(made_matrix(shape))
    assert ours.dtype == torch.float32
    assert (ours - x).norm() < 1e-4 * x.norm()


def test_matrices_of_one_shape_are_made_orthogonal_together(monkeypatch):
    """Each as if alone, and in their order."""
    matrices = [made_matrix(shape) * (i + 1) for i, shape in enumerate([(4, 6), (8, 3), (4, 6), (3, 8), (4, 6)])]
    matrices = [matrix.roll(i, 1) for i, matrix in enumerate(matrices)]
    alone, calls = [orthogonal(matrix) for matrix in matrices], []
    monkeypatch.setattr(
        "gqn.training.optimizers.orthogonal", lambda stacked: calls.append(stacked) or orthogonal(stacked)
    )
    torch.testing.assert_close(orthogonal_each(matrices), alone)
    assert sorted(tuple(stacked.shape) for stacked in calls) == [(1, 3, 8), (1, 8, 3), (3, 4, 6)]


def test_orthogonal_of_nothing_and_of_bfloat16():
    assert not orthogonal(torch.zeros(4, 6)).any()
    half = made_matrix((4, 6)).bfloat16()
    assert orthogonal(half).dtype == torch.bfloat16


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_every_kernel_is_in_one_share_and_no_share_is_idle_beside_a_full_one(parts):
    kernels = [nn.Parameter(torch.zeros(n, 8, 3, 3)) for n in (4, 64, 32, 8, 64, 16)]
    made = shares(kernels, parts)
    assert len(made) == parts and sorted(id(p) for share in made for p in share) == sorted(map(id, kernels))
    busy = [sum(map(work, share)) for share in made]
    assert max(busy) - min(busy) <= max(map(work, kernels))


def test_a_step_has_adams_size_and_goes_down():
    """Of a gradient that keeps its direction: about 0.2 rms of Adam's unit step, as Liu et al. have it."""
    kernel = nn.Parameter(torch.zeros(32, 16, 3, 3))
    towards = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    muon = Muon([kernel], lr=0.01)
    kernel.grad = -towards
    muon.step()
    assert 0.1 < kernel.detach().square().mean().sqrt() / 0.01 < 0.3
    assert (kernel * towards).sum() > 0


def test_each_parameter_has_one_optimizer():
    """Muon takes the kernels between features; biases, and what reads or writes images, are Adam's."""
    model = GQN(image_size=16, representation="lattice", representation_maps=32, num_steps=2, num_recurrent_maps=8)
    names = {p: name for name, p in model.named_parameters()}
    adam, muon = optimizers(model, "muon", 1e-3)
    taken = [[names[p] for group in each.param_groups for p in group["params"]] for each in (adam, muon)]
    assert sorted([*taken[0], *taken[1]]) == sorted(names.values())
    assert {"represent_view.enter.weight", "observe.weight", "cores.0.look.weight"} <= set(taken[0])
    assert {"represent_view.mix.weight", "cores.0.generation.gates.weight", "cores.0.up.weight"} <= set(taken[1])
    assert not [name for name in taken[1] if name.endswith("bias")]
    [only] = optimizers(model, "adam", 1e-3)
    assert isinstance(only, Adam) and len(only.param_groups[0]["params"]) == len(names)

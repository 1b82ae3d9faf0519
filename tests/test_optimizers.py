"""Muon against the singular value decomposition, and who steps what."""

import torch
from torch import nn
from torch.optim import Adam

from gqn.models.gqn import GQN
from gqn.optimizers import Muon, optimizers, orthogonal


def test_orthogonal_keeps_the_singular_vectors():
    for shape in ((12, 40), (40, 12), (16, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        values = u.T @ orthogonal(matrix) @ v.T
        diagonal = values.diagonal()
        assert (values - diagonal.diag()).abs().max() < 0.05  # bfloat16
        assert ((diagonal > 0.6) & (diagonal < 1.3)).all()


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

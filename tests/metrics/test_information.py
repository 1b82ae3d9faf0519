"""The information that a view brings, against that of a Gaussian channel."""

from dataclasses import replace

import numpy as np
import torch

from gqn.artifacts import checkpoint
from gqn.data.sources import source
from gqn.figures import heldout
from gqn.metrics import information
from support import DRAWN as TINY
from support import Oracle


def test_information_is_that_of_a_gaussian_channel():
    """A model whose every answer is the mean of the last view, of which it knows all but at one candidate."""

    class Echo(Oracle):
        def sample(self, representation, cameras, generator=None, samples=1, share_noise=False, noise=None):
            if representation.frames.shape[1] > 1:  # asked for the probes
                last = representation.frames[:, -1:].mean((2, 3, 4), keepdim=True)
                return last.expand(1, -1, cameras.pose.shape[1], 3, 4, 4)
            noise = torch.randn(1, generator=generator)
            dreamt = noise * torch.tensor([0.0, 0.2, 0.1])
            return dreamt[:, None, None, None].expand(1, len(cameras.pose), -1, 3, 4, 4)

    task = heldout.tasks(source(**TINY.scenes("test")), 0, 2, 1, 5)
    first = replace(task.context, frames=task.context.frames[..., :4, :4])
    candidates, probes = task.query.cameras[:, :3], task.query.cameras[:, 3:]
    gain = information.gain(Echo(), first, candidates, probes, 0.5, 4000, heldout.SEED)
    expected = 0.5 * 48 * np.log(1 + np.array([0, 0.2, 0.1]) ** 2 / 0.5**2)
    np.testing.assert_allclose(gain, np.tile(expected, (2, 1)), rtol=0.1)


def test_a_model_that_is_far_off_imagines_all_the_same():
    """Its samples are no images that it would take from a user."""
    model = checkpoint.build(TINY.having(sigmoid_output=False)).eval()
    torch.nn.init.constant_(model.observe.bias, 50.0)
    task = heldout.tasks(source(**TINY.scenes("test")), 0, 1, 1, 3)
    with torch.no_grad():
        gain = information.gain(model, task.context, task.query.cameras, task.query.cameras, 0.7, 2, heldout.SEED)
    assert gain.shape == (1, 3) and gain.isfinite().all()

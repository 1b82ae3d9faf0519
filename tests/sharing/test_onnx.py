"""A sampler without PyTorch draws what the model draws, or is not kept."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.config import preset
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.figures import heldout
from gqn.sharing import onnx
from support import made_run

SMALL = dict(image_size=16, representation_maps=16, num_steps=2, num_recurrent_maps=4, num_canvas_maps=4)
MAP = dict(dataset_name="mazes", query="overhead", max_context_size=5)  # another field of view for the query

VARIANTS = {
    "lattice": preset("demo", **SMALL | MAP),
    "tower": preset("paper", **SMALL | dict(kernel_size=3)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_sampler_without_pytorch(name, tmp_path, capsys):
    """Answers as the model does, from numbers of context views and queries that it was not exported with."""
    import onnxruntime

    config = VARIANTS[name]
    run = made_run(tmp_path / "run", config)
    _, model = checkpoint.load(run)
    for parameter in model.parameters():  # fresh weights are so small that mistakes would hide
        parameter.mul_(2)
    checkpoint.save_weights(run, model)
    assert main(["export", str(run), "--to", "onnx", "--out", str(tmp_path / "gift")]) == 0
    path = tmp_path / "gift" / "sampler.onnx"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert [file.name for file in path.parent.iterdir()] == ["sampler.onnx"]

    task = heldout.tasks(source(**config.scenes("test")), 7, 1, 4)
    noise = model.noise(1, 1, torch.Generator().manual_seed(5))
    expected = model.sample(model.represent(task.context), task.query.cameras, noise=noise)[0, 0]
    given = {
        "context_frames": task.context.frames[0],
        "context_poses": task.context.cameras.pose[0],
        "query_poses": task.query.cameras.pose[0],
        "noise": noise[0, 0],
    }
    session = onnxruntime.InferenceSession(path)
    (images,) = session.run(["images"], {name: x.numpy() for name, x in given.items()})
    np.testing.assert_allclose(images, expected.numpy(), atol=1e-4)
    (others,) = session.run(
        ["images"], {name: x.numpy() for name, x in given.items()} | {"noise": -noise[0, 0].numpy()}
    )
    assert np.abs(others - images).max() > 1e-4


def test_a_sampler_that_draws_otherwise_is_not_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        onnx, "exported", lambda sampler, example: SimpleNamespace(save=lambda part: part.write_text(""))
    )
    monkeypatch.setattr(onnx, "CHECKED", ((2, 1),))

    class Session:
        def __init__(self, path, providers):
            pass

        def run(self, outputs, inputs):
            return [np.zeros((1, 3, 16, 16), np.float32)]

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    run = made_run(tmp_path / "run")
    assert main(["export", str(run), "--to", "onnx", "--out", str(tmp_path / "gift")]) == 2
    assert "was not kept: of 2 context views" in capsys.readouterr().err
    assert not list((tmp_path / "gift").iterdir())


def test_onnx_without_its_extra(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(BadInput, match=r"pip install 'gqn\[onnx\]'"):
        onnx.export(run, tmp_path)

"""What a notebook sees: the README's example as it stands there, and an import that costs nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gqn
from gqn.artifacts import trained
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.metrics import images as metrics
from support import made_run

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", ["toy", *trained.shipped()])
def test_the_readmes_example(name, tmp_path, monkeypatch, capsys):
    """Runs as it is written, on a toy and on what is shipped, and says what it says it does."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    made_run(tmp_path / "toy")
    seen: dict = {}
    exec(block.replace("sm5-32", name), seen)
    truth, images = seen["query"].frames, seen["images"]
    assert torch.equal(seen["context"].frames[0], seen["views"].frames[:3])
    assert images.shape == truth.shape and images.shape[0] == 1
    mse = (images - truth).square().mean((2, 3, 4))
    torch.testing.assert_close(gqn.mse(images, truth), mse)
    assert f"{mse.mean():.4f}" in capsys.readouterr().out
    (picture,) = tmp_path.glob("*.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    if name != "toy":
        assert mse.mean() < (truth.mean(1, keepdim=True) - truth).square().mean()


def test_importing_costs_nothing_and_everything_is_there():
    code = "import sys, gqn; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; print(*dir(gqn))"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"load", "scene", "mse", "psnr", "picture"} <= set(names)
    assert gqn.psnr is metrics.psnr
    with pytest.raises(AttributeError, match="no attribute 'sample'"):
        gqn.sample  # noqa: B018


def test_a_scene_is_the_held_out_one():
    views = gqn.scene("rooms_ring_camera", 5, views=4, image_size=32)
    again = source("rooms_ring_camera", "test", 32, 4).views(5, range(4)).float()
    assert torch.equal(views.frames, again.frames) and torch.equal(views.cameras.pose, again.cameras.pose)
    assert gqn.scene("rooms_ring_camera", 0).frames.shape == (10, 3, 64, 64)
    for arguments, says in ((("rooms_ring_camra", 1), "Did you mean"), (("jaco", -1), "seeds from 0 to")):
        with pytest.raises(BadInput, match=says):
            gqn.scene(*arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("jaco", 1.5), "seed must be a whole number, not 1.5"),
        (("jaco", "7"), "seed must be a whole number, not '7'"),
        (("jaco", 1, 2.0), "views must be a whole number"),
        (("jaco", 1, -2), "views must be at least 1"),
        (("jaco", 1, 2, 33), "`image_size` must be a multiple of 4, at least 16, not 33"),
        (("jaco", 1, 2, 12), "not 12"),
        (("jaco", 1, 2, -32), "not -32"),
        ((None, 1), "unknown dataset 'None'"),
    ],
)
def test_there_is_no_such_scene(arguments, says):
    with pytest.raises(BadInput, match=says):
        gqn.scene(*arguments)


def test_a_picture_is_of_frames_that_fit():
    frames = torch.rand(2, 3, 3, 16, 16)
    stored = (255 * frames).byte()
    assert gqn.picture(a=stored).tobytes() == gqn.picture(a=stored / 255).tobytes()
    for columns, says in (
        ({}, "a picture is of frames"),
        (dict(a=frames[0]), r"a must be \(rows, columns, 3, height, width\), and not \(3, 3, 16, 16\)"),
        (dict(a=frames[:, :0]), r"and not \(2, 0, 3"),
        (dict(a=frames, b=frames[:1]), "a and b must have as many rows and pixels"),
        (dict(a=frames, b=frames[..., ::2, ::2]), "as many rows and pixels"),
        (dict(a=frames.movedim(2, -1)), "movedim"),
        (dict(a=frames, b=255 * frames), "b: values are from 0"),
        (dict(a=frames.numpy()), "a must be a tensor of images"),
    ):
        with pytest.raises(BadInput, match=says):
            gqn.picture(**columns)

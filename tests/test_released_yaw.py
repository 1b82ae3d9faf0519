"""Weights for rooms as they were rendered before, converted for poses as released."""

from dataclasses import replace

import pytest
import torch

from gqn import config as configs
from gqn.artifacts import checkpoint
from gqn.config import preset
from gqn.data.sources import source
from gqn.views import CLOCKWISE, Cameras, Convention
from support import made_run
from test_runs import script

released_yaw = script("released_yaw")


@pytest.mark.parametrize("joint", [True, False])
def test_weights_of_clockwise_rooms_answer_released_poses_alike(tmp_path, joint):
    """The same views, with cameras as they were before and as released: the same picture."""
    config = preset(
        "demo", dataset_name="rooms_ring_camera", image_size=16, joint_downsampling=joint, max_context_size=2, world=1
    )
    model = checkpoint.build(config).eval()
    folder, out = tmp_path / "old", tmp_path / "new"
    folder.mkdir()
    (folder / "config.json").write_text(configs.as_json(config))
    checkpoint.save_weights(folder, model)
    released_yaw.main(folder, out)
    assert configs.read(out / "config.json") == config.having(world=2)
    with pytest.raises(SystemExit, match="already"):
        released_yaw.main(out, tmp_path / "again")
    converted = checkpoint.build(config).eval()
    converted.load_state_dict(checkpoint.read_weights(out / "model.safetensors"))
    views = source("rooms_ring_camera", "test", 16, 4).views(0, range(4))[None].float()
    x, y, _, yaw, pitch = views.cameras.pose.unbind(-1)
    before = torch.stack([x, y, torch.full_like(x, released_yaw.EYE), -yaw, pitch], -1)
    raised = Convention(clockwise=False, eye=released_yaw.EYE)
    drawn = []
    for network, cameras in (
        (model, Cameras(before, views.cameras.fov, CLOCKWISE)),
        (converted, replace(views.cameras, convention=raised)),
    ):
        task = replace(views, cameras=cameras)
        r = network.represent(task[:, :2])
        drawn.append(network.sample(r, task.cameras[:, 2:], torch.Generator().manual_seed(0)))
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-4, atol=1e-4)
    assert (model.sample(r, views.cameras[:, 2:], torch.Generator().manual_seed(0)) - drawn[0]).abs().max() > 0.01


def test_only_weights_that_can_be_converted_are(tmp_path):
    folder = made_run(tmp_path / "toy")
    with pytest.raises(SystemExit, match="only a lattice"):
        released_yaw.main(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""A scene is the same in all figures, and rendered where the camera is free."""

import pytest
import torch

from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.figures import heldout
from support import DRAWN as TINY


def test_a_scene_is_the_same_in_all_figures():
    scenes = source(**TINY.scenes("test"))
    many, one = heldout.tasks(scenes, 0, 4, 3, 2), heldout.tasks(scenes, 2, 1, 2, 3)
    assert torch.equal(many.context.frames[2, :2], one.context.frames[0])
    assert torch.equal(many.context.frames[2, 2], one.query.frames[0, 0])
    with pytest.raises(BadInput, match="do not fit"):
        heldout.tasks(scenes, 0, 1, 14, 2)


def test_a_run_on_files_gets_rendered_scenes_where_the_camera_is_free(capsys):
    stored = TINY.having(data="nowhere")
    assert heldout.rendered(stored) == heldout.rendered(TINY)
    assert "not those in nowhere" in capsys.readouterr().out

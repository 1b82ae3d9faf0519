"""`gqn figure`: flags are those of the figure, files lie side by side, mistakes are a line."""

import json

import numpy as np
import pytest

from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.figures import orbit
from support import DRAWN as TINY
from support import loaded


@pytest.fixture(scope="module")
def model():
    return loaded(TINY)


@pytest.fixture
def folder(tmp_path, model):
    from gqn import config as configs

    (tmp_path / checkpoint.CONFIG).write_text(configs.as_json(TINY))
    checkpoint.save_weights(tmp_path, model)
    return tmp_path


def test_command(folder, capsys):
    """Flags are compute's keywords; picture, arrays, numbers and animation lie side by side."""
    assert main(["figure", "orbit", str(folder), "--views", "3", "--scene", "2", "--fresh"]) == 0
    made = {path.suffix for path in folder.glob("orbit.*")}
    assert made == {".png", ".npz", ".json", ".webp"}
    arrays = np.load(folder / "orbit.npz")
    assert arrays["truth"].shape == (3, 16, 16, 3)
    assert json.loads((folder / "orbit.json").read_text()) == orbit.numbers(arrays)
    assert main(["figure", "orbit", str(folder), "--views", "3", "--out", str(folder / "x.gif")]) == 0
    assert {path.suffix for path in folder.glob("x.*")} == {".png", ".npz", ".json", ".gif"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["figure", "orbit", "--help"])
    help = capsys.readouterr().out
    assert "--fresh" in help and "circles the scene" in help


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["steps", "RUN", "--out", "RUN/x.mp4"], "cannot write"),
        (["steps", "RUN", "--out", "RUN/no/x.png"], "there is no such folder"),
        (["steps", "RUN", "--scene", "-1"], "not a whole number"),
        (["steps", "RUN", "--context", "0"], "not a positive whole number"),
        (["nextview", "RUN", "--imagined", "1"], "at least 2 imagined"),
        (["context", "RUN", "--context", "15"], "do not fit"),
        (["surprise", "RUN", "--context", "15"], "do not fit"),
        (["rotation", "RUN", "--rows", "2"], "unrecognized arguments: --rows"),
        (["orbit"], "subject"),
    ],
)
def test_bad_flags(folder, capsys, argv, says):
    try:
        code = main(["figure", *(a.replace("RUN", str(folder)) for a in argv)])
    except SystemExit as stop:
        code = stop.code
    err = capsys.readouterr().err
    assert code == 2 and says in err and "Traceback" not in err


def test_a_contact_sheet_shows_as_much_as_there_is(tmp_path, capsys):
    """Of files with two scenes of three views."""
    render = "data render jaco --scenes 2 --test-scenes 1 --views 3 --image-size 16 --workers 0"
    assert main([*render.split(), "--out", str(tmp_path)]) == 0
    assert main(["figure", "scenes", "jaco", "--data", str(tmp_path), "--out", str(tmp_path / "sheet.png")]) == 0
    assert np.load(tmp_path / "sheet.npz")["frames"].shape == (2, 3, 16, 16, 3)

"""A training that takes long on a CPU says how to have less."""

from gqn.config import Place
from gqn.training.watch import foretell
from support import BRIEF as TOY
from support import HERE


def test_a_long_training_on_a_cpu_says_how_to_have_less(capsys):
    foretell(TOY, HERE, print, 10 * 60, False)
    assert capsys.readouterr().out == "this takes about 10.0 min from here\n"
    foretell(TOY, HERE, print, 13 * 60, False)
    assert "for less" in capsys.readouterr().out
    foretell(TOY, HERE, print, 3 * 86400, True)
    out = capsys.readouterr().out
    for text in ("more than 3 days", "fewer `num_train_samples` than 48", "predictions sm5-32", "`gpu`"):
        assert text in out
    foretell(TOY, Place(gpu=True), print, 3 * 3600, False)
    assert capsys.readouterr().out == "this takes about 3 h 00 min from here\n"

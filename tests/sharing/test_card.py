"""The card says what is known of a model, and nothing of where it was made."""

import json

from gqn.sharing import export
from support import TOOK, TOY, made_run


def test_the_card_says_what_is_known(run, tmp_path):
    card = (export.export(run, tmp_path / "gift") / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    found = json.loads((run / "eval.json").read_text())["results"]
    for context, marked in (("1", "1"), ("4", "4*")):
        for who, numbers in found[context].items():
            (line,) = (x for x in card.splitlines() if x.startswith(f"| {marked} | {who} |"))
            assert f" {numbers['mse']['mean']:.5f} ± {numbers['mse']['stderr']:.5f} " in line
    for text in (
        "1,234,567 samples in 2 h 03 min.",
        "commit abcdef0123; an abacus",
        TOOK["command"],
        "commit abcdef0123",
        "read from files",
    ):
        assert text in card
    assert "secret" not in card and "\n\n\n" not in card
    plain = (export.export(made_run(tmp_path / "plain"), tmp_path / "bare") / "README.md").read_text()
    assert "not recorded" in plain and "Not evaluated yet" in plain and "# bare" in plain
    assert "| optimizer | Adam, " in plain
    muon = made_run(tmp_path / "muon", TOY.having(optimizer="muon"))
    card = (export.export(muon, tmp_path / "other") / "README.md").read_text()
    assert "| optimizer | Muon, " in card and "Adam" not in card

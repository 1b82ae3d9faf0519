"""`gqn data`: wrong flags and bad input are a line each."""

import pytest

from gqn.cli.main import main


@pytest.mark.parametrize(
    "arguments, says",
    [
        ("render shepard_metzler_5_part --scenes 2 --out {}", "Did you mean 'shepard_metzler_5_parts'"),
        ("download shepard_metzler_5_part --files 2 --out {}", "Did you mean 'shepard_metzler_5_parts'"),
        ("import {} --name shepard_metzler_5_part --out {}/out", "Did you mean 'shepard_metzler_5_parts'"),
        ("import {}/none --name jaco --out {}/out", "there is no "),
        ("import {} --name jaco --out {}/out", "no *.pt.gz, *.pt or *.tfrecord.gz files in "),
        ("info {}/none", "there is no "),
        ("info {}", "no .tfrecord files in "),
        ("verify {}/none", "there is no "),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, says):
    assert main(["data", *arguments.replace("{}", str(tmp_path)).split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gqn: ") and says in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, says",
    [
        ("fetch", "invalid choice: 'fetch'"),
        ("export jaco --out x", "required: --data"),
        ("download jaco --out x", "required: --files"),
        ("import x --out x", "required: --name"),
        ("import x --name jaco", "required: --out"),
        ("import --name jaco --out x", "required: SRC"),
        ("import x --name jaco --out x --split both", "invalid choice: 'both'"),
        ("import x --name jaco --out x --scenes-per-file 0", "'0' is not a positive whole number"),
        ("render jaco --out x", "required: --scenes"),
        ("render jaco --out x --scenes 0", "'0' is not a positive whole number"),
        ("render jaco --out x --scenes -3", "'-3' is not a positive whole number"),
        ("render jaco --out x --scenes 3 --shard 3/2", "not I/N with I from 1 to N"),
        ("render jaco --out x --scenes 3 --split val", "invalid choice: 'val'"),
    ],
)
def test_wrong_flags_say_what_is_wrong(capsys, arguments, says):
    assert main(["data", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gqn: ") and says in said and said.count("\n") == 1

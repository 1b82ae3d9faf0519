"""Options that a message names as in Python become flags; everything else of it stays."""

import pytest

from gqn.cli.parsing import flags
from gqn.runtime.console import complain, naming, note, say


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("give another `run_suffix`", "give another --run-suffix"),
        ("start over with `resume=False`", "start over with --no-resume"),
        ("give `hold_out=True`", "give --hold-out"),
        ("`accumulate=2` or more", "--accumulate 2 or more"),
        ("`init=log/a_b` or `-t`", "--init log/a_b or `-t`"),
        ("`num_steps`: 12 here, 3 there; `seed`: 0 here", "--num-steps: 12 here, 3 there; --seed: 0 here"),
        ("run_suffix, without ticks, and `gqn eval RUN`", "run_suffix, without ticks, and `gqn eval RUN`"),
    ],
)
def test_options_become_flags(said, shown):
    assert flags(said) == shown


def test_only_the_command_line_names_flags(capsys):
    """In a notebook they are as in Python, before and after a command."""
    for _ in range(2):
        say("fewer `samples` [/a]")
        note("fewer `samples` [/a]")
        complain("fewer `samples`")
        out, err = capsys.readouterr()
        assert out == "fewer `samples` [/a]\n" and err == "fewer `samples` [/a]\ngqn: fewer `samples`\n"
        with naming(flags):
            say("fewer `samples`")
            note("fewer `samples`")
            complain("fewer `samples`")
        out, err = capsys.readouterr()
        assert out == "fewer --samples\n" and err == "fewer --samples\ngqn: fewer --samples\n"

"""Progress on narrow and dumb terminals, and the forecast of how long a training takes."""

import io

import pytest

from gqn.runtime import console as logs
from gqn.runtime.console import Forecast


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_no_terminal_is_too_narrow_for_numbers(monkeypatch, width):
    from rich.console import Console

    screen = io.StringIO()
    options = dict(force_terminal=True, color_system=None, soft_wrap=True, highlight=False)
    monkeypatch.setattr(logs, "console", Console(file=screen, width=width, _environ={"TERM": "xterm"}, **options))
    with logs.Reporter("train", 80_000, 40_000, "samples") as report:
        report.update(41_000, "excess 142.9  kl 8.76  mse 0.00232")
    for number in ("41000/80000", "(51.2%)", "142.9", "8.76", "0.00232"):
        assert number in screen.getvalue()
    assert "…" not in screen.getvalue()


def test_dumb_terminals_get_lines(monkeypatch):
    from rich.console import Console

    screen = io.StringIO()
    monkeypatch.setattr(logs, "console", Console(file=screen, force_terminal=True, _environ={"TERM": "dumb"}))
    with logs.Reporter("verify", 2, 0, "files") as report:
        report.update(2)
    assert screen.getvalue().startswith("verify 2/2 (100.0%)") and screen.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        ([(4, 3.0), (8, 4.0), (40, 12.0)], (60 * 9 / 36, False)),  # the first step, of 3 s, does not count
        ([(4, 3.0), (8, 4.0)], None),
        ([(4, 3.0), (8, 4.0), "overdue"], ((100 - 8) * 22 / 4, False)),
        ([(4, 20.0), "overdue"], (24 * 20.0, False)),
        (["overdue", (4, 40.0), (8, 80.0)], (25 * 25.0, True)),
    ],
)
def test_how_long_it_takes_is_said_once(happens, said):
    told = []
    forecast = Forecast(100, 0, 4, lambda *given: told.append(given))
    forecast.began = 0.0
    for event in happens:
        if event == "overdue":
            forecast.overdue(25.0)
        else:
            forecast.update(*event)
    forecast.update(100, 1000.0) if said else None
    assert told == ([pytest.approx(said)] if said else [])

"""Items are made by workers in order; their errors come with their items, and a killed worker is a line."""

import gzip
import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing import connection

import pytest
from torch.utils.data import Dataset, get_worker_info

from gqn.cli.main import main
from gqn.data.files import conversion, export, inspect
from gqn.errors import BadInput
from gqn.runtime.workers import made
from gqn.training import loop
from support import BRIEF, HERE, same_weights


class Numbers(Dataset):
    """The numbers up to 20, but for what happens at 7."""

    def __init__(self, at_7=lambda: 7):
        self.at_7 = at_7

    def __len__(self):
        return 20

    def __getitem__(self, number):
        return self.at_7() if number == 7 else number


def ended(signum=signal.SIGKILL):
    """What ends a worker, and no other process."""
    if get_worker_info():
        os.kill(os.getpid(), signum)


def failing(error):
    raise error


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_come_in_order(workers):
    assert list(made(Numbers(), workers=workers)) == list(range(20))
    assert list(made(Numbers(), [3, 1, 2], workers, ahead=5)) == [3, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", [BadInput("no scene 7"), FileNotFoundError(2, "No such file", "seven")], ids=type)
def test_an_error_comes_with_its_item(workers, error):
    items = made(Numbers(lambda: failing(error)), workers=workers)
    assert [next(items) for _ in range(7)] == list(range(7))
    with pytest.raises(type(error)) as raised:
        next(items)
    assert str(raised.value) == str(error)  # a file's name is in it
    assert not multiprocessing.active_children()  # though the error is kept


@pytest.mark.parametrize(
    ("way", "cause"), [(ended, "SIGKILL"), (lambda: ended(signal.SIGBUS), "SIGBUS"), (lambda: os._exit(3), "code 3")]
)
def test_a_worker_that_ends_is_named_and_leaves_none_behind(way, cause):
    """A full shared memory is a bus error. It is seen at the next item, though others are there."""
    items = made(Numbers(way), workers=2, ahead=10)
    assert next(items) == 0
    connection.wait([worker.sentinel for worker in multiprocessing.active_children()])
    with pytest.raises(BadInput, match=f"^a worker process ended by .*{cause}, .*: fewer `workers` need less.*$"):
        next(items)
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_while_its_item_is_waited_for_is_seen():
    with pytest.raises(BadInput, match="SIGKILL"):
        list(made(Numbers(ended), workers=1))


def test_the_end_of_a_worker_raises_nothing_elsewhere():
    """Raised anywhere, an error might be swallowed, and the program would go on."""
    before = signal.getsignal(signal.SIGCHLD)
    items = made(Numbers(), workers=1)
    assert signal.getsignal(signal.SIGCHLD) == before
    assert list(items) == list(range(20))


@pytest.mark.parametrize("command", ["render", "import", "verify"])
def test_commands_whose_worker_is_killed_say_so_in_a_line_and_go_on(tmp_path, monkeypatch, capfd, command):
    name, small = "shepard_metzler_5_parts", ["--workers=2", f"--out={tmp_path / 'out'}"]
    options = ["--scenes=6", "--scenes-per-file=2", "--image-size=16", "--views=2"]
    assert main(["data", "render", name, *options, "--workers=0", f"--out={tmp_path / 'data'}"]) == 0
    there = tmp_path / "data" / name
    if command == "import":
        for path in there.rglob("*.tfrecord"):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    given = {
        "render": ["data", "render", name, *options, *small],
        "import": ["data", "import", str(there), f"--name={name}", *small],
        "verify": ["data", "verify", str(there), "--workers=2"],
    }[command]
    room, work = {"import": (conversion.foreign, "scenes"), "verify": (inspect, "verify_file")}.get(
        command, (export, "payload")
    )
    then = getattr(room, work)
    capfd.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(room, work, lambda *given: ended() or then(*given))
        assert main(given) == 2
    said = capfd.readouterr().err
    assert "gqn: a worker process ended by SIGKILL" in said and "fewer --workers need less" in said
    assert said.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.part"))
    assert main(given) == 0


def test_a_training_whose_worker_is_killed_keeps_its_checkpoint(tmp_path, monkeypatch, straight, at_step):
    def kill():
        (worker,) = multiprocessing.active_children()
        worker.kill()
        worker.join()

    at_step(6, kill)
    with pytest.raises(BadInput, match="SIGKILL"):
        loop.train(BRIEF, replace(HERE, workers=1), tmp_path / "run")
    at_step(-1, None)
    assert loop.checkpoint.load_state(tmp_path / "run", print)["step"] == 4
    loop.train(BRIEF, replace(HERE, workers=1), tmp_path / "run")
    assert same_weights(tmp_path / "run", straight)

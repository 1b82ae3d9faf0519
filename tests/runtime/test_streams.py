"""Output that cannot be written, or not in its encoding, never stops a command."""

import io
import os
import sys

import pytest

from gqn.cli import main as cli
from gqn.runtime import streams
from support import started


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "--help"]])
def test_a_full_disk_behind_the_output_is_a_line(arguments):
    with open("/dev/full", "w") as full:
        ended = started(*arguments, stdout=full, PYTHONUNBUFFERED="")
    assert ended.returncode == 1
    assert ended.stderr == b"gqn: cannot write the output (No space left on device): going on without it\n"


class Full(io.StringIO):
    """What a disk is when it is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_a_training_goes_on_without_its_output(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full())
    flags = "--image-size 16 -c 2 --representation tower --representation-maps 8 -s 1 -u 4 --num-canvas-maps 4 -b 4"
    command = ["train", *flags.split(), "-t", "8", "-v", "4", "--workers", "0", "--logdir", str(tmp_path)]
    assert cli.main(command) == 1
    assert (tmp_path / "founding-shepard_metzler_5_parts-16px" / "model.safetensors").exists()
    assert capsys.readouterr().err.count("cannot write the output") == 1


def test_a_reader_that_leaves_is_no_error(monkeypatch, capsys):
    class Left(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Left())
    assert cli.main(["--help"]) == 1 and capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--dry-run"]])
def test_no_output_at_all(monkeypatch, arguments):
    """As under pythonw, or with >&-."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    try:
        assert cli.main(arguments) == 0
    except SystemExit as stop:
        assert not stop.code
    assert sys.stdout is None


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_an_encoding_lacks_is_spelt(monkeypatch, encoding):
    screen = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    with streams.standard():
        print("1 ± 2 … λ\udcff")
    screen.flush()
    said = screen.buffer.getvalue().decode(encoding)
    assert said == {
        "ascii": "1 +- 2 ... \\u03bb\\udcff\n",
        "cp1252": "1 ± 2 … \\u03bb\\udcff\n",
        "utf-8": "1 ± 2 … λ\\udcff\n",
    }[encoding].replace("\n", os.linesep)

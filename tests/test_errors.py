"""Too little memory is a line that says what needs less, and costs no checkpoint."""

import pytest
import torch

from gqn import errors
from gqn.artifacts import checkpoint
from gqn.cli import main as cli
from gqn.config import Place
from gqn.errors import BadInput
from gqn.evaluation import evaluate
from gqn.evaluation.evaluate import Settings
from gqn.figures import predictions
from gqn.training import loop as training
from support import TOY, failing, made_run

SMALL = TOY.having(batch_size=4, num_train_samples=16, num_val_samples=4, val_freq=8)

SHORT = [
    MemoryError(),
    MemoryError("Unable to allocate 3.00 TiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried 12 bytes"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."),
    OSError(12, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:20])
def test_too_little_memory_is_a_line(error):
    with pytest.raises(BadInput, match="too little memory: ask for less"), errors.within_memory("ask for less"):
        raise error


def test_other_errors_are_what_they_are():
    for error in (RuntimeError("shapes do not match"), OSError(28, "full"), ValueError("can't allocate memory")):
        with pytest.raises(type(error)), errors.within_memory("ask for less"):
            raise error


@pytest.mark.parametrize("error", SHORT[1:4], ids=lambda error: str(error)[:20])
def test_commands_that_need_too_much_memory_say_what_needs_less(tmp_path, monkeypatch, capsys, error):
    run = made_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "measure", failing(error))
        with pytest.raises(BadInput, match=r"too little memory: fewer `samples` .* or fewer `devices`"):
            evaluate.evaluate(run, Settings(scenes=2))
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "compute", failing(error))
        assert cli.main(["figure", "predictions", str(run)]) == 2
    said = capsys.readouterr().err
    assert "too little memory" in said and said.count("\n") == 1


def test_a_training_that_needs_too_much_memory_keeps_its_checkpoint(tmp_path, at_step):
    at_step(3, failing(SHORT[2]))
    with pytest.raises(BadInput, match=r"too little memory: `accumulate=2` .* `batch_size`"):
        training.train(SMALL, Place(workers=0), tmp_path / "run")
    at_step(-1, None)
    assert checkpoint.load_state(tmp_path / "run", print)["step"] == 2
    training.train(SMALL, Place(workers=0, accumulate=2), tmp_path / "run")
    assert checkpoint.finished(tmp_path / "run")


def test_a_checkpoint_for_which_memory_is_short_is_not_damaged(tmp_path, monkeypatch):
    training.train(SMALL, Place(workers=0), tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", failing(SHORT[2]))
        with pytest.raises(BadInput, match="too little memory"):
            training.train(SMALL, Place(workers=0), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.damaged"))
    assert checkpoint.load_state(tmp_path / "run", print)["step"] == 4

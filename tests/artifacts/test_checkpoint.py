"""The files of a run: whole after a kill, a full disk or damage, and refused when they are not what they say."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gqn.artifacts import checkpoint
from gqn.errors import BadInput
from gqn.training.loop import train
from support import BRIEF as TOY
from support import HERE, copied, made_run, refused, same_weights


def test_killed_while_saving(straight, tmp_path):
    """What a SIGKILL leaves at each moment of a save: the newest whole state is found, and the next save works."""
    state = checkpoint.load_state(straight, print)
    cut = b"half"
    for name, moment in {
        "while writing": lambda run: (run / "..new.ckpt.part").write_bytes(cut),
        "before the latest steps back": lambda run: shutil.copy(run / "latest.ckpt", run / ".new.ckpt"),
        "before the new one steps in": lambda run: (run / "latest.ckpt").rename(run / "previous.ckpt"),
        "while writing the best": lambda run: (run / ".best.ckpt.part").write_bytes(cut),
    }.items():
        run = copied(straight, tmp_path / name)
        moment(run)
        assert checkpoint.load_state(run, print)["step"] == 12
        checkpoint.save(run, state, best=True)
        assert checkpoint.load_state(run, print)["step"] == 12
        assert torch.load(run / "best.ckpt", weights_only=True)["step"] == 12


def test_a_damaged_checkpoint_never_takes_the_place_of_the_good_one(straight, tmp_path, monkeypatch):
    run = copied(straight, tmp_path / "run")
    (run / "latest.ckpt").write_bytes(b"damaged")
    state = checkpoint.load_state(run, print)
    assert state["step"] == 8
    monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt))  # killed in the save
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(run, state, best=False)
    assert checkpoint.load_state(run, print)["step"] == 8


def test_a_reader_takes_nothing_away_from_the_run_that_writes(straight, tmp_path, monkeypatch):
    """Which, while the last checkpoint is read, moves it and puts a newer one into its place."""
    run = copied(straight, tmp_path / "run")
    latest, load, said = run / "latest.ckpt", torch.load, []
    newer = shutil.copy(latest, run / ".new.ckpt")

    def meanwhile(file, **options):
        if file.name == str(latest):
            os.replace(latest, run / "previous.ckpt")
        try:
            return load(file, **options)
        finally:
            if file.name == str(latest):
                os.replace(newer, latest)

    monkeypatch.setattr(torch, "load", meanwhile)
    assert checkpoint.load_state(run, said.append)["step"] == 12
    assert latest.exists() and not list(run.glob("*.damaged")) and said == []


def test_full_disk_is_a_clear_line_and_loses_nothing(tmp_path, monkeypatch):
    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    train(TOY, HERE, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(BadInput, match=r"cannot write .*file write failed"):
            checkpoint.save(tmp_path / "run", {"step": 0}, best=False)
    assert checkpoint.load_state(tmp_path / "run", print)["step"] == 12
    assert not list((tmp_path / "run").glob(".*"))


def test_truncated_checkpoint_falls_back(straight, tmp_path):
    train(TOY, HERE, tmp_path / "run")
    latest, previous = (tmp_path / "run" / name for name in ("latest.ckpt", "previous.ckpt"))
    latest.write_bytes(latest.read_bytes()[:1000])
    said = []
    assert checkpoint.load_state(tmp_path / "run", said.append)["step"] == 8
    assert "latest.ckpt is damaged" in said[0]
    train(TOY, HERE, tmp_path / "run")
    assert same_weights(straight, tmp_path / "run")
    latest.write_bytes(b"")
    previous.write_bytes(b"")
    with pytest.raises(BadInput, match="no checkpoint"):
        checkpoint.load_state(tmp_path / "run", said.append)


def test_a_flipped_bit_in_any_part_of_a_checkpoint_is_named_and_the_one_before_taken(straight, tmp_path):
    whole, state = (straight / "latest.ckpt").read_bytes(), checkpoint.read_state(straight / "latest.ckpt")
    adam = state["optimizers"][0]["state"][0]
    tensors = [state["model"]["observe.weight"], adam["exp_avg"], adam["exp_avg_sq"]]
    for number, part in enumerate([*(t.numpy().tobytes() for t in tensors), b"exp_avg_sq", b"kl_steps"]):
        if part not in whole:
            continue
        run, said = copied(straight, tmp_path / f"{number}"), []
        stored = bytearray(whole)
        stored[whole.index(part) + len(part) // 2] ^= 1
        (run / "latest.ckpt").write_bytes(stored)
        assert checkpoint.load_state(run, said.append)["step"] == 8
        assert len(said) == 1 and f"{run}/latest.ckpt is damaged" in said[0] and "\n" not in said[0]
        assert (run / "latest.damaged").read_bytes() == stored


@pytest.mark.parametrize(
    "change",
    [
        {"model": 3},
        {"model": {"a": [1]}},
        {"model": {1: torch.zeros(1)}},
        {"model": {"a": torch.tensor([1.0, float("nan")])}},
        {"model": {"a": torch.zeros(1).expand(10**6, 10**6)}},
        {"step": 3.5},
        {"step": True},
        {"step": -1},
        {"best": []},
        {"best": float("nan")},
        {"seconds": "1"},
        {"recent": [1]},
        {"optimizers": {}},
        {"optimizers": [{"state": [], "param_groups": []}]},
    ],
)
def test_wrong_types_in_a_whole_checkpoint_are_damage(straight, tmp_path, change):
    run, said = copied(straight, tmp_path / "run"), []
    torch.save(checkpoint.read_state(run / "latest.ckpt") | change, run / "latest.ckpt")
    assert checkpoint.load_state(run, said.append)["step"] == 8
    assert len(said) == 1 and "latest.ckpt is damaged" in said[0] and "\n" not in said[0]


def test_what_a_check_refuses_is_damage(straight, tmp_path):
    run, said = copied(straight, tmp_path / "run"), []

    def check(state):
        if state["step"] == 12:
            raise ValueError("twelve")

    assert checkpoint.load_state(run, said.append, check)["step"] == 8
    assert said == [f"{run}/latest.ckpt is damaged (twelve): trying the checkpoint before it"]


def test_any_flipped_bit_of_weights_is_found_or_changes_nothing(run, tmp_path):
    weights, other = run / "model.safetensors", made_run(tmp_path / "other") / "model.safetensors"
    whole, right = weights.read_bytes(), checkpoint.read_weights(weights)
    start = 8 + int.from_bytes(whole[:8], "little")
    for at in [*range(0, start, 7), *range(start, len(whole), 499)]:
        other.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            found = checkpoint.read_weights(other)
        except BadInput as error:
            assert str(other) in str(error) and "\n" not in str(error)
        else:
            assert at < start and found.keys() == right.keys()  # such as in the name of the digest
            assert all(torch.equal(found[name], right[name]) for name in right)


def test_weights_that_are_not_finite_are_refused(run, tmp_path):
    """Also those of before digests were written."""
    weights, other = load_file(run / "model.safetensors"), made_run(tmp_path / "other")
    for value in (float("nan"), float("inf")):
        weights["observe.bias"][1] = value
        save_file(weights, other / "model.safetensors")
        refused(other, r"weight observe\.bias is not finite")


def test_weights_are_the_same_file_each_time(run, tmp_path):
    """Its header has several entries, which the library writes in random order."""
    _, model = checkpoint.load(run)
    folders = [made_run(tmp_path / str(number)) for number in range(8)]
    for folder in folders:
        checkpoint.save_weights(folder, model)
    assert len({(folder / "model.safetensors").read_bytes() for folder in folders}) == 1
    with safe_open(folders[0] / "model.safetensors", "pt") as file:
        assert file.metadata() == {"gqn_format": "1", "gqn_digest": checkpoint.digest(model.state_dict())}


def test_damaged_runs_are_refused(straight, tmp_path):
    with pytest.raises(BadInput, match="no run folder"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds no run"):
        checkpoint.load(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((straight / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes((straight / "model.safetensors").read_bytes()[:500])
    with pytest.raises(BadInput, match=r"model\.safetensors is damaged"):
        checkpoint.load(tmp_path)
    other = TOY.having(num_recurrent_maps=8)
    checkpoint.save_weights(tmp_path, checkpoint.build(other))
    with pytest.raises(BadInput, match="not of the model"):
        checkpoint.load(tmp_path)


def test_other_versions_and_shapes_are_refused(run, tmp_path):
    weights = load_file(run / "model.safetensors")
    other = made_run(tmp_path / "other")
    save_file(weights, other / "model.safetensors", {"gqn_format": "99"})
    (other / "config.json").write_text('{"an_option_of_the_future": 1}')
    refused(other, "is of weights format 99, this gqn reads 1")
    save_file(weights, other / "model.safetensors", {"gqn_format": checkpoint.FORMAT})
    refused(other, "unknown option 'an_option_of_the_future'")
    lone = tmp_path / "lone" / "x.safetensors"
    lone.parent.mkdir()
    save_file(weights, lone)
    refused(lone, r"holds no run: cannot read config\.json")
    shutil.copy(run / "config.json", lone.parent)
    checkpoint.load(lone)  # of before versions were written
    save_file({name: torch.zeros(3) for name in weights}, lone)
    refused(lone, "not of the model")


def test_bfloat16_is_loaded_as_float32(run, tmp_path):
    _, model = checkpoint.load(run)
    half = made_run(tmp_path / "half")
    checkpoint.save_weights(half, model, torch.bfloat16)
    size = [(folder / "model.safetensors").stat().st_size for folder in (half, run)]
    assert size[0] < 0.7 * size[1]
    for a, b in zip(checkpoint.load(half)[1].parameters(), model.parameters(), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=2**-8, atol=0)


def test_weights_are_for_those_to_read_who_may_read_the_rest(run):
    assert len({(run / name).stat().st_mode for name in ("model.safetensors", "config.json")}) == 1


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_that_is_read_is_executed(tmp_path):
    sprung = tmp_path / "sprung"
    run = made_run(tmp_path / "run")
    (run / "model.safetensors").write_bytes(pickle.dumps(Trap(sprung)))
    refused(run, "is a Python pickle, not model weights")
    (run / "model.safetensors").unlink()
    torch.save({"model": Trap(sprung), "step": 1}, run / "latest.ckpt")
    refused(run, "no checkpoint in .* can be read")
    assert not sprung.exists()


def test_a_model_of_rooms_as_they_were_says_so_and_its_run_is_not_gone_on_with(tmp_path):
    """Its cameras meant something else, so neither its pictures nor further training would be right."""
    rooms = TOY.having(dataset_name="rooms_ring_camera", max_context_size=3)
    folder, said = made_run(tmp_path / "run", rooms.having(world=1)), []
    checkpoint.load(folder, said.append)
    assert len(said) == 1 and "rooms_ring_camera as gqn rendered it before" in said[0] and "docs/data.md" in said[0]
    with pytest.raises(BadInput, match="`world`: 2 here, 1 there"):
        train(rooms, HERE, folder)
    checkpoint.load(made_run(tmp_path / "now", rooms), said.append)
    assert len(said) == 1


def test_a_model_that_cannot_be_built_is_not_called_damage(run, monkeypatch):
    def broken(config):
        raise RuntimeError("no such layer")

    monkeypatch.setattr(checkpoint, "build", broken)
    with pytest.raises(BadInput, match=r"the model that .*config\.json describes cannot be built: no such layer"):
        checkpoint.load(run)

"""`gqn train` with all its options, of flags and of TOML, and on files."""

import pytest
import torch

from gqn.config import PRESETS
from support import run

TINY = (
    "--image-size 16 -c 2 --representation tower --representation-maps 8 -s 1 -u 4 --num-canvas-maps 4 -b 4 -t 8 -v 4"
)


def test_founding_options_keep_their_names_and_short_forms(capsys):
    """Every option of the founding program, by its long name, with dashes or underscores, and its short form."""
    long = "-d rooms_ring_camera -c 5 -b 8 -s 3 -l 2 -u 16 -pi 1.5 -pf 0.6 -ri 0.001 -rf 0.0002 -t 100 -v 10 -f 50"
    names = [
        "dataset_name",
        "max_context_size",
        "batch_size",
        "num_steps",
        "num_latent_maps",
        "num_recurrent_maps",
        "pixel_std_initial",
        "pixel_std_final",
        "learning_rate_initial",
        "learning_rate_final",
        "num_train_samples",
        "num_val_samples",
        "val_freq",
    ]
    values = long.split()[1::2]
    outputs = set()
    for spelt in (
        long.split(),
        [x for n, v in zip(names, values, strict=True) for x in (f"--{n}", v)],
        [x for n, v in zip(names, values, strict=True) for x in (f"--{n.replace('_', '-')}", v)],
    ):
        code, out, _ = run(capsys, "train", *spelt, "--logdir", "x", "--run_suffix", "_a", "--dry-run")
        assert code == 0
        outputs.add(out)
    assert len(outputs) == 1
    assert '"num_recurrent_maps": 16' in out and "x/founding-rooms_ring_camera-64px_a" in out
    assert run(capsys, "train", "--help")[1].count("--gpu") >= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_dry_run(capsys, preset):
    code, out, _ = run(capsys, "train", preset, "--dry-run", "--shared-cores")
    assert code == 0 and "parameters:" in out and "steps:" in out


def test_gpu_without_a_gpu(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    code, _, err = run(capsys, "train", "demo", "--gpu", "--logdir", str(tmp_path))
    assert code == 2 and "--gpu" in err


def test_mistake_11_a_switch_takes_no_value(capsys):
    """`--shared-cores False` is refused, and not taken for True; --no-shared-cores is its opposite."""
    code, _, err = run(capsys, "train", "founding", "--shared-cores", "False", "--dry-run")
    assert code == 2 and "False" in err
    for flag, value in (("--no-shared-cores", "false"), ("--shared-cores", "true"), ("--no_shared_cores", "false")):
        code, out, _ = run(capsys, "train", "founding", flag, "--dry-run")
        assert code == 0 and f'"shared_cores": {value}' in out


def test_misspelt_toml_key(capsys, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("num_step = 3\n")
    code, _, err = run(capsys, "train", "demo", "--config", str(file), "--dry-run")
    assert code == 2 and "my.toml" in err and "Did you mean 'num_steps'?" in err
    for text, says in (
        ("num_steps = 'x'", "must be a int"),
        ("num_steps = = 3", "not valid TOML"),
        ("representation = 'towr'", "Did you mean 'tower'?"),
    ):
        file.write_text(text)
        code, _, err = run(capsys, "train", "demo", "--config", str(file), "--dry-run")
        assert code == 2 and says in err


def test_toml_then_flags(capsys, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("num-steps = 3\nlearning_rate_initial = 1\nbatch_size = 8\n")
    code, out, _ = run(capsys, "train", "demo", "--config", str(file), "--batch-size", "2", "--dry-run")
    assert code == 0
    assert '"num_steps": 3' in out and '"learning_rate_initial": 1.0' in out and '"batch_size": 2' in out


def test_train_eval_and_figure(capsys, tmp_path):
    command = ["train", *TINY.split(), "--logdir", str(tmp_path), "--run-suffix", "_x", "--workers", "0"]
    code, out, _ = run(capsys, *command)
    folder = tmp_path / "founding-shepard_metzler_5_parts-16px_x"
    assert code == 0 and str(folder) in out.replace("\n", "")
    assert run(capsys, "eval", str(folder), "--scenes", "20")[0] == 0
    code, out, _ = run(capsys, "figure", "predictions", str(folder), "--out", str(tmp_path / "p.png"))
    assert code == 0 and (tmp_path / "p.png").exists() and (tmp_path / "p.npz").exists()
    code, _, err = run(capsys, "figure", "predictions", str(folder), "--out", str(tmp_path / "no" / "p.png"))
    assert code == 2 and "cannot write" in err
    code, _, err = run(capsys, *command, "-s", "2")
    assert code == 2 and "another config" in err


def test_unwritable_logdir(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "train", "demo", "--logdir", str(tmp_path / "file"))
    assert code == 2 and "cannot write" in err


@pytest.mark.parametrize(("preset", "size"), [("founding", 84), ("demo", 32)])
def test_another_dataset_brings_its_size_and_context(capsys, preset, size):
    code, out, _ = run(capsys, "train", preset, "-d", "mazes", "--dry-run")
    assert code == 0 and f'"image_size": {size}' in out and "mazes" in out
    assert (
        '"max_context_size": 5' in run(capsys, "train", "paper", "--dataset-name", "rooms_ring_camera", "--dry-run")[1]
    )


def test_trains_on_files(capsys, tmp_path):
    """`gqn data render`, then `gqn train --data` and `gqn eval` on what it wrote."""
    name = "shepard_metzler_5_parts"
    make = ["data", "render", name, "--scenes", "6", "--test-scenes", "6", "--out", str(tmp_path / "data")]
    assert run(capsys, *make, "--workers", "0", "--views", "4")[0] == 0
    flags = ["train", *TINY.split(), "--logdir", str(tmp_path), "--workers", "0", "--data", str(tmp_path / "data")]
    code, out, _ = run(capsys, *flags)
    assert code == 0
    for line in (
        f"preset founding, run folder {tmp_path}/founding-{name}-16px",
        f"data: {name} at 16 px, 6 scenes in 1 file of {tmp_path}/data",
        "precision 32-true",
        "parameters, 2 steps of 4 tasks",
    ):
        assert line in out
    assert run(capsys, "eval", str(tmp_path / f"founding-{name}-16px"), "--scenes", "4", "--context", "2")[0] == 0
    code, _, err = run(capsys, *flags, "--data", str(tmp_path / "nowhere"), "--run-suffix", "_b")
    assert code == 2 and "nowhere" in err
    code, _, err = run(capsys, "train", "demo", "-c", "4", "--num-views", "4", "--dry-run")
    assert code == 2 and "whose scenes have 4 views" in err
    assert run(capsys, "train", "demo", "-c", "30", "--data", str(tmp_path / "data"), "--dry-run")[0] == 0
    code, _, err = run(capsys, *flags, "-c", "30", "--run-suffix", "_d")  # files may hold more views than released
    assert code == 2 and "30 context views and 1 query views do not fit into scenes of 4 views" in err
    (tmp_path / "data" / name / "test").rename(tmp_path / "away")
    code, _, err = run(capsys, *flags, "--run-suffix", "_c")
    assert code == 2 and "test split" in err and "validates on held-out scenes: move some of the files of train" in err

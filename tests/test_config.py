"""Configs: groups and flat names, presets, and every format that was ever written."""

import dataclasses
import json
from pathlib import Path

import pytest

from gqn import config as configs
from gqn.artifacts import trained
from gqn.config import PRESETS, Config, preset
from gqn.config.migrations import FORMAT, MIGRATIONS
from gqn.errors import BadInput

RECORDED = Path(__file__).parent / "configs"  # format-N.json: as gqn wrote one of that format, options all unusual
REMOVED: dict[int, set[str]] = {}  # by the format of which they were the last: options that were dropped since


def written(tmp_path, values):
    path = tmp_path / "config.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_founding_defaults():
    c = preset("founding").flat()
    assert (c["num_steps"], c["num_latent_maps"], c["num_recurrent_maps"], c["batch_size"]) == (12, 3, 64, 32)
    assert (c["pixel_std_initial"], c["pixel_std_final"], c["num_train_samples"]) == (2.0, 0.7, 5_000_000)
    assert (c["learning_rate_initial"], c["learning_rate_final"], c["max_context_size"]) == (5e-4, 4e-4, 12)
    assert (c["num_val_samples"], c["val_freq"], c["shared_cores"]) == (128, 20_000, True)


def test_the_defaults_are_the_papers():
    c = Config()
    assert c == preset("paper")
    assert c.steps == 2_000_000 and c.optimizer.batch_size == 36 and c.model.num_recurrent_maps == 128


@pytest.mark.parametrize("name", PRESETS)
def test_configs_survive_json(tmp_path, name):
    config = preset(name, data="somewhere", seed=3)
    again = configs.read(written(tmp_path, configs.as_json(config)))
    assert again == config and again.origin.data == ""  # where the data lie is kept elsewhere
    assert json.loads(configs.as_json(config))["format"] == FORMAT


def test_every_option_has_a_flat_name_of_its_own():
    names = [option for group in dataclasses.fields(Config()) for option in vars(getattr(Config(), group.name))]
    assert len(Config().flat()) == len(names) + 1  # and the model's name
    assert {"model", "optimizer", "data", "init", "num_steps"} <= Config().flat().keys()
    changed = Config().having(optimizer="muon", num_steps=3, data="x", batch_size=2)
    assert changed.optimizer.name == "muon" and changed.model.num_steps == 3
    assert changed.origin.data == "x" and changed.optimizer.batch_size == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"val_freq": 0}, "`val_freq` must be positive"),
        ({"optimizer": "sgd"}, "unknown `optimizer` 'sgd'"),
        ({"representation": "towr"}, "Did you mean 'tower'?"),
        ({"num_step": 3}, "Did you mean 'num_steps'?"),
        ({"num_steps": "3"}, "num_steps must be a int"),
        ({"model": "gqm"}, "Did you mean 'gqn'?"),
        ({"model": 3}, "model must be a str"),
        ({"optimizer": 3}, "optimizer must be a str"),
        ({"modle": "gqn"}, "Did you mean 'model'?"),
        ({"max_context_size": 15}, "`max_context_size` 15 with `num_queries` 1 does not fit"),
        ({"lattice_points": 0}, "`lattice_points` must be positive"),
        ({"representation": "lattice", "sigmoid_output": True}, "give `sigmoid_output=False`"),
        ({"query": "overhead"}, "has no overhead view: leave `query` away"),
    ],
)
def test_wrong_options_are_named_as_in_python(options, says):
    with pytest.raises(BadInput) as raised:
        Config().having(**options)
    assert says in str(raised.value) and "--" not in str(raised.value)


def test_differences_are_of_the_options_asked_for():
    a, b = preset("founding"), preset("founding", num_steps=3, seed=1, optimizer="muon")
    assert configs.differences(a, a, a.flat()) == []
    assert configs.differences(a, b, ["num_steps", "batch_size"]) == ["`num_steps`: 12 here, 3 there"]
    assert configs.differences(a, b, ["optimizer"]) == ["`optimizer`: 'adam' here, 'muon' there"]


@pytest.mark.parametrize("name", [name for name in trained.shipped() if name != "rooms-32"])
def test_shipped_weights_keep_their_configs(name):
    """Real files of format 1, flat: each option has the value that the file says."""
    path = trained.SHIPPED / name / "config.json"
    values = json.loads(path.read_text())
    assert "format" not in values and values["representation"] == "lattice"
    flat = configs.read(path).flat()
    assert {option: flat[option] for option in values} == values
    assert flat["lattice_points"] == 10  # as it was before it was an option


@pytest.mark.parametrize(("dataset", "world"), [("shepard_metzler_7_parts", 2), ("rooms_ring_camera", 1), ("mazes", 1)])
@pytest.mark.parametrize("older", [{}, {"format": 2}])
def test_cameras_of_older_runs_meant_something_else(tmp_path, dataset, world, older):
    named = {"dataset_name": dataset, "max_context_size": 3}
    config = configs.read(written(tmp_path, older | ({"data": named} if older else named)))
    assert config.data.world == world and preset("demo").data.world == 2
    assert configs.read(written(tmp_path, json.loads(configs.as_json(config)))) == config


def test_format_1_had_the_founding_defaults(tmp_path):
    assert configs.read(written(tmp_path, {})) == preset("founding")
    assert configs.read(written(tmp_path, {"optimizer": "muon", "data": "there"})).optimizer.name == "muon"


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_recorded_configs_of_every_format_are_read(number):
    """A format whose options changed needs a new number, and a migration: else runs of before become unreadable."""
    path = RECORDED / f"format-{number}.json"
    values = json.loads(path.read_text())
    said = {}
    for group, options in values.items():
        for option, value in options.items() if isinstance(options, dict) else [(group, options)]:
            said[group if option == "name" else option] = value
    said.pop("format", None)
    flat = configs.read(path).flat()
    gone = set().union(*(REMOVED.get(older, set()) for older in range(number, FORMAT)))
    assert {option: flat[option] for option in said.keys() - gone} == {o: said[o] for o in said.keys() - gone}
    if number == FORMAT:  # and it has all of them, none with its default
        plain = Config().flat()
        assert said.keys() == flat.keys() - {*configs.PLACES}, "record the format anew, or raise FORMAT"
        usual = {option for option, value in said.items() if value == plain[option]}
        assert usual <= {
            "model",
            "query",
            "sigmoid_output",
            "max_objects",
            "hold_out",
        }  # others exclude their other values
    assert set(MIGRATIONS) == set(range(1, FORMAT))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"format": FORMAT + 1},
            f"is of format {FORMAT + 1}, this gqn reads up to {FORMAT}: use the gqn that wrote it",
        ),
        ({"format": "x"}, "is of format x"),
        ({"format": FORMAT, "data": {"nonsense": 1}}, "unknown option 'nonsense'"),
        ({"format": FORMAT, "nonsense": {}}, "unknown option 'nonsense'"),
        ({"format": FORMAT, "data": 3}, "is damaged"),
        ({"format": FORMAT, "model": {"name": "gqm"}}, "Did you mean 'gqn'?"),
        ({"format": FORMAT, "model": {"name": 3}}, "is damaged"),
        ({"format": FORMAT, "run": {"seed": None}}, "seed must be a int"),
        ({"nonsense": 1}, "unknown option 'nonsense'"),
        ([1], "is damaged"),
        ("no json", "is damaged"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, says):
    with pytest.raises(BadInput) as raised:
        configs.read(written(tmp_path, content))
    assert says in str(raised.value) and str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dataset_name": "rooms_ring_camera", "query": "overhead", "max_context_size": 5}, "has no overhead view"),
        ({"dataset_name": "mazes", "query": "overhead", "num_queries": 2}, "one overhead view"),
        ({"max_objects": 1}, "no varying number of objects"),
        ({"query": "above"}, "unknown `query`"),
    ],
)
def test_options_for_what_a_family_lacks(options, says):
    with pytest.raises(BadInput, match=says):
        preset("founding", **options)

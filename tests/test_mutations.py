"""Every kind of file that the package reads, damaged at random: the right result, or one line that names the file."""

import contextlib
import io

import pytest

from test_runs import script

mutations = script("mutations")
FREE = ("metrics.jsonl", "TOML")  # kinds without a checksum: another number in them is another number


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("made")
        with contextlib.redirect_stdout(io.StringIO()):
            yield folder, *mutations.made(folder)


def test_damage_is_named_or_changes_nothing(made):
    _, _, kinds = made
    for name, kind in kinds.items():
        found = mutations.outcomes(kind, 25, 1, wrong=False)
        allowed = {mutations.RIGHT, mutations.NAMED} | ({mutations.OTHER} if name in FREE else set())
        assert found.keys() <= allowed, (name, found)
        if name in ("index", "imported.json"):  # can be made again
            assert found.keys() == {mutations.RIGHT}, (name, found)


def test_wrong_values_end_in_no_traceback(made):
    _, _, kinds = made
    for name, kind in kinds.items():
        if kind.wrong:
            found = mutations.outcomes(kind, 25, 1, wrong=True)
            assert found.keys() <= {mutations.RIGHT, mutations.NAMED, mutations.OTHER}, (name, found)


def test_a_run_goes_on_to_the_same_weights_after_flipped_bits(made):
    folder, config, _ = made
    said = mutations.flips(folder, config, 4, 1)
    assert said.endswith(": 4 named, 4 resumed to the same weights")

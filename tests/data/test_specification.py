"""The table of datasets says of each what its scene family can do, and no more."""

import dataclasses

import pytest

from gqn.data.sources import family_of
from gqn.data.specification import ABILITIES, DATASETS, check, check_size, spec
from gqn.errors import BadInput


@pytest.mark.parametrize("name", DATASETS)
def test_what_can_be_asked_for_is_what_the_family_can(name):
    family = family_of(name)
    fields = {field.name for field in dataclasses.fields(family)}
    can = {option for option in ("max_objects", "hold_out") if option in fields}
    can |= {"query"} if hasattr(family, "overhead") else set()
    assert ABILITIES.get(spec(name).family, set()) == can
    for option, asked in {"query": ("overhead", 0, False), "max_objects": ("view", 1, False)}.items():
        if option in can:
            check(name, *asked)
        else:
            with pytest.raises(BadInput, match=f"{name} has no .*: leave `{option}` away"):
                check(name, *asked)


def test_names_and_sizes():
    with pytest.raises(BadInput, match=r"unknown dataset 'jacko'. Did you mean 'jaco'\?"):
        spec("jacko")
    for size in (16, 64, 84):
        check_size(size)
    for size in (0, 12, 30, -16):
        with pytest.raises(BadInput, match="`image_size` must be a multiple of 4"):
            check_size(size)

"""Groups of options: frozen dataclasses that check their values when they are built.

An error message names an option by its Python name in backticks, `batch_size`; the command line turns it into a flag.
"""

import dataclasses
from typing import Annotated, Any, Literal, get_args, get_origin

from tyro.conf import arg

from gqn.errors import BadInput
from gqn.runtime import lookup


def short(*names: str) -> Any:
    """Short forms of an option on the command line, for `Annotated`."""
    return arg(aliases=names)


def called(name: str) -> Any:
    """The flat name of an option (its name without groups), if it is not the field's name; for `Annotated`."""
    return arg(name=name)


def check(options: Any) -> None:
    """BadInput unless numbers are positive (or zero, if that is the default) and each choice is a known one."""
    for option in dataclasses.fields(options):
        value, kind, name = getattr(options, option.name), plain_type(option), flat_name(option)
        if type(value) in (int, float) and not (value > 0 or (value == 0 and option.default == 0)):
            raise BadInput(f"`{name}` must be positive, not {value}")
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise BadInput(lookup.unknown(f"`{name}`", str(value), get_args(kind)))


def plain_type(option: dataclasses.Field) -> Any:
    """The type of an option without `Annotated`."""
    return get_args(option.type)[0] if get_origin(option.type) is Annotated else option.type


def flat_name(option: dataclasses.Field) -> str:
    """The flat name of an option: its name in flags and TOML files, which have no groups."""
    said = get_args(option.type)[1:] if get_origin(option.type) is Annotated else ()
    return next((name for part in said if (name := getattr(part, "name", None))), option.name)


def changed(options: Any, values: dict[str, Any], where: str) -> Any:
    """A copy with some options set to `values`. BadInput for a wrong type; its message names `where` they come from."""
    clean = {}
    names = {option.name: flat_name(option) for option in dataclasses.fields(options)}
    for name, value in values.items():
        have, flat = getattr(options, name), names[name]
        if type(have) is float and type(value) is int:
            value = float(value)
        if type(value) is not type(have):
            raise BadInput(f"{where}: {flat} must be a {type(have).__name__}, not {value!r}")
        clean[name] = value
    return dataclasses.replace(options, **clean)

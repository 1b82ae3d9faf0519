"""`gqn train`: options come from a preset, then a TOML file, then flags; later ones override earlier ones."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import tyro

from gqn import config as configs
from gqn.artifacts import trained
from gqn.cli.parsing import Parser, parsed
from gqn.config import Config, Place
from gqn.runtime import console


def train(argv: list[str]) -> int:
    """`gqn train [PRESET] [--config FILE] [--dry-run] [flags]`: train a model, or resume its run."""
    argv = argv[argv[:1] == ["--"] :]
    name, argv = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("founding", argv)
    base = configs.preset(name)
    first = Parser("gqn train", add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    first.add_argument("--init", default="")
    first.add_argument("--model")
    first.add_argument("-d", "--dataset-name", "--dataset_name")
    first.add_argument("--data", default="")
    given, rest = first.parse_known_args(argv)

    def with_file(base: Config) -> Config:
        return configs.read_toml(given.config, base) if given.config else base

    in_file = configs.toml(given.config) if given.config else {}
    if init := given.init or str(in_file.get("init", "")):
        theirs = configs.read(trained.find(init).with_name(trained.CONFIG))
        if given.model in (None, theirs.flat()["model"]):  # another one keeps the preset's options, and will not fit
            base = base.with_model_of(theirs)
    model = {} if given.model is None else {"model": given.model}
    base = with_file(base.having(**model)).having(init=init, **model)  # a file's options may be those of the model
    if given.dataset_name:
        base = base.on(given.dataset_name, given.data)
    elif given.data:
        base = base.having(data=given.data)
    late = [word for word in rest if word in configs.PRESETS]
    options = parsed(
        tyro.cli,
        _flags_of(base),
        prog="gqn train",
        hint=f"; PRESET comes first: gqn train {late[0]}" if late else "",
        description="gqn train [PRESET] [--config FILE.toml] [flags]: train a model, or resume its training. "
        f"PRESET is one of {', '.join(configs.PRESETS)} (here {name}); with --init, the model's options are those of "
        "the weights; a TOML file, then flags, override both. The same command resumes; with a larger -t, a run "
        "continues, from there on with the schedules of a run of that length.",
        args=rest,
    )
    config = Config(**{group.name: getattr(options, group.name) for group in dataclasses.fields(Config)})
    place = options.place
    data = config.data
    folder = place.logdir / f"{name}-{data.dataset_name}-{data.image_size}px{place.run_suffix}"
    if options.dry_run:
        return _dry_run(config, folder)
    return _train(name, config, place, folder)


def _flags_of(base: Config) -> type:
    """A dataclass of all flags, whose defaults are the options of `base`."""
    parts: dict[str, Any] = {group.name: getattr(base, group.name) for group in dataclasses.fields(base)}
    parts["place"] = Place()
    fields: list[Any] = [
        (name, tyro.conf.OmitArgPrefixes[type(part)], dataclasses.field(default=part))  # type: ignore[misc]
        for name, part in parts.items()
    ]
    flag = Annotated[bool, tyro.conf.arg(help="Print the resolved config and the model's size, and exit.")]
    fields.append(("dry_run", flag, dataclasses.field(default=False)))
    which = Annotated[
        str, tyro.conf.arg(name="model", help="Model to train: a file of gqn.models, or a module's name.")
    ]
    fields.insert(2, ("which", which, dataclasses.field(default=base.flat()["model"])))
    return dataclasses.make_dataclass("Options", fields, frozen=True)


def _train(name: str, config: Config, place: Place, folder: Path) -> int:
    from gqn.training.loop import Stopped, train

    first_rank = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if first_rank:
        console.say(f"preset {name}, run folder {folder}")
    try:
        train(config, place, folder)
    except Stopped as stopped:
        if stopped.first:
            console.say(str(stopped))
        return 128 + stopped.signum if stopped.first else 0
    if first_rank:
        console.say(f"done: {folder} (model.safetensors, predictions.png; next: gqn eval {folder})")
    return 0


def _dry_run(config: Config, folder: Path) -> int:
    import torch

    from gqn.artifacts import checkpoint

    with torch.device("meta"):  # parameters are counted without being allocated
        model = checkpoint.build(config)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    print(configs.as_json(config), end="")
    for place in configs.PLACES:
        if getattr(config.origin, place):
            print(f"{place}: {getattr(config.origin, place)}")
    print(f"run folder: {folder}")
    print(f"steps: {config.steps}")
    print(f"parameters: {sum(sizes.values()):,} ({', '.join(f'{name} {n:,}' for name, n in sizes.items())})")
    return 0

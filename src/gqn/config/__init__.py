"""The options of a run, in groups, and how they are read and stored.

Flags (with dashes or underscores) and TOML keys have no groups: each is the name of a field, its flat name. Only
`name`, which chooses the model or the optimizer, is called by its group: `--model`, `--optimizer`. Each model defines
its own options (`gqn.models`). `Origin`, the paths of the data and of the initial weights, does not count when configs
are compared: a config has digests of their content for that.
"""

import dataclasses
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Suppress

from gqn.config.migrations import FORMAT, MIGRATIONS, WORLD
from gqn.data import specification
from gqn.data.specification import DATASETS, DatasetSpec, spec
from gqn.errors import RUN, BadInput
from gqn.presets import PRESETS
from gqn.runtime import content, lookup, reading
from gqn.runtime.options import called, changed, check, flat_name, short

if TYPE_CHECKING:
    from gqn.models import Options


@dataclass(frozen=True)
class Data:
    """What a run is trained on. A training sample is one task: a scene with its context and query views."""

    dataset_name: Annotated[str, short("-d")] = "shepard_metzler_5_parts"
    """Name of the dataset. Scenes of released ones are rendered on the fly, unless `data` is given; one of your own
    needs `data`, with NAME/dataset.toml (`gqn data import`)."""
    own: Suppress[dict[str, Any]] = field(default_factory=dict)
    """What dataset.toml says of a dataset of one's own, set from the file in `data`; {} for released datasets."""
    data_digest: Suppress[str] = ""
    """Digest of the dataset's files (`gqn.data.fingerprint`), set by training; "" for rendered scenes."""
    world: Suppress[int] = WORLD
    """Version of the rendered scenes, and of what cameras mean: of rooms, jaco and mazes other things before 2."""
    num_views: int = 0
    """Views per scene that tasks are drawn from; 0: as in the released dataset, or as in the files."""
    num_train_scenes: int = 0
    """Use only this many training scenes, the first ones; 0: all."""
    image_size: int = 64
    """Side of the images in pixels, a multiple of 4. Released images have 64, mazes 84, rooms with rotations 128."""
    max_context_size: Annotated[int, short("-c")] = 14
    """Largest number of context views; each batch draws its number uniformly from 1 to this."""
    num_queries: int = 1
    """Query views per task, all predicted from one representation."""
    query: Literal["view", "overhead"] = "view"
    """View to predict: another view of the scene, or (mazes only) the overhead view, a map."""
    max_objects: int = 0
    """Largest number of objects in a scene (rooms only); 0: as in the released dataset."""
    hold_out: bool = False
    """Keep the documented held-out combinations (rooms only: pairs of shape and hue) out of training."""

    def __post_init__(self):
        check(self)
        specification.check_size(self.image_size)
        if self.query == "overhead" and self.num_queries > 1:
            raise BadInput("a scene has one overhead view: leave `num_queries` away")

    @property
    def spec(self) -> DatasetSpec:
        """What is known of the dataset."""
        return specification.described(self.own, "the run's dataset") if self.own else spec(self.dataset_name)


@dataclass(frozen=True)
class Objective:
    """The ELBO, which training maximises, with a pixel std that is annealed."""

    pixel_std_initial: Annotated[float, short("-pi")] = 2.0
    """Pixel std at the start. A value below the final one makes the model use its latents early and keep using them."""
    pixel_std_final: Annotated[float, short("-pf")] = 0.7
    """Pixel std at the end of training, and in every validation and evaluation."""
    pixel_std_fraction: float = 0.1
    """Fraction of the training samples over which the pixel std is annealed."""

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Optimizer:
    """The optimizer and its schedule."""

    name: Annotated[Literal["adam", "muon"], called("optimizer")] = "adam"
    """Adam; or Muon for hidden kernels, with Adam for all other weights."""
    batch_size: Annotated[int, short("-b")] = 36
    """Tasks per step, summed over all devices."""
    learning_rate_initial: Annotated[float, short("-ri")] = 5e-4
    """Learning rate at the start."""
    learning_rate_warmup: int = 0
    """Training samples of linear warm-up from zero; without warm-up, a high rate causes posterior collapse."""
    learning_rate_final: Annotated[float, short("-rf")] = 5e-5
    """Learning rate at the end."""
    learning_rate_fraction: float = 0.8
    """Fraction of the training samples over which the learning rate goes linearly from initial to final."""

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Run:
    """Length of training, validation, seed and precision."""

    num_train_samples: Annotated[int, short("-t")] = 72_000_000
    """Length of training, in training samples."""
    num_val_samples: Annotated[int, short("-v")] = 128
    """Number of validation tasks, the same ones in every validation."""
    val_freq: Annotated[int, short("-f")] = 20_000
    """Training samples between validations; a checkpoint is saved after each."""
    seed: int = 0
    """Seed; together with the step it determines all randomness."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic: float32, or bfloat16 where it is safe."""
    init_digest: Suppress[str] = ""
    """Digest of the initial weights (`gqn.artifacts.checkpoint.digest`), set by training; "" for random weights."""

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Origin:
    """Paths of a run's data and initial weights. They may change between sessions, and are not compared."""

    data: str = ""
    """Train on the dataset's files, in the released format, instead of rendered scenes: their folder, or their address,
    https://, gs:// or any that fsspec knows. A run can be resumed with the same files in another place."""
    init: str = ""
    """Weights to start from: a run folder, weights that come with the package, a .safetensors or .ckpt file, or
    hf://owner/repo. The model's options are taken from them; flags and a TOML file override these, and the shapes must
    fit. A run that is resumed goes on from its own checkpoint; these weights are then identified by their content."""


def _paper_model() -> "Options":
    from gqn import models  # imported late, as it imports torch: commands that do not need it start faster

    return models.options("gqn")()


@dataclass(frozen=True)
class Config:
    """All options of a training run; the defaults are the paper's. BadInput if options do not fit each other."""

    data: Data = Data()
    model: "Options" = field(default_factory=_paper_model)
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    run: Run = Run()
    origin: Origin = field(default=Origin(), compare=False)

    def __post_init__(self):
        if self.data.dataset_name in DATASETS:
            own = {}
        else:  # a run knows its dataset when the files are elsewhere
            own = self.data.own or specification.beside(self.data.dataset_name, self.origin.data)
        if own != self.data.own:
            object.__setattr__(self, "data", dataclasses.replace(self.data, own=own))
        data = self.data
        specification.check(data.dataset_name, data.spec, data.query, data.max_objects, data.hold_out)
        views = data.num_views or data.spec.num_views
        known = data.num_views or not self.origin.data  # views per scene of files are known once they are opened
        if known and data.max_context_size + data.num_queries > views:
            raise BadInput(
                f"`max_context_size` {data.max_context_size} with `num_queries` {data.num_queries} does not fit "
                f"{data.dataset_name}, whose scenes have {views} views: at most {views - data.num_queries}"
            )

    def having(self, **options: Any) -> "Config":
        """A copy with some options changed, given by their flat names; BadInput if one is unknown or wrong."""
        return self.replaced(options, "options")

    def replaced(self, values: dict[str, Any], where: str) -> "Config":
        """As `having`; errors name `where` the values come from. A new `model` starts with its default options."""
        values = {name.replace("-", "_"): value for name, value in values.items()}
        config = self
        if "model" in values and (name := values.pop("model")) != self.flat()["model"]:
            from gqn import models

            if not isinstance(name, str):
                raise BadInput(f"{where}: model must be a str, not {name!r}")
            config = dataclasses.replace(self, model=models.options(name)())
        places = config._places()
        groups: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in places:
                known = ["model", *(name for name in places if name not in SET)]
                raise BadInput(f"{where}: {lookup.unknown('option', name, known)}")
            group, option = places[name]
            groups.setdefault(group, {})[option] = value
        parts = {group: changed(getattr(config, group), chosen, where) for group, chosen in groups.items()}
        return dataclasses.replace(config, **parts)

    def _places(self) -> dict[str, tuple[str, str]]:
        """Group and field of each option, by its flat name."""
        places: dict[str, tuple[str, str]] = {}
        for group in dataclasses.fields(self):
            for option in dataclasses.fields(getattr(self, group.name)):
                if (name := flat_name(option)) in places or name == "model":
                    raise BadInput(f"two options are called `{name}`: rename that of the model")
                places[name] = (group.name, option.name)
        return places

    @property
    def model_options(self) -> list[str]:
        """Flat names of the options that the weights depend on."""
        return ["model", "image_size", *(option.name for option in dataclasses.fields(self.model))]

    def flat(self) -> dict[str, Any]:
        """All options by their flat names (names without groups); `model` is the model's name."""
        from gqn import models

        values = {name: getattr(getattr(self, group), option) for name, (group, option) in self._places().items()}
        return {"model": models.name_of(self.model)} | values

    def on(self, dataset: str, data: str = "") -> "Config":
        """The same config for another dataset, which is in files if `data` says where.

        If the images had the released size, they have the released size of the new dataset. The number of context
        views is reduced if the new dataset has fewer.
        """
        here, there = self.data.spec, spec(dataset, data)
        size = there.image_size if self.data.image_size == here.image_size else self.data.image_size
        most = min(self.data.max_context_size, there.max_context)
        place = {"data": data} if data else {}
        return self.having(dataset_name=dataset, image_size=size, max_context_size=most, own={}, **place)

    def with_model_of(self, other: "Config") -> "Config":
        """The same config with the model and image size of another config, so that its weights fit."""
        data = dataclasses.replace(self.data, image_size=other.data.image_size)
        return dataclasses.replace(self, data=data, model=other.model)

    @property
    def stored(self) -> bool:
        """Whether the run is trained on files, not on rendered scenes."""
        return bool(self.origin.data or self.data.data_digest)

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return -(-self.run.num_train_samples // self.optimizer.batch_size)

    def scenes(self, split: str, place: "Place | None" = None) -> dict[str, Any]:
        """Keyword arguments of `gqn.data.sources.source` for a split; the default place if none is given."""
        place = place or Place()
        return {
            "name": self.data.dataset_name,
            "split": split,
            "image_size": self.data.image_size,
            "num_views": self.data.num_views,
            "num_scenes": self.data.num_train_scenes if split == "train" else 0,
            "query": self.data.query,
            "max_objects": self.data.max_objects,
            "hold_out": self.data.hold_out and split == "train",
            "data": self.origin.data or None,
            "skip_damaged": place.skip_damaged,
            "cache_gb": place.cache_gb,
        }


@dataclass(frozen=True)
class Place:
    """Where and on what hardware a run takes place. Only `skip_damaged` changes its result, apart from rounding."""

    logdir: Path = Path("log")
    """Parent folder of the run folders."""
    run_suffix: str = ""
    """Appended to the run folder's name."""
    resume: bool = True
    """Continue the run if its folder exists; otherwise start again and replace the folder."""
    gpu: bool = False
    """Train on GPU instead of CPU."""
    devices: int = 1
    """Number of GPUs, or of CPU processes."""
    num_nodes: int = 1
    """Number of machines, each with `devices` devices; start them by torchrun or SLURM (runs/slurm.sh)."""
    accumulate: int = 1
    """Gradient accumulation: parts that a device splits its share of a batch into, to need less memory."""
    compile: bool = False
    """Compile the step loop. Takes a minute: not worth it on two CPU cores (dev/LOG.md), not yet measured on GPU."""
    graph: bool = True
    """On one GPU, run each training step as a CUDA graph: the same arithmetic, started at once."""
    deterministic: bool = False
    """On GPU, use only algorithms that give the same bits each time, so that a resumed run does too. Slower."""
    workers: int | None = None
    """Processes per device that prepare batches ahead; 0: the training process does. None: 1, on GPU one per core."""
    skip_damaged: bool = False
    """Report damaged scenes of files and use the next scene instead; without this, the first one stops the run."""
    cache_gb: float = 20.0
    """GB of remote files to keep on disk, at most."""


def preset(name: str, **options: Any) -> Config:
    """A preset by name, with some options changed; BadInput, with the nearest name, if there is no such preset."""
    if name not in PRESETS:
        raise BadInput(lookup.unknown("preset", name, PRESETS))
    return Config().having(**(PRESETS[name] | options))


def toml(path: Path) -> dict[str, Any]:
    """What a TOML file says. BadInput if it cannot be read."""
    try:
        return tomllib.loads(reading.text(path))
    except FileNotFoundError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not valid TOML: {reading.reason(error)}") from error


def read_toml(path: Path, base: Config) -> Config:
    """`base` with the options of a TOML file, by their flat names."""
    values = toml(path)
    if found := [name for name in SET if name in values]:
        raise BadInput(f"{path}: {lookup.unknown('option', found[0], set(base.flat()) - set(SET))}")
    with reading.named(path):
        return base.replaced(values, str(path))


def as_json(config: Config) -> str:
    """The text of config.json, which is stored beside a run's weights; without `Origin`."""
    from gqn import models

    groups = {group.name: vars(getattr(config, group.name)) for group in dataclasses.fields(config) if group.compare}
    groups["model"] = {"name": models.name_of(config.model)} | groups["model"]
    return reading.as_json({"format": FORMAT, **groups})


def read(path: Path) -> Config:
    """Read a config.json of this format or an older one; BadInput if there is none, or it is damaged or too new."""
    try:
        with reading.named(path):
            return _read(reading.table(path), str(path))
    except FileNotFoundError as error:
        reason = f"cannot read {path.name} ({error.strerror}); {content.listing(path.parent)}"
        raise BadInput(f"{path.parent} holds no run: {reason}; RUN is a {RUN}") from error


def _read(values: dict[str, Any], where: str) -> Config:
    from gqn import models

    if (found := values.pop("format", 1)) not in (*MIGRATIONS, FORMAT):
        raise BadInput(f"{where} is of format {found}, this gqn reads up to {FORMAT}: use the gqn that wrote it")
    for older in range(found, FORMAT):
        values = MIGRATIONS[older](values)
    try:
        config = Config(model=models.options(values.get("model", {}).pop("name", "gqn"))())
    except BadInput as error:
        raise BadInput(f"{where}: {error} A model of your own must be on Python's path.") from error
    groups = {group.name: vars(getattr(config, group.name)) for group in dataclasses.fields(config)}
    unknown = [group for group in values if group not in groups]
    unknown += [name for group in groups for name in values.get(group, {}) if name not in groups[group]]
    if unknown:
        known = groups.keys() | config.flat().keys()
        raise BadInput(f"{where}: {lookup.unknown('option', unknown[0], sorted(known))}")
    parts = {group: changed(getattr(config, group), options, where) for group, options in values.items()}
    return dataclasses.replace(config, **parts)


PLACES = [f.name for f in dataclasses.fields(Origin)]
DIGESTS = ["data_digest", "init_digest"]
SET = [*DIGESTS, "own", "world"]  # options that training sets, not the user


def differences(ours: Config, theirs: Config, options: Iterable[str]) -> list[str]:
    """The differences of two configs in some options, each as text, '`name`: ours here, theirs there'."""
    here, there = ours.flat(), theirs.flat()
    pairs = {name: (here[name], there[name]) for name in options if name in here and name in there}
    return [f"`{name}`: {a!r} here, {b!r} there" for name, (a, b) in pairs.items() if a != b]

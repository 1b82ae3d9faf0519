"""What a run is: one flat, frozen record of options, its presets, and how it is read from TOML and kept beside weights.

Nothing here imports torch, so that the command line answers at once. An option's name is its flag (dashes or
underscores), its TOML key and, for the model's, its keyword argument. What a run is does not depend on where its data
and first weights lie (PLACES): it holds digests of what they are.
"""

import dataclasses
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from tyro.conf import Suppress, arg

from gqn import content, lookup, trained
from gqn.data.released import DATASETS
from gqn.errors import BadInput


def _short(*names: str) -> Any:
    return arg(aliases=names)


@dataclass(frozen=True)
class Config:
    """Options of a training run. A training sample is one task: a scene, its context views and its queries."""

    # data
    dataset_name: Annotated[str, _short("-d")] = "shepard_metzler_5_parts"
    """Dataset to train on, by its released name; its scenes are rendered on the fly."""
    data: str = field(default="", compare=False)
    """Folder with the dataset's files in the released format, to train on them instead of rendering; or their address,
    https://, gs:// or any that fsspec knows. A run goes on where they lie elsewhere, if they are the same."""
    data_digest: Suppress[str] = ""
    """What the files are (`gqn.data.fingerprint`); training finds it out. "" for rendered scenes."""
    num_views: int = 0
    """Views of a scene that tasks draw from; 0: as released, or as in the files."""
    num_train_scenes: int = 0
    """Training scenes that tasks are drawn from, the first ones; 0: all of the split's."""
    image_size: int = 64
    """Side of the images in pixels, a multiple of 4; released are 64, mazes 84, rooms with rotations 128."""
    max_context_size: Annotated[int, _short("-c")] = 12
    """Most context views of a task; each batch draws its number uniformly from 1 to this."""
    num_queries: int = 1
    """Query views of a task, all answered from one representation."""
    query: Literal["view", "overhead"] = "view"
    """What is asked for: another view of the scene, or (mazes) the one from straight above, its map."""
    max_objects: int = 0
    """Most objects of a scene, where scenes hold a varying number (rooms); 0: as released."""
    hold_out: bool = False
    """Train without the dataset's documented combinations of factors (rooms: pairs of shape and hue)."""
    # model
    init: str = field(default="", compare=False)
    """Weights to start from: a run folder, weights that come with the package, a .safetensors or .ckpt file, or
    hf://owner/repo. The model's options are then theirs; flags and a TOML file override them, and the shapes must fit.
    A run that has begun goes on from its own weights, and knows these by their content, wherever they lie."""
    init_digest: Suppress[str] = ""
    """What these weights are (`gqn.checkpoint.digest`); training finds it out. "" for random ones."""
    representation: Literal["pyramid", "tower", "pool", "identity_tower", "lattice", "separable_lattice"] = (
        "identity_tower"
    )
    """Network that encodes one context view."""
    representation_maps: int = 256
    """Channels of the representation, a multiple of 8."""
    aggregate: Literal["sum", "mean"] = "sum"
    """How the codes of the context views become one representation."""
    num_steps: Annotated[int, _short("-s")] = 12
    """Generation steps."""
    num_latent_maps: Annotated[int, _short("-l")] = 3
    """Channels of the latent of each step."""
    num_recurrent_maps: Annotated[int, _short("-u")] = 64
    """Channels of the recurrent states."""
    num_canvas_maps: int = 32
    """Channels of the canvas."""
    kernel_size: int = 5
    """Kernel of the recurrent convolutions, odd."""
    head_size: int = 1
    """Kernel of the prior and posterior heads, odd."""
    shared_cores: bool = True
    """Share the weights of the generation steps."""
    joint_downsampling: bool = True
    """Look at image and canvas through one activated convolution, as the founding program, not two linear ones."""
    activation: Literal["relu", "elu"] = "elu"
    """Nonlinearity of the representation network."""
    sigmoid_output: bool = True
    """Squash the image mean into (0, 1); the paper's is linear."""
    # objective
    pixel_std_initial: Annotated[float, _short("-pi")] = 2.0
    """Standard deviation of a pixel at the start; one below the final one makes latents pay at first, and they last."""
    pixel_std_final: Annotated[float, _short("-pf")] = 0.7
    """Standard deviation of a pixel in the end, and in every validation and evaluation."""
    pixel_std_fraction: float = 0.1
    """Share of the training samples over which it is annealed."""
    # optimization
    optimizer: Literal["adam", "muon"] = "adam"
    """Muon takes orthogonal steps in kernels between features; what else there is, it leaves to Adam."""
    batch_size: Annotated[int, _short("-b")] = 32
    """Tasks per step, over all devices."""
    learning_rate_initial: Annotated[float, _short("-ri")] = 5e-4
    """Learning rate at the start."""
    learning_rate_warmup: int = 0
    """Training samples over which it first rises from zero; without, a high one silences the latents for good."""
    learning_rate_final: Annotated[float, _short("-rf")] = 4e-4
    """Learning rate in the end."""
    learning_rate_fraction: float = 0.8
    """Share of the training samples over which it falls, linearly."""
    num_train_samples: Annotated[int, _short("-t")] = 5_000_000
    """Training samples."""
    # validation
    num_val_samples: Annotated[int, _short("-v")] = 128
    """Validation tasks, always the same ones."""
    val_freq: Annotated[int, _short("-f")] = 20_000
    """Training samples between two validations, each followed by a checkpoint."""
    # the run
    seed: int = 0
    """Decides, with the step, everything random."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic: float32, or bfloat16 where it is safe."""

    def __post_init__(self):
        if self.dataset_name not in DATASETS:
            raise BadInput(lookup.unknown("dataset", self.dataset_name, DATASETS))
        if self.image_size < 16 or self.image_size % 4:
            raise BadInput(f"image-size must be a multiple of 4, at least 16, not {self.image_size}")
        views = self.num_views or DATASETS[self.dataset_name].num_views
        known = self.num_views or not self.data  # what files hold is known when they are opened
        if known and self.max_context_size + self.num_queries > views:
            raise BadInput(
                f"max-context-size {self.max_context_size} with num-queries {self.num_queries} does not fit "
                f"{self.dataset_name}, whose scenes have {views} views: at most {views - self.num_queries}"
            )
        for name in ("kernel_size", "head_size"):
            if getattr(self, name) % 2 == 0:
                raise BadInput(f"{_flag(name)} must be odd, not {getattr(self, name)}")
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if type(value) in (int, float) and not (value > 0 or (value == 0 and option.default == 0)):
                raise BadInput(f"{_flag(option.name)} must be positive, not {value}")
            if get_origin(option.type) is Literal and value not in get_args(option.type):
                raise BadInput(lookup.unknown(_flag(option.name), str(value), get_args(option.type)))
        if self.representation_maps % 8:
            raise BadInput(f"representation-maps must be a multiple of 8, not {self.representation_maps}")
        if self.representation.endswith("lattice") and self.sigmoid_output:
            raise BadInput("the lattice starts from a picture, which is not squashed: give --no-sigmoid-output")
        if self.query == "overhead" and self.num_queries > 1:
            raise BadInput("a scene has one overhead view: leave --num-queries away")
        if self.query == "overhead" and DATASETS[self.dataset_name].family != "mazes":
            raise BadInput(f"{self.dataset_name} has no overhead view: leave --query away")
        if self.max_objects and DATASETS[self.dataset_name].family != "rooms":
            raise BadInput(f"{self.dataset_name} has no varying number of objects: leave --max-objects away")
        if self.hold_out and DATASETS[self.dataset_name].family != "rooms":
            raise BadInput(f"{self.dataset_name} has no documented hold-out: leave --hold-out away")

    def on(self, dataset: str) -> "Config":
        """The same for another dataset: the released size stays the released one, and context views that exist."""
        if dataset not in DATASETS:
            raise BadInput(lookup.unknown("dataset", dataset, DATASETS))
        here, there = DATASETS[self.dataset_name], DATASETS[dataset]
        size = there.image_size if self.image_size == here.image_size else self.image_size
        return dataclasses.replace(
            self,
            dataset_name=dataset,
            image_size=size,
            max_context_size=min(self.max_context_size, there.max_context),
        )

    def with_model_of(self, other: "Config") -> "Config":
        """The same with the model's options of another, whose weights then fit."""
        return dataclasses.replace(self, **{name: getattr(other, name) for name in MODEL_OPTIONS})

    @property
    def stored(self) -> bool:
        """Whether it is trained on files, wherever they lie, and not on rendered scenes."""
        return bool(self.data or self.data_digest)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return -(-self.num_train_samples // self.batch_size)

    def scenes(self, split: str, place: "Place | None" = None) -> dict[str, Any]:
        """The options of `gqn.data.sources.source` for a split."""
        place = place or Place()
        return {
            "name": self.dataset_name,
            "split": split,
            "image_size": self.image_size,
            "num_views": self.num_views,
            "num_scenes": self.num_train_scenes if split == "train" else 0,
            "query": self.query,
            "max_objects": self.max_objects,
            "hold_out": self.hold_out and split == "train",
            "data": self.data or None,
            "skip_damaged": place.skip_damaged,
            "cache_gb": place.cache_gb,
        }

    def model(self) -> dict[str, Any]:
        """The options that are the model's keyword arguments."""
        options = {name: getattr(self, name) for name in MODEL_OPTIONS}
        return options | {"region": DATASETS[self.dataset_name].region}

    def replaced(self, values: dict[str, Any], where: str) -> "Config":
        """A copy with some options replaced; `where` they come from is named if one is unknown or of a wrong type."""
        types = {f.name: f.type for f in dataclasses.fields(self)}
        clean = {}
        for key, value in values.items():
            name = key.replace("-", "_")
            if name not in types:
                raise BadInput(f"{where}: {lookup.unknown('option', key, types)}")
            have = getattr(self, name)
            if type(have) is float and type(value) is int:
                value = float(value)
            if type(value) is not type(have):
                raise BadInput(f"{where}: {key} must be a {type(have).__name__}, not {value!r}")
            clean[name] = value
        return dataclasses.replace(self, **clean)


@dataclass(frozen=True)
class Place:
    """Where and on what a run takes place: but for rounding, and for `skip_damaged`, no matter to its result."""

    logdir: Path = Path("log")
    """Folder that run folders go into."""
    run_suffix: str = ""
    """Appended to the run folder's name."""
    resume: bool = True
    """Continue the run if its folder exists; --no-resume starts over and replaces it."""
    gpu: bool = False
    """Train on GPU instead of CPU."""
    devices: int = 1
    """GPUs, or CPU processes."""
    num_nodes: int = 1
    """Machines with as many devices each, started by torchrun or SLURM (runs/slurm.sh)."""
    accumulate: int = 1
    """Parts in which a device works on its share of a batch, one after the other, to need less memory."""
    compile: bool = False
    """Compile the step loop: on two CPU cores not worth its minute (dev/LOG.md); not yet measured on a GPU."""
    workers: int = 1
    """Processes that make batches ahead of need, per device; 0 makes them in the training process."""
    skip_damaged: bool = False
    """Name, count and pass over damaged scenes of files, and take the next; without, the first one stops the run."""
    cache_gb: float = 20.0
    """Most GB of remote files to keep on disk."""


PLACES = [f.name for f in dataclasses.fields(Config) if not f.compare]
DIGESTS = ["data_digest", "init_digest"]
OPTIONS = [f.name for f in dataclasses.fields(Config) if f.name not in PLACES + DIGESTS]
MODEL_OPTIONS = [
    "image_size",
    "representation",
    "representation_maps",
    "aggregate",
    "num_steps",
    "num_latent_maps",
    "num_recurrent_maps",
    "num_canvas_maps",
    "kernel_size",
    "head_size",
    "shared_cores",
    "joint_downsampling",
    "activation",
    "sigmoid_output",
]

FAST = Config(
    image_size=32,
    max_context_size=4,
    representation="separable_lattice",
    representation_maps=128,
    aggregate="mean",
    num_steps=2,
    num_latent_maps=1,
    num_recurrent_maps=64,
    num_canvas_maps=32,
    kernel_size=3,
    head_size=3,
    joint_downsampling=False,
    sigmoid_output=False,
    pixel_std_initial=0.1,
    pixel_std_final=0.25,
    pixel_std_fraction=0.5,
    optimizer="muon",
    batch_size=8,
    learning_rate_initial=4e-3,
    learning_rate_warmup=1_600,
    learning_rate_final=2e-5,
    learning_rate_fraction=1.0,
    num_train_samples=64_000,
    val_freq=8_000,
)

PRESETS = {
    # the founding program's defaults
    "founding": Config(),
    # the paper's model and schedule (supplement): 2 M steps of 36, 167 M parameters in unshared cores
    "paper": Config(
        max_context_size=14,
        representation="tower",
        num_recurrent_maps=128,
        num_canvas_maps=128,
        head_size=5,
        shared_cores=False,
        joint_downsampling=False,
        activation="relu",
        sigmoid_output=False,
        batch_size=36,
        learning_rate_final=5e-5,
        num_train_samples=72_000_000,
    ),
    # for CPUs: what won the race of recipes in dev/LOG.md, with a representation that is told the geometry; its pixel
    # stds are for 32 px, and at 64 px 0.5 in the end is worth as much per image
    "fast": FAST,
    # the same in six minutes of two busy cores, for shepard_metzler_5_parts: MSE 0.0018 with 3 context views
    "demo": dataclasses.replace(FAST, num_train_samples=12_000, val_freq=2_000),
}


def preset(name: str) -> Config:
    """A preset by name; raises BadInput with the nearest name if there is none."""
    if name not in PRESETS:
        raise BadInput(lookup.unknown("preset", name, PRESETS))
    return PRESETS[name]


def read_toml(path: Path, base: Config) -> Config:
    """`base` with the options of a TOML file, whose keys are the option names."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}") from error
    if found := [name for name in DIGESTS if name in values]:
        raise BadInput(f"{path}: {lookup.unknown('option', found[0], OPTIONS + PLACES)}")
    return base.replaced(values, str(path))


def read(path: Path) -> Config:
    """The config that lies beside a run's weights."""
    try:
        return Config().replaced(json.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        reason = f"cannot read {path.name} ({error.strerror}); {content.listing(path.parent)}"
        raise BadInput(f"{path.parent} holds no run: {reason}; RUN is a {trained.RUN}") from error
    except (ValueError, AttributeError) as error:  # not JSON, not text, not a table
        raise BadInput(f"{path} is damaged: {error}") from error


def as_json(config: Config) -> str:
    """The config as it lies beside a run's weights: what the run is, and no places."""
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in PLACES}
    return json.dumps(values, indent=2) + "\n"


def differences(ours: Config, theirs: Config, options: Iterable[str] = OPTIONS) -> list[str]:
    """The options, of some, in which two configs differ, each as 'name: ours here, theirs there'."""
    pairs = {name: (getattr(ours, name), getattr(theirs, name)) for name in options}
    return [f"{_flag(name)}: {a!r} here, {b!r} there" for name, (a, b) in pairs.items() if a != b]


def _flag(name: str) -> str:
    return name.replace("_", "-")

"""How a trained model is named: by its run folder, the name of shipped weights, a file, or an address on a hub.

All four lead to a file of weights with config.json beside it, which is what `gqn.checkpoint.load` opens: in a folder
that is model.safetensors, and a run's checkpoints, as best.ckpt, are files of weights too. Shipped weights are the
folders of `weights/`, each as `gqn export` writes it; on the hub such a folder is a repository.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from gqn.errors import BadInput

RUN = "run folder, shipped weights by name, a .safetensors or .ckpt file, or hf://owner/repo"  # what commands take
SHIPPED = Path(__file__).parent / "weights"
HUB = "hf://"
WEIGHTS, CONFIG, TRAINING = "model.safetensors", "config.json", "training.json"
CHECKPOINT = ".ckpt"  # suffix of a training state
FILES = [WEIGHTS, CONFIG, TRAINING, "eval.json", "README.md"]  # of an exported model
LOG = Path("log")  # where what is made of a model goes that has no folder of its own


def shipped() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(folder.name for folder in SHIPPED.glob("*") if folder.is_dir())


def find(run: str | Path) -> Path:
    """A model's weights file, which need not be there yet while it trains; the rest lies beside it.

    What exists here is taken first, then a shipped name. What is on the hub is downloaded once and then cached.
    BadInput if there is no such model, or the hub does not have it.
    """
    text, path = str(run), Path(run)
    if text.startswith(HUB):
        with hub(text) as package:
            return Path(package.snapshot_download(text.removeprefix(HUB), allow_patterns=FILES)) / WEIGHTS
    try:
        if path.is_dir():
            return path / WEIGHTS
        if path.exists():
            return path
    except OSError as error:  # not for us to read, or no name that a file can have
        raise BadInput(f"cannot read {text}: {error.strerror}") from error
    if text in shipped():
        return SHIPPED / text / WEIGHTS
    others = f", nor are weights of this name shipped ({', '.join(shipped())} are)" if shipped() else ""
    raise BadInput(f"there is no run folder {text}{others}")


def name(run: str | Path) -> str:
    """What a model is called: as its folder, or its repository; other weights than the final ones FOLDER-FILE."""
    if str(run).startswith(HUB):
        return str(run).rpartition("/")[2]
    path = find(run)
    folder = path.parent.resolve().name
    return folder if path.name == WEIGHTS else f"{folder}-{path.stem}"


def own(run: str | Path) -> Path:
    """The folder of what belongs to a model: that of its final weights, or one beside other weights, named as they."""
    path = find(run)
    return path.parent if path.name == WEIGHTS else path.with_suffix("")


def beside(run: str | Path) -> Path:
    """The folder for what is made of a model: `own`; log/NAME for a shipped one, log/OWNER--REPO for one on the hub.

    It is made if need be. BadInput if there is no such model here, or the folder cannot be made.
    """
    if str(run).startswith(HUB):
        folder = LOG / str(run).removeprefix(HUB).replace("/", "--")
    else:
        folder = own(run)
        if folder.resolve().parent == SHIPPED.resolve():
            folder = LOG / name(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror}") from error
    return folder


@contextmanager
def hub(address: str) -> Iterator[ModuleType]:
    """The package huggingface_hub; whatever goes wrong with it is a BadInput that names `address`."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise BadInput("the hub needs the extra `hub`: pip install 'gqn[hub]'") from error
    try:
        yield huggingface_hub
    except Exception as error:  # of the hub, of its network library, of the disk
        reason = str(error) or type(error).__name__
        raise BadInput(f"{address}: {textwrap.shorten(reason, 200)}") from error

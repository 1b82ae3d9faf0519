"""How a trained model is named: by its run folder, the name of shipped weights, a file, or an address on the hub.

Each of the four leads to a weights file with config.json beside it, which `gqn.artifacts.checkpoint.load` opens. In a
folder the weights file is model.safetensors; a checkpoint of a run, such as best.ckpt, may be named as a file. Shipped
weights are the folders in `weights/`, each as `gqn export` writes it; on the hub such a folder is a repository.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from gqn.errors import BadInput

SHIPPED = Path(__file__).parent / "weights"
HUB = "hf://"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
TRAINING, EVALUATION = "training.json", "eval.json"
CHECKPOINT = ".ckpt"  # suffix of a checkpoint
FILES = [WEIGHTS, CONFIG, TRAINING, EVALUATION, "README.md"]  # of an exported model
LOG = Path("log")  # for results of models that have no folder of their own, shipped or on the hub


def shipped() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(folder.name for folder in SHIPPED.glob("*") if folder.is_dir())


def find(run: str | Path) -> Path:
    """The weights file of a model, beside which its other files lie; while a run trains it may not exist yet.

    A local folder or file takes precedence over a shipped name. A model on the hub is downloaded once and then cached.
    Raises BadInput if there is no such model.
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
    except OSError as error:  # no permission, or not a valid file name
        raise BadInput(f"cannot read {text}: {error.strerror}") from error
    if text in shipped():
        return SHIPPED / text / WEIGHTS
    others = f", nor are weights of this name shipped ({', '.join(shipped())} are)" if shipped() else ""
    raise BadInput(f"there is no run folder {text}{others}")


def name(run: str | Path) -> str:
    """The display name of a model: its folder or repository; FOLDER-FILE for weights other than model.safetensors."""
    if str(run).startswith(HUB):
        return str(run).rpartition("/")[2]
    path = find(run)
    folder = path.parent.resolve().name
    return folder if path.name == WEIGHTS else f"{folder}-{path.stem}"


def own(run: str | Path) -> Path:
    """The folder for a model's results: that of model.safetensors; for other weights, one beside them, named alike."""
    path = find(run)
    return path.parent if path.name == WEIGHTS else path.with_suffix("")


def beside(run: str | Path) -> Path:
    """The folder to write a model's results to, created if it does not exist.

    It is `own`, but log/NAME for shipped weights and log/OWNER--REPO for a model on the hub. Raises BadInput if there
    is no such model on this machine, or the folder cannot be created.
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
    """Gives the package huggingface_hub; every error inside becomes a BadInput that names `address`."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise BadInput("the hub needs the extra hub: pip install 'gqn[hub]'") from error
    try:
        yield huggingface_hub
    except Exception as error:  # from the hub, its network library or the disk
        reason = str(error) or type(error).__name__
        raise BadInput(f"{address}: {textwrap.shorten(reason, 200)}") from error

"""Exporting a model: a folder of weights, config and model card, which can be uploaded to the hub."""

from pathlib import Path
from typing import cast

import torch
from torch import nn

from gqn import config as configs
from gqn.artifacts import checkpoint, trained
from gqn.artifacts.provenance import named, public
from gqn.errors import BadInput
from gqn.runtime import files, reading
from gqn.sharing import card

CARD = "README.md"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def export(run: str | Path, out: Path, dtype: str = "f32") -> Path:
    """Export a finished model to the folder `out`: model.safetensors, config.json and the card, README.md.

    Where they are known, training.json and eval.json are added; the card is made from these. Paths of `data` on this
    machine are left out. BadInput if there is no such model, if its evaluation is of other weights, or if `out` is the
    model's own folder, holds a run or an unrelated README.md, is held by another process, or cannot be written.
    """
    weights = trained.find(run)
    own = trained.own(run)
    if not weights.exists():
        configs.read(own / trained.CONFIG)  # raises BadInput if it is no run
        raise BadInput(f"{run} has no final weights yet: the same gqn train goes on with it")
    if out.resolve() in (own.resolve(), weights.parent.resolve()):
        raise BadInput(f"{out} is the model's own folder: give another `out`")
    config, model, took = checkpoint.opened(run)
    evaluation = checkpoint.known(own / trained.EVALUATION)
    if evaluation and evaluation.get("training", {}) != took:
        raise BadInput(f"{own / trained.EVALUATION} is not of the weights beside it: gqn eval {run} makes it again")
    if evaluation.get("data"):
        evaluation |= {"data": public(evaluation["data"])}
    if "evaluation" in evaluation:
        evaluation["evaluation"] |= {"run": named(str(evaluation["evaluation"].get("run", "")))}
    network = cast(nn.Module, model)
    parameters = sum(p.numel() for p in network.parameters())
    try:
        text = card.card(out.resolve().name, config, parameters, dtype, took, evaluation)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{trained.TRAINING} or {trained.EVALUATION} in {own} is of another version, or damaged ({error!r}): "
            f"gqn eval {run} makes the latter again"
        ) from error
    with files.alone(out, "give another `out`"):
        try:
            out.mkdir(parents=True, exist_ok=True)
            held = [name for name in trained.FILES if (out / name).exists()]
            if held and (
                CARD not in held or card.TAG not in (out / CARD).read_text(encoding="utf-8", errors="replace")
            ):
                raise BadInput(f"{out} holds {held[-1]}, which is not of an exported model: give another `out`")
            (out / trained.WEIGHTS).unlink(missing_ok=True)  # of an earlier export; new weights are written last
        except OSError as error:
            raise BadInput(f"cannot write {out}: {error.strerror}") from error

        def keep(name: str, text: str) -> None:
            checkpoint.write(
                out / name, lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace")
            )

        keep(CARD, text)
        keep(trained.CONFIG, configs.as_json(config))
        for name, known in ((trained.TRAINING, took), (trained.EVALUATION, evaluation)):
            if known:
                keep(name, reading.as_json(known))
            else:
                (out / name).unlink(missing_ok=True)  # of an earlier export
        checkpoint.save_weights(out, network, DTYPES[dtype])
    return out


def upload(run: str | Path, out: Path, dtype: str, repository: str) -> str:
    """Upload a model to the hub; returns its address. It is exported to `out` first if it is not an exported one.

    An exported model is uploaded as it is, including edits of its card. BadInput if the hub refuses it, or if bf16 is
    asked for and the model is exported already.
    """
    own = trained.own(run)
    exported = (own / CARD).exists()
    if exported and dtype != "f32":
        raise BadInput(f"{run} is exported already and goes to the hub as it is: leave `dtype` away")
    folder = own if exported else export(run, out, dtype)
    address = trained.HUB + repository
    with trained.hub(address) as package:
        api = package.HfApi()
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=trained.FILES,
            commit_message=f"Upload {folder.resolve().name}",
        )
    return address

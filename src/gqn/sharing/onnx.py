"""A model's sampler as an ONNX file, which needs neither PyTorch nor this package.

inputs    context_frames (M, 3, S, S) in [0, 1]; context_poses (M, 5) and query_poses (Q, 5): x, y, z, yaw, pitch, in
          the conventions of `gqn.views`, of cameras with the dataset's field of view; noise, as `Model.noise` draws it
          for one sample of one scene: (L, Q, latent maps, S/4, S/4) for a GQN
output    images (Q, 3, S, S): samples from the prior, the same for the same noise

It answers one scene at a time, with any numbers M of context views and Q of queries.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gqn.artifacts import checkpoint
from gqn.data.sources import source
from gqn.errors import BadInput
from gqn.figures import heldout
from gqn.models import Model
from gqn.views import Task, Views

NAME = "sampler.onnx"
INPUTS, OUTPUT = ("context_frames", "context_poses", "query_poses", "noise"), "images"
OPSET = 20  # the first with a GridSample in three dimensions
TOLERANCE = 1e-4  # of a value of an image, against PyTorch's
CHECKED = ((3, 2), (1, 1), (5, 4))  # numbers of context views and queries to check with; the first are exported with
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]  # in the order of INPUTS


class Sampler(nn.Module):
    """`Model.sample` of one scene as a function of tensors alone; context and queries are filmed as those of a task."""

    def __init__(self, model: Model, task: Task):
        super().__init__()
        self.model: Any = model
        self.context, self.query = task.context.cameras, task.query.cameras

    def forward(self, context_frames: Tensor, context_poses: Tensor, query_poses: Tensor, noise: Tensor) -> Tensor:
        """Inputs and output as in the module's docstring."""
        context = Views(context_frames[None], replace(self.context, pose=context_poses[None]))
        queries = replace(self.query, pose=query_poses[None])
        return self.model.sample(self.model.represent(context), queries, noise=noise[None, None])[0, 0]


def export(run: str | Path, out: Path) -> Path:
    """Write the sampler of a model as a file in the folder `out`, created if need be; returns its path.

    onnxruntime first runs the file on rendered scenes: BadInput, and no file, if a value of an image is more than 1e-4
    away from PyTorch's. BadInput also without the extra onnx, or if the file cannot be written.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput("ONNX needs the extra onnx: pip install 'gqn[onnx]'") from error
    config, model = checkpoint.load(run)
    path = out / NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror}") from error
    data = config.origin.data if config.data.own else None
    scenes = source(**config.scenes("test") | {"data": data, "num_views": 0})
    tasks = [heldout.tasks(scenes, 0, 1, context, queries) for context, queries in CHECKED]
    sampler = Sampler(model, tasks[0])
    cases = [inputs(model, task, queries) for task, (_, queries) in zip(tasks, CHECKED, strict=True)]
    program = exported(sampler, cases[0])

    def write(part: Path) -> None:
        program.save(part)
        check(sampler, part, cases)

    checkpoint.write(path, write)
    return path


def inputs(model: Model, task: Task, queries: int) -> Inputs:
    """The sampler's inputs for a task (1,); it repeats query cameras if there are fewer than `queries` (overhead)."""
    cameras = task.query.cameras[:, [i % task.query.cameras.pose.shape[1] for i in range(queries)]]
    noise = model.noise(1, queries, torch.Generator().manual_seed(0))[0, 0]
    return task.context.frames[0], task.context.cameras.pose[0], cameras.pose[0], noise


def exported(sampler: Sampler, example: Inputs) -> Any:
    """The ONNX program, for any numbers of context views and queries."""
    views, queries = torch.export.Dim("context_views"), torch.export.Dim("queries")
    with _silence():
        return torch.onnx.export(
            sampler.eval(),
            example,
            input_names=INPUTS,
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: views}, {0: views}, {0: queries}, dict.fromkeys(per_query(sampler.model), queries)),
            verbose=False,
        )


def per_query(model: Model) -> list[int]:
    """The axes of one scene's noise (of one sample) whose length is the number of queries."""
    two, three = (model.noise(1, queries)[0, 0].shape for queries in (2, 3))
    return [axis for axis, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]


@contextmanager
def _silence() -> Iterator[None]:
    """Hide the exporter's warnings, which are about packages that are not needed and about its own internals."""
    with warnings.catch_warnings(action="ignore"):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def check(sampler: Sampler, path: Path, cases: list[Inputs]) -> None:
    """Raise BadInput if the images that onnxruntime draws with a file differ from PyTorch's by more than TOLERANCE."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for case in cases:
        with torch.no_grad():
            expected = sampler(*case)
        [images] = session.run([OUTPUT], {name: x.numpy() for name, x in zip(INPUTS, case, strict=True)})
        if not (far := (torch.from_numpy(images) - expected).abs().max().item()) <= TOLERANCE:
            raise BadInput(
                f"the exported sampler was not kept: of {len(case[0])} context views it draws images that are "
                f"{far:.1e} away from PyTorch's, more than {TOLERANCE:.0e}"
            )

"""Work on several devices with one process (rank) for each."""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from gqn.errors import BadInput
from gqn.runtime import stopping
from gqn.runtime.console import complain

LOST = ("gloo", "NCCL", "DistNetworkError", "DistStoreError")  # in errors that mean that another rank has ended
_watch: stopping.Watch | None = None  # over the ranks that this process started


def check(gpu: bool, devices: int) -> None:
    """Raise BadInput if these devices are not available."""
    if devices < 1:
        raise BadInput("`devices` must be at least 1")
    if gpu and torch.cuda.device_count() < devices:
        raise BadInput(
            f"`gpu` asks for {devices} GPU(s) and {torch.cuda.device_count()} can be used here: "
            "leave `gpu` away, or give fewer `devices`"
        )


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16(gpu: bool) -> bool:
    """Whether the GPU, or else the CPU, supports bfloat16 natively: emulation is up to a hundred times slower."""
    if gpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    onednn = getattr(torch.ops, "mkldnn", None)
    return bool(getattr(onednn, "_is_mkldnn_bf16_supported", lambda: False)())


@contextmanager
def searching() -> Iterator[None]:
    """Inside, cuDNN tries its algorithms on each new shape of a convolution, and keeps the fastest.

    This pays where few shapes come many times, as in training. Not with `repeatable`: a search does not always find the
    same.
    """
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, not torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        cudnn.benchmark = before


def repeatable() -> None:
    """Use only algorithms that give the same bits each time; PyTorch warns of those operations that have none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as cuBLAS needs
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only finds errors


def launch(gpu: bool, devices: int, plugins: list[Any] | None = None, num_nodes: int = 1) -> Fabric:
    """Launch Fabric on `devices` GPUs or CPU processes of each machine. BadInput if they are not available.

    On one machine the first rank starts the others, which run the same command. On several machines torchrun or SLURM
    starts all ranks (`runs/slurm.sh`).
    """
    check(gpu, devices)
    fabric = Fabric(accelerator="cuda" if gpu else "cpu", devices=devices, num_nodes=num_nodes, plugins=plugins)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # DDP warns about channels-last gradients of 1 x 1 kernels in every process; they have the same memory layout.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    stopping.end_with_first()
    if fabric.world_size == 1:
        fabric.launch()
    elif stopping.started_by_first():
        with together(fabric):
            fabric.launch()
    else:
        _launch(fabric)
    return fabric


def _launch(fabric: Fabric) -> None:
    """Start the other ranks, unless torchrun or SLURM did, and watch them until `together` is left."""
    global _watch
    _watch = stopping.Watch()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else the others print how they lost this one
    try:
        with stopping.held():
            fabric.launch()
        started = getattr(fabric.strategy.launcher, "procs", [])
        _watch.processes = started[:]
        started.clear()  # else Fabric kills this process when one of them fails, and leaves its workers behind
    except BaseException:
        _watch.leave()
        raise


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """A rank that fails in the block exits at once with 2, which ends the other ranks: none waits for it forever."""
    try:
        yield
    except Exception as error:
        if fabric.world_size == 1:
            raise
        if isinstance(error, (BadInput, OSError)):
            complain(error)
        elif isinstance(error, RuntimeError) and any(sign in f"{error!r}" for sign in LOST):
            if not stopping.started_by_first():  # otherwise the first rank prints the reason
                complain(stopping.other_ended(fabric.global_rank))
        else:
            traceback.print_exc()
        sys.stderr.flush()
        stopping.end_workers()
        os._exit(2)
    finally:
        if _watch:
            _watch.leave()


def agreed(fabric: Fabric, value: int) -> int:
    """The largest of the ranks' values, so that all use the same."""
    if fabric.world_size == 1:
        return value
    return int(cast(Tensor, fabric.all_reduce(torch.tensor(value, device=fabric.device), reduce_op="max")))


def total(fabric: Fabric, count: int) -> int:
    """The sum of the ranks' counts."""
    return int(cast(Tensor, fabric.all_reduce(torch.tensor(count, device=fabric.device), reduce_op="sum")))


def over_ranks(fabric: Fabric, values: list[Tensor]) -> Tensor:
    """The means over ranks of n values, (n, ...)."""
    return cast(Tensor, fabric.all_reduce(torch.stack(values), reduce_op="mean"))

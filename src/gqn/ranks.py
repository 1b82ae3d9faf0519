"""Work on several devices, one process (rank) each."""

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

from gqn import stopping
from gqn.errors import BadInput

_watch: stopping.Watch | None = None  # of the ranks that this process started


def check(gpu: bool, devices: int) -> None:
    """Raise BadInput if there are no such devices."""
    if devices < 1:
        raise BadInput("devices must be at least 1")
    if gpu and torch.cuda.device_count() < devices:
        raise BadInput(
            f"--gpu asks for {devices} GPU(s) and {torch.cuda.device_count()} can be used here: "
            "leave --gpu away, or give fewer --devices"
        )


def has_bfloat16(gpu: bool) -> bool:
    """Whether the GPU, or the CPU, computes in bfloat16: to imitate it takes up to a hundred times as long."""
    if gpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    onednn = getattr(torch.ops, "mkldnn", None)
    return bool(getattr(onednn, "_is_mkldnn_bf16_supported", lambda: False)())


def launch(gpu: bool, devices: int, plugins: list[Any] | None = None, num_nodes: int = 1) -> Fabric:
    """The engine on GPUs or CPU processes of each machine.

    On one machine the first rank starts the others, which run the same command; on several, and under torchrun or
    SLURM, these start all (`runs/slurm.sh`).
    """
    check(gpu, devices)
    fabric = Fabric(accelerator="cuda" if gpu else "cpu", devices=devices, num_nodes=num_nodes, plugins=plugins)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # A channels-last gradient of a 1 x 1 kernel is the same memory; DDP says so for every process.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    stopping.end_with_first()
    if fabric.world_size == 1 or stopping.started_by_first():
        fabric.launch()
    else:
        _launch(fabric)
    return fabric


def _launch(fabric: Fabric) -> None:
    """Start the other ranks, if none else does, and look after them until `together` is over."""
    global _watch
    _watch = stopping.Watch()
    try:
        with stopping.held():
            fabric.launch()
        started = getattr(fabric.strategy.launcher, "procs", [])
        _watch.processes = started[:]
        started.clear()  # the engine would kill this process when one of them fails, and its workers would be left
    except BaseException:
        _watch.leave()
        raise


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """A rank that fails ends at once, which ends the others: none is left waiting for an answer that never comes."""
    try:
        yield
    except Exception as error:
        if fabric.world_size == 1:
            raise
        if isinstance(error, (BadInput, OSError)):
            print(f"gqn: {error}", file=sys.stderr)
        elif isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error)):
            if not stopping.started_by_first():  # whose end says enough
                print(f"gqn: {stopping.other_ended(fabric.global_rank)}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        stopping.end_workers()
        os._exit(2)
    finally:
        if _watch:
            _watch.leave()


def agreed(fabric: Fabric, value: int) -> int:
    """The largest of the ranks' values."""
    if fabric.world_size == 1:
        return value
    return int(cast(Tensor, fabric.all_reduce(torch.tensor(value, device=fabric.device), reduce_op="max")))


def total(fabric: Fabric, count: int) -> int:
    """The sum of the ranks' counts."""
    return int(cast(Tensor, fabric.all_reduce(torch.tensor(count, device=fabric.device), reduce_op="sum")))


def over_ranks(fabric: Fabric, values: list[Tensor]) -> Any:
    """The mean of what was recorded since the last time, over ranks too: a float, or a list of them."""
    return cast(Tensor, fabric.all_reduce(torch.stack(values).mean(0), reduce_op="mean")).tolist()

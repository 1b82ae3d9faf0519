"""Errors and warnings that the package raises for its users, and detection of out-of-memory errors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

RUN = "run folder, shipped weights by name, a .safetensors or .ckpt file, or hf://owner/repo"
"""What the argument RUN may be, for messages and help; `gqn.artifacts.trained` reads it."""


class BadInput(Exception):
    """An input or file of the user cannot be used. The message is one line that names it and says what to do.

    The command line prints the message alone and exits with 2.
    """


class Absent(BadInput):
    """Files that the user named do not exist."""


class Unfamiliar(UserWarning):
    """The cameras given to a model are unlike those it was trained on; its images will be worse."""


LACK = (  # in messages of RuntimeErrors that mean out of memory
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Cannot allocate memory",
    "ALLOC_FAILED",  # cuBLAS, cuDNN
)
WORKER = ("DataLoader worker (pid", "unable to write to file </torch", "unable to open shared memory object")


@contextmanager
def within_memory(way_out: str) -> Iterator[None]:
    """Turn an out-of-memory error inside the block into BadInput; `way_out` tells the user what to do."""
    try:
        yield
    except Exception as error:
        if not short_of_memory(error):
            raise
        raise BadInput(f"there is too little memory: {way_out}") from error


def short_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: main memory, GPU memory, or memory shared with worker processes."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in (*LACK, *WORKER))
    )

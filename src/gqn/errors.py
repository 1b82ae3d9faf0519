"""What went wrong, told to a person."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class BadInput(Exception):
    """Something the user gave or has cannot be used; the message is one line that names it and the way out.

    The command line prints the message alone and exits with 2.
    """


class Absent(BadInput):
    """Files that the user names are not there."""


class Unfamiliar(UserWarning):
    """A model is asked about cameras that are not like those it was trained on, so that its answers will be worse."""


LACK = (  # how engines say that memory is short, besides MemoryError
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Cannot allocate memory",
    "ALLOC_FAILED",  # cuBLAS, cuDNN
)
WORKER = ("DataLoader worker", "unable to write to file </torch", "unable to open shared memory object")


@contextmanager
def within_memory(way_out: str) -> Iterator[None]:
    """Too little memory for what is done inside is a BadInput with the way out."""
    try:
        yield
    except Exception as error:
        if not short_of_memory(error):
            raise
        raise BadInput(f"there is too little memory: {way_out}") from error


def short_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short: of the machine, of a GPU, or shared with worker processes."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in (*LACK, *WORKER))
    )

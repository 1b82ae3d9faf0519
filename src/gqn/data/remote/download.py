"""`gqn data download`: fetch files of a released dataset from its public bucket or a mirror."""

import shutil
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from gqn.data.remote import fetch
from gqn.data.remote.cache import find
from gqn.data.specification import BUCKET, spec
from gqn.errors import BadInput
from gqn.runtime.console import Reporter, say


def download(
    name: str,
    out: Path,
    files: int,
    splits: tuple[str, ...] = ("train", "test"),
    address: str = BUCKET,
    connections: int = 8,
) -> Path:
    """Fetch the first `files` files of each split of a dataset to `out`/`name`/{train,test}; returns `out`/`name`.

    Existing files are kept and partly fetched files are completed, so the same call continues after an interruption.
    Raises BadInput if a file cannot be fetched or written, or, before anything is fetched, if the files do not fit on
    the disk.
    """
    spec(name)
    folder = out / name
    wanted = {
        folder / split / there.rsplit("/", 1)[1]: there
        for split in splits
        for there in find(address, name, split)[:files]
    }
    todo = {path: there for path, there in wanted.items() if not path.exists()}
    here = dict.fromkeys(todo, 0)  # bytes received of each file
    stop = threading.Event()
    with ThreadPoolExecutor(connections) as pool:
        sizes = dict(zip(todo, pool.map(fetch.size, todo.values()), strict=True))
        total = sum(size or 0 for size in sizes.values())
        say(
            f"{name}: {len(wanted)} files to {folder}"
            + (f", {len(wanted) - len(todo)} are there" if len(todo) < len(wanted) else "")
            + f"; {total / 1e6:.1f} MB to fetch from {address}"
        )
        try:
            for path in wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
            left = total - sum(part.stat().st_size for part in folder.rglob(".*.part"))
            if (free := shutil.disk_usage(folder).free) < left:
                raise BadInput(
                    f"{folder} has room for {free / 1e6:.1f} MB, and {left / 1e6:.1f} MB are to come: "
                    "ask for fewer `files`, or give another `out`"
                )
        except OSError as error:
            raise BadInput(f"cannot write {folder}: {error.strerror}") from error

        def one(path: Path) -> None:
            fetch.fetch(todo[path], path, lambda done: here.__setitem__(path, done), stop)

        with Reporter("download", max(1, round(total / 1e6)), 0, "MB") as report:
            running = {pool.submit(one, path) for path in todo}
            try:
                while running:
                    done, running = wait(running, timeout=0.25, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    report.update(
                        round(sum(here.values()) / 1e6) if running else report.total,
                        f"{len(todo) - len(running)}/{len(todo)} files",
                    )
            finally:  # after an error or Ctrl-C, partly fetched files are kept
                stop.set()
                pool.shutdown(cancel_futures=True)
    return folder

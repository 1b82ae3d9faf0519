"""Batches of tasks: how fast a core makes them, and what they cost the process that trains. `gqn bench tasks [flags]`.

For every dataset tasks per second of one core, as a worker makes them, the paper's numbers of context views equally
often: `rendered` on the fly (scene, rendering, JPEG coding), or read from `files`, which one core writes at so many
`scenes_per_second`. Beside them the `cores` that training needs at `--rate` samples per second. `main_ms_per_batch`
is what the training process itself spends on a batch that one worker makes, to set beside the time of a step.

All times are processor time, so that other work on the machine does not count. Files lie in the page cache.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import torch

from gqn.data.files.export import export
from gqn.data.sources import source
from gqn.data.specification import DATASETS
from gqn.data.tasks import Sampler, batches

MAIN = "shepard_metzler_5_parts"  # the dataset whose batches the training process gets


def seconds(work):
    """Processor time of this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def measure(name, folder, given):
    """The figures of a dataset."""
    row = DATASETS[name]
    rendered = source(name, "train", given.size)
    most = min(row.max_context, rendered.num_views - 1)
    scenes = max(2, given.images // rendered.num_views)

    def make(scenes, size, steps=1):
        for context in range(1, most + 1):
            for _ in batches(scenes, Sampler(scenes.order, scenes.num_views, size, context, context), range(steps)):
                pass

    def speed(scenes):
        make(scenes, 1)  # compiles
        tasks = most * given.batch * given.steps
        rate = tasks / seconds(lambda: make(scenes, given.batch, given.steps))
        return {"tasks_per_second": round(rate), "cores": round(given.rate / rate, 1)}

    figures = {"images_per_task": (1 + most) / 2 + 1, "rendered": speed(rendered)}
    with redirect_stdout(sys.stderr):
        write = seconds(lambda: export(name, folder, scenes, 1, ("train",), image_size=given.size))
    stored = source(name, "train", data=folder)
    return figures | {"files": speed(stored), "scenes_per_second": round(scenes / write, 1)}


def main_share(scenes, given):
    """Milliseconds of this process, with all its threads, for a batch that its worker makes."""
    most = min(DATASETS[MAIN].max_context, scenes.num_views - 1)
    tasks = batches(scenes, Sampler(scenes.order, scenes.num_views, given.batch, 1, most), range(given.main + 5), 1)
    for _ in range(5):  # by now the worker has all that is handed to it in advance
        next(tasks)
    began = time.process_time()
    for _ in tasks:
        pass
    return 1e3 * (time.process_time() - began) / given.main


def machine():
    """The name of its processor, as far as it tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    return "/".join(names) or platform.processor() or platform.machine()


if __name__ == "__main__":
    parser = argparse.ArgumentParser("gqn bench", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", type=int, default=64, help="side of a frame in pixels (default: %(default)s)")
    add("--batch", type=int, default=64, help="tasks of a batch (default: %(default)s)")
    add("--steps", type=int, default=3, help="batches of each number of context views (default: %(default)s)")
    add("--images", type=int, default=3000, help="about so many are written to files (default: %(default)s)")
    add("--main", type=int, default=100, help="batches of which the training process's share is (default: %(default)s)")
    add("--rate", type=float, default=7000, help="samples per second of training (default: %(default)s)")
    add("--threads", type=int, default=1, help="of torch; a worker has one (default: %(default)s)")
    add("--toy", action="store_true", help="at a size that takes no time, to see that all of it runs")
    add("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    if given.toy:
        given.size, given.batch, given.steps, given.images, given.main = 16, 2, 1, 1, 3
    torch.set_num_threads(given.threads)
    figures = {"machine": machine(), "torch": torch.__version__}
    figures |= {name: getattr(given, name) for name in ("size", "batch", "rate", "toy")}
    with tempfile.TemporaryDirectory() as folder:
        figures["datasets"] = {name: measure(name, Path(folder), given) for name in DATASETS}
        figures["main_ms_per_batch"] = round(main_share(source(MAIN, "train", data=folder), given), 3)
    text = json.dumps(figures, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")

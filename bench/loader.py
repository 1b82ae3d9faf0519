"""Scenes per second read from released-format files on one core: `python bench/loader.py [--scenes N] [--train T]`.

The set has N scenes of 15 views at 64 pixels (200 rendered ones, over and over) and is read in random order: both
checksums of a record, the cameras, and 7 decoded frames. Time is processor time, so that other work on the machine
does not count. Beside it: the parts of that time; `plain` (Pillow decodes all 15 frames, as converters do, and 7 are
kept); megabytes of file per second of index building, which reads the lengths of records alone (`index`), and of
reading all records in order, both checksums checked (`read`). Files lie in the page cache.

With --train T the preset `founding` is trained on these files for T samples, on two processes with a worker each:
`waiting` is the share of its time (from the clock) that it waited for data, `samples_per_second` its speed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gqn.data.files import example, jpeg, tfrecord
from gqn.data.files.export import payload
from gqn.data.files.stored import stored
from gqn.data.sources import source
from gqn.data.tasks import permuted

VIEWS = 7  # decoded of a scene


def seconds(work, times):
    """Processor time of `times` calls work(i)."""
    began = time.process_time()
    for i in range(times):
        work(i)
    return time.process_time() - began


def measure(folder, scenes):
    """The figures, from files made in `folder`."""
    rendered = source("shepard_metzler_5_parts", "train")
    payloads = [payload(rendered, i) for i in range(200)]
    paths = [folder / "train" / f"{i:02}-of-10.tfrecord" for i in range(1, 11)]
    for path in (*paths, folder / "test" / "1-of-1.tfrecord"):
        path.parent.mkdir(exist_ok=True)
        tfrecord.write(path, (payloads[i % 200] for i in range(scenes // 10)))
    megabytes = sum(p.stat().st_size for p in paths) / 1e6
    index = seconds(lambda i: tfrecord.scan(paths[i]), len(paths))
    in_order = [tfrecord.scan(path) for path in paths]
    whole = seconds(lambda i: [in_order[i].payload(record) for record in range(len(in_order[i]))], len(paths))

    files = stored(paths)
    orders = [np.random.default_rng(i).permutation(15)[:VIEWS] for i in range(50)]
    order = [permuted(i, len(files), (0, 0)) for i in range(len(files))]
    places = [files.place(i) for i in order]
    coded = example.parse(payloads[0])[0]

    def plain(i):
        frames = [jpeg.decode(data) for data in example.parse(payloads[i % 200])[0]]
        return np.stack(frames)[orders[i % 50]]

    read = seconds(lambda i: files.views(order[i], orders[i % 50]), len(files))
    checked = seconds(lambda i: places[i][0].payload(places[i][1]), len(files))
    parsed = seconds(lambda i: example.parse(payloads[i % 200]), len(files))
    decoded = seconds(lambda i: [jpeg.decode(coded[k]) for k in orders[i % 50]], 1000) / 1000 * len(files)
    few = min(1000, len(files))
    simplejpeg, jpeg.simplejpeg = jpeg.simplejpeg, None
    slow = seconds(plain, few)
    jpeg.simplejpeg = simplejpeg
    return {
        "scenes": len(files),
        "scenes_per_second": round(len(files) / read),
        "microseconds": {
            "scene": round(read / len(files) * 1e6),
            "read and check": round(checked / len(files) * 1e6),
            "parse": round(parsed / len(files) * 1e6),
            "decode": round(decoded / len(files) * 1e6),
        },
        "plain": round(few / slow),
        "megabytes_per_second": {"index": round(megabytes / index), "read": round(megabytes / whole)},
    }


def trained(folder, samples):
    """How long a training run waits for the files in `folder`."""
    command = [Path(sys.executable).parent / "gqn", "train", "founding"]
    flags = f"--devices 2 -t {samples} -v 32 -f {samples} --data {folder} --logdir {folder / 'log'}"
    subprocess.run([*command, *flags.split()], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    (journal,) = (folder / "log").glob("*/metrics.jsonl")
    last = [line for line in map(json.loads, journal.read_text().splitlines()) if line["kind"] == "train"][-1]
    return {"waiting": last["waiting_for_data"], "samples_per_second": last["samples_per_second"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--train", type=int, metavar="T", help="also train for so many samples")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), given.scenes)
        if given.train:
            figures["founding"] = trained(Path(folder), given.train)
    text = json.dumps(figures, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")

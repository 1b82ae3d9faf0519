"""Scenes per second read from released-format files on one core: `python bench/loader.py [--scenes N] [--json FILE]`.

The set has N scenes of 15 views at 64 pixels (200 rendered ones, over and over) and is read in random order: both
checksums of a record, the cameras, and 7 decoded frames. Time is processor time, so that other work on the machine
does not count. Beside it: the parts of that time, `plain` (Pillow decodes all 15 frames, as converters do, and 7 are
kept), and megabytes per second of index building.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from gqn.data import jpeg, tfrecord
from gqn.data.export import payload
from gqn.data.sources import source
from gqn.data.stored import stored
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
    paths = [folder / f"{i:02}-of-10.tfrecord" for i in range(1, 11)]
    for path in paths:
        tfrecord.write(path, (payloads[i % 200] for i in range(scenes // 10)))
    megabytes = sum(p.stat().st_size for p in paths) / 1e6
    index = seconds(lambda i: tfrecord.scan(paths[i]), len(paths))

    files = stored(paths)
    orders = [np.random.default_rng(i).permutation(15)[:VIEWS] for i in range(50)]
    order = [permuted(i, len(files), (0, 0)) for i in range(len(files))]
    places = [files.place(i) for i in order]
    coded = tfrecord.parse(payloads[0])[0]

    def plain(i):
        frames = [jpeg.decode(data) for data in tfrecord.parse(payloads[i % 200])[0]]
        return np.stack(frames)[orders[i % 50]]

    read = seconds(lambda i: files.views(order[i], orders[i % 50]), len(files))
    checked = seconds(lambda i: places[i][0].payload(places[i][1]), len(files))
    parsed = seconds(lambda i: tfrecord.parse(payloads[i % 200]), len(files))
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
        "index_megabytes_per_second": round(megabytes / index),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(measure(Path(folder), given.scenes), indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")

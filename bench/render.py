"""Images per second of the renderer on one core: `python bench/render.py [--scenes N] [--json FILE]`.

Each family renders at its released size and number of views, with its shadows and antialiasing. Time is
processor time of the one thread that renders, so that other work on the machine does not count. `share` is
the part of it that goes into sampling scene and cameras; `plain` is the speed without antialiasing. The
peak of memory is read before and after.
"""

import argparse
import json
import platform
import resource
import time

import numpy as np

from gqn.scenes import jaco, mazes, rooms, shepard_metzler

FAMILIES = {  # family, views of a scene, pixels
    "shepard_metzler_5_parts": (shepard_metzler.Family(), 15, 64),
    "shepard_metzler_5_parts at 32": (shepard_metzler.Family(), 15, 32),
    "shepard_metzler_7_parts": (shepard_metzler.Family(parts=7), 15, 64),
    "rooms_ring_camera": (rooms.Family(), 10, 64),
    "rooms_ring_camera at 32": (rooms.Family(), 10, 32),
    "rooms_free_camera_no_object_rotations": (rooms.Family(camera="free", object_rotations=False), 10, 64),
    "rooms_free_camera_with_object_rotations": (rooms.Family(camera="free"), 10, 128),
    "jaco": (jaco.Family(), 11, 64),
    "mazes": (mazes.Family(), 20, 84),
}


def measure(family, views, size, scenes):
    """Images per second with and without antialiasing, and the share of sampling."""
    spent = dict.fromkeys(("sample", "render", "plain"), 0.0)
    for i in range(-3, scenes):  # the first ones compile
        rng = np.random.default_rng(i + 3)
        times = [time.thread_time()]
        scene = family.sample(rng)
        cameras = family.cameras(rng, scene, views)
        times.append(time.thread_time())
        family.render(scene, cameras, size)
        times.append(time.thread_time())
        family.render(scene, cameras, size, antialias=False)
        times.append(time.thread_time())
        if i >= 0:
            for key, seconds in zip(spent, np.diff(times), strict=True):
                spent[key] += seconds
    with_sampling = spent["sample"] + spent["render"]
    return {
        "images_per_second": round(scenes * views / with_sampling),
        "plain": round(scenes * views / (spent["sample"] + spent["plain"])),
        "share": round(spent["sample"] / with_sampling, 3),
    }


def peak():
    """Peak resident memory, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--json")
    args = parser.parse_args()
    results = {}
    print(f"{'family':42} {'images/s':>9} {'plain':>7} {'share':>6}")
    for name, row in FAMILIES.items():
        results[name] = r = measure(*row, args.scenes)
        print(f"{name:42} {r['images_per_second']:9} {r['plain']:7} {r['share']:6}", flush=True)
    before = peak()
    family, views, size = FAMILIES["rooms_ring_camera at 32"]
    for seed in range(10 * args.scenes):
        rng = np.random.default_rng(seed)
        scene = family.sample(rng)
        family.render(scene, family.cameras(rng, scene, views), size)
    memory = {"scenes": 10 * args.scenes, "peak_before_mb": before, "peak_after_mb": peak()}
    print(f"peak memory {before} MB, after {memory['scenes']} more scenes {memory['peak_after_mb']} MB")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": platform.processor() or platform.machine(), **results, "memory": memory}, file)


if __name__ == "__main__":
    main()

"""How long the viewer takes to answer several clients that go from scene to scene without pause, as its page asks.

    .venv/bin/python runs/viewer_load.py [RUN] [--clients 4] [--seconds 60] [--datasets]

Each client asks for a scene, which no client has asked for before, then for the gain in the background, for two views,
and for samples, of which it takes the first before it goes on to the next scene. Before it waits for a scene it passes
by others half of the time. With --datasets each scene is of the next dataset.
"""

import argparse
import asyncio
import json
import random
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import numpy as np

Times = dict[str, list[float]]  # seconds to the first part of the answer, by kind of question


@contextmanager
def served(run: str, *flags: str) -> Iterator[tuple[str, int]]:
    """`gqn view` in a process of its own; its address and process id."""
    command = [sys.executable, "-m", "gqn", "view", run, "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().split()[1], server.pid
        finally:
            server.terminate()


async def client(
    address: str, number: int, seconds: float, times: Times, errors: list[str], all_: bool, first: int
) -> None:
    """Ask for scenes and views of them for so many seconds; notes times to answer, and errors."""
    rng, began, question = random.Random(number), time.perf_counter(), 0
    async with aiohttp.ClientSession() as session, session.ws_connect(address + "socket") as socket:
        about = await socket.receive_json()

        async def send(kind: str, camera: int | list[float] = 2) -> None:
            nonlocal question
            question += 1
            state = {"dataset": dataset, "scene": scene, "context": [0, 1], "seed": rng.randrange(2**30), "step": 0}
            await socket.send_json({"about": kind, "id": question, "camera": camera} | state)

        async def ask(kind: str, camera: int | list[float] = 2) -> dict:
            sent = time.perf_counter()
            await send(kind, camera)
            while (header := await answer())["id"] != question:
                pass  # a part of an answer to an earlier question
            times[kind].append(time.perf_counter() - sent)
            if "error" in header:
                errors.append(header["error"])
            return header

        async def answer() -> dict:
            message = await socket.receive_bytes()
            (length,) = struct.unpack_from("<I", message)
            return json.loads(message[4 : 4 + length])

        for scene in range(100_000 * number + first, 100_000 * (number + 1)):
            if time.perf_counter() - began > seconds:
                break
            dataset = about["datasets"][scene % len(about["datasets"])] if all_ else about["dataset"]
            if rng.random() < 0.5:  # passes by
                await send("scene")
                await asyncio.sleep(rng.uniform(0, 0.1))
                continue
            shown = await ask("scene")
            await send("gain")
            await ask("view")
            if shown.get("anywhere"):
                await ask("view", [*shown["poses"][2][:3], rng.uniform(0, 6.28), shown["poses"][2][4]])
            await ask("samples")


async def crowd(
    address: str, clients: int, seconds: float, all_: bool = False, first: int = 0
) -> tuple[Times, list[str]]:
    """Several clients at once, each from its scene `first` on: times to answer, and errors, also lost connections."""
    times, errors = defaultdict(list), []
    works = [client(address, number, seconds, times, errors, all_, first) for number in range(clients)]
    for ended in await asyncio.gather(*works, return_exceptions=True):
        errors += [repr(ended)] if ended else []
    return times, errors


def table(times: Times) -> str:
    """Percentiles of the times to answer."""
    rows = ["| asked for | answers | 50 % | 95 % | 99 % | longest |", "|---|---|---|---|---|---|"]
    for kind, seconds in (*times.items(), ("all", [t for each in times.values() for t in each])):
        numbers = " | ".join(f"{1e3 * np.percentile(seconds, p):.0f} ms" for p in (50, 95, 99, 100))
        rows.append(f"| {kind} | {len(seconds)} | {numbers} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default="sm5-64")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--datasets", action="store_true", help="go through all datasets")
    given = parser.parse_args()
    with served(given.run) as (address, _):
        times, errors = asyncio.run(crowd(address, given.clients, given.seconds, given.datasets))
    print(table(times))
    print(f"{len(errors)} errors", *sorted(set(errors)), sep="\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

"""The viewer's speed: pictures per second and their delay while a camera moves. `gqn bench viewer [RUN] [flags]`.

`gqn view` runs in a process of its own, on RUN or on a preset's model with fresh weights, which is as fast. `socket`:
one client asks for the next camera as soon as it has a picture with the truth and their difference. `browser`, if
Chromium is there: a hand drags the page's picture; delays are from question to picture drawn. `clients`: several at
once, each on scenes of its own, a new one every 100 pictures; how many were lost, and what memory the server held
before and after.
"""

import argparse
import asyncio
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
import torch

import forms
from gqn import config
from gqn.artifacts import checkpoint, trained
from gqn.errors import RUN

ASKED = {"about": "view", "dataset": "", "scene": 0, "context": [0, 1], "camera": 2, "seed": 0, "step": 0}
WATCH = """
const send = WebSocket.prototype.send, sent = new Map();
window.pictures = [];
WebSocket.prototype.send = function (text) {
  if (!this.watched) this.addEventListener("message", ({ data }) => {
    if (typeof data === "string") return;
    const length = new DataView(data).getUint32(0, true);
    const { id } = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    if (sent.has(id)) window.pictures.push([performance.now(), performance.now() - sent.get(id)]);
  });
  this.watched = true;
  const { about, id } = JSON.parse(text);
  if (about === "view") sent.set(id, performance.now());
  send.call(this, text);
};
"""


def summary(arrivals: list[float], delays: list[float]) -> dict[str, float]:
    """Of times in seconds, the first tenth of the pictures aside."""
    times, waits = (np.array(x[len(x) // 10 :]) for x in (arrivals, delays))
    return {
        "pictures_per_second": round((len(times) - 1) / (times[-1] - times[0]), 1),
        "milliseconds_median": round(1e3 * float(np.median(waits)), 1),
        "milliseconds_95th_percentile": round(1e3 * float(np.percentile(waits, 95)), 1),
    }


async def drag(address: str, seconds: float, scene: int = 0, scenes: int = 1) -> tuple[list[float], list[float]]:
    """Arrival times and delays of the pictures of one client, ten at least."""
    arrivals, delays, began = [], [], time.perf_counter()
    async with aiohttp.ClientSession() as session, session.ws_connect(address + "socket") as client:
        asked = ASKED | {"dataset": (await client.receive_json())["dataset"], "scene": scene}
        while (n := len(arrivals)) < 10 or time.perf_counter() - began < seconds:
            asked |= {"id": n, "camera": [0, 0, 0, 0.02 * n % 6.28, -0.3], "scene": scene + n // 100 % scenes}
            sent = time.perf_counter()
            await client.send_json(asked)
            message = await client.receive_bytes()
            (length,) = struct.unpack_from("<I", message)
            assert json.loads(message[4 : 4 + length])["id"] == n
            arrivals.append(time.perf_counter() - began)
            delays.append(time.perf_counter() - sent)
    return arrivals, delays


async def crowd(address: str, clients: int, seconds: float, pid: int) -> dict[str, float]:
    """Several clients at once; memory is looked at after a tenth of the time and at the end."""
    works = [asyncio.create_task(drag(address, seconds, 1000 * i, 1000)) for i in range(clients)]
    await asyncio.sleep(seconds / 10)
    before = resident(pid)
    results = await asyncio.gather(*works, return_exceptions=True)
    whole = [r for r in results if not isinstance(r, BaseException)]
    each = [summary(*r) for r in whole]
    return {
        "clients": clients,
        "seconds": seconds,
        "lost": clients - len(whole),
        "pictures": sum(len(arrivals) for arrivals, _ in whole),
        "pictures_per_second_of_each": round(float(np.mean([s["pictures_per_second"] for s in each])), 1),
        "milliseconds_median": round(float(np.median([s["milliseconds_median"] for s in each])), 1),
        "resident_mb_after_a_tenth": before,
        "resident_mb_at_the_end": resident(pid),
    }


def resident(pid: int) -> int:
    """Resident memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def browser(address: str, seconds: float, chromium: str) -> dict[str, float]:
    """A hand that drags the picture in Chromium, in circles."""
    from playwright.sync_api import sync_playwright

    from conftest import CHROMIUM_ARGUMENTS

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = opened.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(WATCH)
        page.goto(address)
        page.wait_for_function("() => document.body.dataset.settled")
        box = page.locator("#sample").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.evaluate("pictures.length = 0")
        began = time.perf_counter()
        while (t := time.perf_counter() - began) < seconds:
            page.mouse.move(x + 100 * np.cos(3 * t), y + 60 * np.sin(3 * t))
        arrivals, delays = zip(*page.evaluate("pictures"), strict=True)
        opened.close()
    return summary([t / 1e3 for t in arrivals], [t / 1e3 for t in delays])


def main() -> None:
    parser = argparse.ArgumentParser("gqn bench viewer", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("run", nargs="?", metavar="RUN", help=RUN)
    add("--preset", choices=config.PRESETS, default="demo", help="without a RUN (default: %(default)s)")
    add("--seconds", type=float, default=10, help="of dragging (default: %(default)s)")
    add("--clients", type=int, default=4, help="at once (default: %(default)s)")
    add("--crowd-seconds", type=float, default=120, help="of them (default: %(default)s)")
    add("--threads", type=int, default=max(1, torch.get_num_threads() - 1), help="of the model (default: %(default)s)")
    add("--no-browser", action="store_true")
    add("--toy", action="store_true", help="at a size that takes no time, to see that all of it runs")
    add("--json", type=Path, help="also write the figures here")
    parser.set_defaults(gpu=False)
    given = parser.parse_args()
    chromium = None if given.no_browser else shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder:
        run = given.run
        if run is None:
            run = Path(folder, given.preset)
            run.mkdir()
            settings = config.preset(given.preset, **(forms.TOY if given.toy else {}))
            (run / checkpoint.CONFIG).write_text(config.as_json(settings))
            checkpoint.save_weights(run, checkpoint.build(settings))
        program = "import sys; from gqn.cli.main import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", program, "view", str(run), "--port", "0", "--threads", str(given.threads)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                address = server.stdout.readline().split()[1]
                figures = {
                    "machine": forms.machine(given),
                    "torch": torch.__version__,
                    "model": f"{trained.name(run)}{', toy' * given.toy}",
                    "socket": summary(*asyncio.run(drag(address, given.seconds))),
                }
                if chromium:
                    figures["browser"] = browser(address, given.seconds, chromium)
                figures["clients"] = asyncio.run(crowd(address, given.clients, given.crowd_seconds, server.pid))
            finally:
                server.terminate()
    forms.tell(figures, given.json)


if __name__ == "__main__":
    main()

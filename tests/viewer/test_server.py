"""The viewer's server against people and hostile clients, and its command."""

import asyncio
import contextlib
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import aiohttp
import pytest
import torch
from yarl import URL

from gqn.cli.main import main
from gqn.viewer import protocol
from gqn.viewer import server as viewer_server
from gqn.viewer import session as viewer_session
from gqn.viewer.server import Server
from support import ASKED, made_run, unpacked
from support import SHOWN as TINY

pytestmark = pytest.mark.usefixtures("little_work")

# ------------------------------------------------------------------ the server


def serving(answers, act, **options):
    """Run `act(server, session)` beside a server."""

    async def run():
        async with Server(answers, **options) as server, aiohttp.ClientSession() as session:
            return await asyncio.wait_for(act(server, session), 30)

    return asyncio.run(run())


async def connected(server, session, **options):
    client = await session.ws_connect(server.url + "socket", **options)
    assert (await client.receive_json())["run"] == "tiny"
    return client


async def asked(client, **values):
    await client.send_json(ASKED | values)
    return await client.receive()


async def works(server, session):
    """The server answers a newcomer as it should."""
    client = await connected(server, session)
    header, parts = unpacked((await asked(client, id=5)).data)
    assert header["about"] == "view" and header["id"] == 5 and parts["sample"].shape == (16, 16, 3)
    await client.close()


def test_a_page_and_its_pictures(answers, model):
    async def act(server, session):
        for path, kind in {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}.items():
            async with session.get(server.url + path) as response:
                assert response.status == 200 and response.content_type == kind
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
                text = await response.text()
                assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
        async with session.get(server.url + "page.html/../../server.py") as response:
            assert response.status == 404 and "Content-Security-Policy" in response.headers
        await works(server, session)

    serving(answers, act)


def test_the_newest_question_wins_and_the_background_goes_on(answers, monkeypatch):
    """While samples and a map are worked on, a camera is answered; the samples are left, the map comes to its end."""
    monkeypatch.setattr(viewer_server, "IDLE", 0.0)

    async def act(server, session):
        client = await connected(server, session)
        await client.send_json(ASKED | dict(about="gain", id=1))
        await client.send_json(ASKED | dict(about="samples", id=2))
        await client.receive_bytes()
        for i in range(3, 30):
            await client.send_json(ASKED | dict(id=i, camera=[0, 0, 0, i / 10, 0]))
        got = []
        while not (any(h["id"] == 29 for h in got) and any(h.get("done") == 3 for h in got)):
            got.append(unpacked(await client.receive_bytes())[0])
        cameras = [h["id"] for h in got if h["about"] == "view"]
        assert cameras == sorted(cameras) and len(cameras) < 27
        assert not any("spread" in h for h in got)

    serving(answers, act)


@contextlib.contextmanager
def worked(server, monkeypatch):
    """While open, nothing is worked on; the list of the questions' ids, in the order in which work on them began."""
    order, then, release = [], viewer_server._next, threading.Event()
    monkeypatch.setattr(
        viewer_server, "_next", lambda question, parts: order.append(question.id) or then(question, parts)
    )
    server.worker.submit(release.wait)
    try:
        yield order
    finally:
        release.set()


def test_a_question_that_was_replaced_while_it_waited_is_not_worked_on(answers, monkeypatch):
    async def act(server, session):
        client = await connected(server, session)
        with worked(server, monkeypatch) as order:
            for i in (1, 2, 3):
                await client.send_json(ASKED | dict(id=i))
                await heard(server)
        assert unpacked(await client.receive_bytes())[0]["id"] == 3
        assert order[0] == 3 and set(order) == {3}

    serving(answers, act)


async def heard(server):
    """Wait until the server has read what was sent: a newcomer's message comes after it."""
    async with aiohttp.ClientSession() as session:
        client = await connected(server, session)
        await client.send_str("{")
        await client.receive()
        await client.close()


def test_one_part_in_the_background_at_most_goes_before_the_foreground(answers, monkeypatch):
    """And where a part takes long it is divided: pauses are not sent."""
    monkeypatch.setattr(viewer_server, "IDLE", 0.0)

    async def act(server, session):
        first, second, third = [await connected(server, session) for _ in range(3)]
        with worked(server, monkeypatch) as order:
            await first.send_json(ASKED | dict(about="gain", id=1))
            await second.send_json(ASKED | dict(about="gain", id=2))
            await heard(server)
            await third.send_json(ASKED | dict(id=3))
            await heard(server)
        assert unpacked(await third.receive_bytes())[0]["id"] == 3
        header, _ = unpacked(await first.receive_bytes())
        assert header["about"] == "gain" and header["done"] == 1
        assert order.index(3) == 1 and order[0] in (1, 2) and order.count(1) > 3

    serving(answers, act)


def test_a_client_that_leaves_frees_its_work(answers, monkeypatch):
    begun = []
    monkeypatch.setattr(viewer_session, "PLACES", 5000)
    monkeypatch.setattr(viewer_server, "IDLE", 0.0)
    monkeypatch.setattr(viewer_session, "gain_in_parts", lambda *_: [begun.append(1), torch.zeros(1, 1)])

    async def act(server, session):
        client = await connected(server, session)
        await asked(client, about="gain")
        await client.close()
        while server.clients or any("Lane" in task.get_coro().__qualname__ for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        count = len(begun)
        await works(server, session)
        await works(server, session)
        assert len(begun) <= count + 1 < 5000

    serving(answers, act)


def test_a_failure_is_told_and_survived(answers, monkeypatch, caplog):
    async def act(server, session):
        client = await connected(server, session)
        monkeypatch.setattr(viewer_session.drawing, "images", lambda frames: 1 / 0)
        assert "server failed" in unpacked((await asked(client)).data)[0]["error"]
        monkeypatch.undo()
        assert "no view 15" in unpacked((await asked(client, camera=15)).data)[0]["error"]
        await works(server, session)

    serving(answers, act)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:PORT"},
        {"Origin": "http://localhost:PORT"},
        {"Origin": "127.0.0.1:PORT"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Host": ""},
    ],
)
def test_pages_from_elsewhere_and_other_names_are_refused(answers, headers):
    async def act(server, session):
        given = {name: value.replace("PORT", str(server.port)) for name, value in headers.items()}
        for path in ("", "page.js", "socket"):
            async with session.get(server.url + path, headers=given) as response:
                assert response.status in (400, 403)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(server.url + "socket", headers=given)
        origin = {"Origin": server.url.rstrip("/")}
        await (await connected(server, session, headers=origin)).close()
        async with session.get(f"http://localhost:{server.port}/") as response:
            assert response.status == 200

    serving(answers, act)


def test_bad_messages_are_refused_and_the_connection_lives(answers):
    async def act(server, session):
        client = await connected(server, session)
        for text in ("{", "[" * 4000, json.dumps(ASKED | {"camera": [math.nan] * 5}), json.dumps({"about": "quit"})):
            await client.send_str(text)
            assert "error" in await client.receive_json()
        await client.send_bytes(b"\0\xff")
        assert "error" in await client.receive_json()
        assert (await asked(client)).type is aiohttp.WSMsgType.BINARY
        await client.send_str("x" * (protocol.LONGEST + 1))
        assert (await client.receive()).data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await works(server, session)

    serving(answers, act)


def test_garbage_on_the_line(answers):
    async def act(server, session):
        for garbage in (b"\0" * 100, b"GET /" + b"a" * 20000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(garbage)
            assert not (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        await works(server, session)

    serving(answers, act)


def test_a_thousand_connections(answers, monkeypatch):
    """The first ones are kept until they have been silent for too long, the others refused; who is in stays in."""
    monkeypatch.setattr(viewer_server, "SILENT", 0.5)
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, max(files, 2000)), most))

    async def act(server, session):
        inside = await connected(server, session)
        crowd = []
        for _ in range(1000):
            crowd.append(one := socket.socket())
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", server.port))
        assert len(server.runner.server.connections) <= viewer_server.CONNECTIONS
        assert (await asked(inside)).type is aiohttp.WSMsgType.BINARY
        while len(server.runner.server.connections) > 1:
            await asyncio.sleep(0.01)
        await works(server, session)
        for one in crowd:
            one.close()

    serving(answers, act)


def test_sockets_are_bounded(answers):
    async def act(server, session):
        clients = [await connected(server, session) for _ in range(viewer_server.CLIENTS)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(server.url + "socket")
        assert refused.value.status == 503
        await clients.pop().close()
        while len(server.clients) == viewer_server.CLIENTS:
            await asyncio.sleep(0)
        await works(server, session)

    serving(answers, act)


def test_beyond_this_machine_a_token_is_needed(answers):
    async def act(server, session):
        assert len(server.token) >= 16 and server.url.endswith(f"?token={server.token}")
        address = f"http://127.0.0.1:{server.port}/"
        for given in ("", "?token=", "?token=wrong", "?token=é"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{address}socket{given}")
            assert refused.value.status == 403
        client = await session.ws_connect(f"{address}socket?token={server.token}")
        assert (await client.receive_json())["run"] == "tiny"
        assert (await asked(client)).type is aiohttp.WSMsgType.BINARY

    serving(answers, act, host="0.0.0.0")


def test_the_address_holds_any_token(answers):
    """The page hands its address's query on as it is."""

    async def act(server, session):
        client = await session.ws_connect(URL(server.url.replace("/?", "/socket?"), encoded=True))
        assert (await client.receive_json())["run"] == "tiny"

    serving(answers, act, token="a b&c+d#é%41")


def test_local_addresses_are_told_from_others():
    local = {"127.0.0.1": True, "localhost": True, "::1": True, "0.0.0.0": False, "192.168.0.7": False, "a.b": False}
    assert {host: viewer_server._is_local(host) for host in local} == local


# ------------------------------------------------------------------ the command


def test_the_command_says_what_is_wrong(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    assert main(["view", str(folder)]) == 2
    assert f"no run folder {folder}" in capsys.readouterr().err
    made_run(folder, TINY)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["view", str(folder), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"port {port}" in error and "--port 0" in error and "Traceback" not in error
    assert main(["view", str(folder), "--port", "70000"]) == 2
    for host in ("nowhere.invalid", ".a", "a" * 70):
        capsys.readouterr()
        assert main(["view", str(folder), "--host", host]) == 2
        error = capsys.readouterr().err
        assert f"cannot listen on {host}, port 8000" in error and error.count("\n") == 1
    assert main(["view", str(folder), "--data", str(tmp_path)]) == 2
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert main(["view", str(folder)]) == 2
    assert "pip install 'gqn[viewer]'" in capsys.readouterr().err


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    program = "import sys; from gqn.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "view", str(made_run(tmp_path / "run", TINY)), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as view:
        address = view.stdout.readline().split()[1]
        with urllib.request.urlopen(address) as page:
            assert b"What the network has seen" in page.read()
        view.send_signal(signal.SIGINT)
        _, err = view.communicate(timeout=60)
    assert (view.returncode, err) == (0, "")

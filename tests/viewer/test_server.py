"""The viewer's answers against the package's own functions, and its server against people and hostile clients."""

import asyncio
import io
import json
import math
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from dataclasses import replace

import aiohttp
import numpy as np
import pytest
import torch
from PIL import Image
from yarl import URL

from gqn.artifacts import checkpoint
from gqn.cli.main import main
from gqn.data.files.export import export
from gqn.data.sources import source
from gqn.errors import BadInput, Unfamiliar
from gqn.figures import drawing, heldout
from gqn.metrics import images as metrics
from gqn.metrics import information
from gqn.viewer import protocol
from gqn.viewer import server as viewer_server
from gqn.viewer import session as viewer_session
from gqn.viewer.server import Server
from gqn.viewer.session import Session
from support import TOY, made_run

TINY = TOY.having(max_context_size=2, num_steps=3)
ASKED = {
    "about": "view",
    "id": 1,
    "dataset": TINY.data.dataset_name,
    "scene": 3,
    "context": [0, 1],
    "camera": [0, 0, 0, 1, 0.5],
    "seed": 7,
    "step": 0,
}


@pytest.fixture(scope="module")
def model():
    """As it is loaded, so that a camera that goes where no model knows its way would fail."""
    model = checkpoint.build(TINY).eval()
    model.trained_on = checkpoint.trained_on("tiny", TINY)
    return model


@pytest.fixture(scope="module")
def answers(model):
    return Session("tiny", TINY, model)


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    monkeypatch.setattr(viewer_session, "PLACES", 3)
    monkeypatch.setattr(viewer_session, "CIRCLE", 4)


def question(**values):
    return protocol.question(json.dumps(ASKED | values))


def all_of(answers, **values):
    return list(answers(question(**values)))


def one_of(answers, **values):
    (answer,) = all_of(answers, **values)
    return answer


def noise(seed):
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------ answers


def test_the_picture_is_a_sample_given_the_context_and_the_truth_is_the_view(answers, model):
    """Scene and context are those of the figures; the query is here their next view."""
    task = heldout.tasks(source(**TINY.scenes("test")), 3, 1, 2)
    numbers, parts = one_of(answers, camera=2)
    with torch.no_grad():
        sample = model.sample(model.represent(task.context), task.query.cameras, noise(7))[0, 0, 0]
    truth = task.query.frames[0, 0]
    assert np.array_equal(parts["sample"], drawing.images(sample))
    assert np.array_equal(parts["truth"], drawing.images(truth))
    assert numbers["pose"] == pytest.approx(task.query.cameras.pose[0, 0].tolist())
    assert numbers["mse"] == pytest.approx(metrics.mse(sample, truth).item(), rel=1e-5)
    assert numbers["psnr"] == pytest.approx(metrics.psnr(sample, truth).item(), rel=1e-5)
    far = (sample - truth).abs().mean(0).numpy()
    assert np.array_equal(parts["difference"], drawing.heat(far, viewer_session.FAR_OFF))


def test_a_camera_goes_where_the_family_allows_and_the_truth_is_rendered_there(answers):
    scenes = heldout.rendered(TINY)
    description = heldout.described(scenes, 3)
    numbers, parts = one_of(answers, camera=[5, 5, 5, 1, -9])
    camera = scenes.family.allowed(None, scenes.family.orbit(None, 1))  # for its type and field of view
    camera = replace(camera, pose=torch.tensor([numbers["pose"]]))
    assert numbers["pose"][3:] == pytest.approx([1, -49 * math.pi / 100])
    assert np.array_equal(parts["truth"][None], drawing.images(scenes.render(description, camera).float().frames))


def test_noise_is_of_the_seed_and_steps_lead_to_the_picture(answers, model):
    def picture(**values):
        return one_of(answers, **values)[1]["sample"]

    assert np.array_equal(picture(), picture())
    assert not np.array_equal(picture(), picture(seed=8))
    assert np.array_equal(picture(step=3), picture())
    scene = answers._scene(TINY.data.dataset_name, 3)
    cameras, _ = scene.at((0, 0, 0, 1, 0.5))
    with torch.no_grad():
        canvases = model.steps(model.represent(scene.views[None, :2].float()), cameras[None], noise(7))[0, 0]
    for step in (1, 2):
        assert np.array_equal(picture(step=step), drawing.images(canvases[step - 1]))


def test_samples_their_mean_spread_and_the_surprise(answers, model):
    surprise, *samples, summary = all_of(answers, about="samples", camera=2)
    task = heldout.tasks(source(**TINY.scenes("test")), 3, 1, 2)
    with torch.no_grad():
        r = model.represent(task.context)
        drawn = torch.stack([model.sample(r, task.query.cameras, noise(7 + i))[0, 0, 0] for i in range(8)]).clamp(0, 1)
        kl = model(task.context, task.query, 1.0, model.noise(1, 1, noise(7))).kl[0, 0, 0]
    assert surprise[0]["kl"] == pytest.approx(kl.tolist(), rel=1e-4)
    for i, (numbers, parts) in enumerate(samples):
        assert numbers["index"] == i and np.array_equal(parts["sample"], drawing.images(drawn[i]))
    numbers, parts = summary
    assert np.array_equal(parts["mean"], drawing.images(drawn.mean(0)))
    assert numbers["spread"] == pytest.approx(255 * drawn.std(0).mean().item(), rel=1e-4)


def test_the_map_is_the_figures_gain(answers, model):
    """Place by place it is what the whole map gives."""
    parts = [numbers for numbers, _ in all_of(answers, about="gain")]
    assert [(p["done"], p["total"]) for p in parts] == [(1, 3), (2, 3), (3, 3)]
    scene = answers._scene(TINY.data.dataset_name, 3)
    places, probes = scene.places()
    with torch.no_grad():
        context = scene.views[None, :2].float()
        std, imagined = TINY.objective.pixel_std_final, viewer_session.IMAGINED
        whole = information.gain(model, context, places[None], probes[None], std, imagined, heldout.SEED)
    assert [p["gain"] for p in parts] == pytest.approx(whole[0].tolist(), rel=1e-4)
    assert torch.tensor([p["pose"] for p in parts]).equal(places.pose)


def test_a_view_from_here_is_context_like_any_other(answers):
    pose = answers._scene(TINY.data.dataset_name, 3).views.cameras.pose[1].tolist()
    by_number, by_pose = (one_of(answers, context=[0, view])[1]["sample"] for view in (1, pose))
    assert np.array_equal(by_number, by_pose)
    assert not np.array_equal(by_number, one_of(answers, context=[0])[1]["sample"])
    shown = one_of(answers, about="scene", context=[0, pose])[1]
    assert np.array_equal(shown["context"], shown["views"][:2])


def test_an_orbit_is_an_animation(answers):
    *progress, (numbers, parts) = all_of(answers, about="orbit")
    assert [p["done"] for p, _ in progress] == [1, 2, 3, 4] and numbers["name"].endswith("-3.webp")
    film = Image.open(io.BytesIO(parts["file"].tobytes()))
    assert film.n_frames == 4


@pytest.mark.parametrize(
    "dataset, motion",
    {
        "shepard_metzler_7_parts": "sphere",
        "rooms_ring_camera": "ring",
        "rooms_free_camera_with_object_rotations": "walk",
        "jaco": "around",
        "mazes": "walk",
    }.items(),
)
@pytest.mark.filterwarnings("ignore::gqn.errors.Unfamiliar")
def test_scenes_of_every_family_can_be_shown(answers, dataset, motion):
    numbers, parts = one_of(answers, about="scene", dataset=dataset)
    k = len(numbers["poses"])
    assert numbers["motion"] == motion and parts["views"].shape == (k, 16, 16, 3) and 2 <= k <= protocol.CONTEXT
    assert ("plan" in parts) == numbers["above"] == (dataset == "mazes")
    numbers, parts = one_of(answers, dataset=dataset, camera="above" if dataset == "mazes" else 2)
    assert {"sample", "truth", "difference"} == parts.keys()
    assert all_of(answers, about="orbit", dataset=dataset)[-1][1]["file"].size > 0


def test_a_free_camera_of_another_dataset_warns_once():
    """However long it is dragged."""
    model = checkpoint.build(TINY).eval()
    model.trained_on = checkpoint.trained_on("tiny", TINY)
    answers = Session("tiny", TINY, model)
    with pytest.warns(Unfamiliar) as warned:
        for yaw in range(4):
            one_of(answers, dataset="rooms_ring_camera", camera=[0, 0, 0, yaw, 0])
    assert len(warned) == 1


def test_a_run_that_draws_maps_begins_above():
    config = TINY.having(dataset_name="mazes", query="overhead")
    model = checkpoint.build(config).eval()
    model.trained_on = checkpoint.trained_on("map", config)
    answers = Session("map", config, model)
    numbers, parts = one_of(answers, about="scene", dataset="mazes")
    assert numbers["start"] == "above"
    assert np.array_equal(one_of(answers, dataset="mazes", camera="above")[1]["truth"], parts["plan"])
    with pytest.raises(BadInput, match="maps alone"):
        all_of(answers, dataset="mazes", about="gain")


def test_a_scene_of_two_views(model):
    answers = Session("tiny", TINY.having(num_views=2, max_context_size=1), model)
    numbers, parts = one_of(answers, about="scene")
    assert numbers["start"] == 1 and len(parts["views"]) == 2


def test_stored_scenes_have_truth_at_their_views_only(model, tmp_path):
    export(TINY.data.dataset_name, tmp_path, 4, 4, splits=("test",), workers=0, image_size=16)
    answers = Session("tiny", TINY, model, str(tmp_path))
    assert answers.about()["datasets"] == [TINY.data.dataset_name]
    numbers, parts = one_of(answers, about="scene")
    assert numbers["anywhere"] is False and len(numbers["poses"]) == 15
    assert np.array_equal(one_of(answers, camera=4)[1]["truth"], parts["views"][4])
    assert one_of(answers)[1].keys() == {"sample"}
    assert "kl" not in all_of(answers, about="samples")[0][0]
    assert len(all_of(answers, about="gain")) == 15 - viewer_session.PROBES
    few = Session("tiny", TINY.having(num_views=3), model, str(tmp_path))
    assert len(all_of(few, about="gain")) == 2
    assert all_of(answers, about="orbit")[-1][1]["file"].size > 0
    with pytest.raises(BadInput, match="own views"):
        all_of(answers, context=[0, [0, 0, 0, 1, 0.5]])


def test_questions_about_what_is_not_there(answers):
    for values, message in [
        (dict(dataset="rooms"), "no dataset rooms"),
        (dict(camera=15), "no view 15"),
        (dict(camera="above"), "no view from above"),
        (dict(context=[15]), "no view 15"),
    ]:
        with pytest.raises(BadInput, match=message):
            all_of(answers, **values)


def test_what_is_kept_is_bounded(model):
    answers = Session("tiny", TINY, model)
    for scene in range(2 * viewer_session.KEPT):
        one_of(answers, scene=scene)
    assert answers._scene.cache_info().currsize == answers._known.cache_info().currsize == viewer_session.KEPT


# ------------------------------------------------------------------ the wire


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 4000,
        "{}",
        '{"about": "view"}',
        *(
            json.dumps(ASKED | change)
            for change in [
                dict(about="__class__"),
                dict(about=[]),
                dict(id=-1),
                dict(id=True),
                dict(dataset=None),
                dict(scene=1.5),
                dict(scene=10**6),
                dict(seed=2**31),
                dict(step=-1),
                dict(context=[]),
                dict(context=[0] * 17),
                dict(context=["above"]),
                dict(context=[[0, 0, 0, 0]]),
                dict(context=[-1]),
                dict(camera=None),
                dict(camera=True),
                dict(camera=[0, 0, 0, 0, "0"]),
                dict(camera=[0, 0, 0, 0, False]),
                dict(camera=[0, 0, 0, 0, 1e9]),
                dict(camera=[math.nan, 0, 0, 0, 0]),
                dict(camera=[0, 0, 0, math.inf, 0]),
                dict(camera={}),
            ]
        ),
        json.dumps(ASKED).replace("0.5", "1e999"),
        json.dumps(ASKED).replace("0.5", "9" * 400),
    ],
)
def test_a_bad_question_is_refused(text):
    with pytest.raises(BadInput):
        protocol.question(text)


def unpacked(message):
    (length,) = struct.unpack_from("<I", message)
    header, at, parts = json.loads(message[4 : 4 + length]), 4 + length, {}
    for name, shape in header.pop("parts"):
        size = math.prod(shape)
        parts[name] = np.frombuffer(message, np.uint8, size, at).reshape(shape)
        at += size
    assert at == len(message)
    return header, parts


def test_answers_survive_the_wire():
    parts = {"a": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "b": np.zeros(5, np.uint8)}
    header, got = unpacked(protocol.answer({"é": 1.5}, parts))
    assert header == {"é": 1.5} and got.keys() == parts.keys()
    assert all(np.array_equal(got[name], parts[name]) for name in parts)


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


def test_a_client_that_leaves_frees_its_work(answers, monkeypatch):
    begun = []
    monkeypatch.setattr(viewer_session, "PLACES", 5000)
    monkeypatch.setattr(viewer_server, "IDLE", 0.0)
    monkeypatch.setattr(viewer_session, "gain", lambda *_: begun.append(1) or torch.zeros(1, 1))

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
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Host": ""},
    ],
)
def test_pages_from_elsewhere_and_other_names_are_refused(answers, headers):
    async def act(server, session):
        for path in ("", "page.js", "socket"):
            async with session.get(server.url + path, headers=headers) as response:
                assert response.status in (400, 403)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(server.url + "socket", headers=headers)
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

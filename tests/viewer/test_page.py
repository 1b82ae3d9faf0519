"""The viewer's page in a browser: what people do with it, what they then see, and that it asks nobody else."""

import asyncio
import json
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from gqn.artifacts import checkpoint
from gqn.data.files.export import export
from gqn.viewer import protocol
from gqn.viewer import session as viewer_session
from gqn.viewer.server import Server
from gqn.viewer.session import Session
from support import SHOWN as TINY


@contextmanager
def serving(answers, **options):
    """A server in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    server = run(Server(answers, **options).__aenter__())
    try:
        yield server
    finally:
        run(server.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def answers():
    return Session("tiny", TINY, checkpoint.build(TINY).eval())


@pytest.fixture(scope="module")
def site(browser, answers):
    patch = pytest.MonkeyPatch()
    patch.setattr(viewer_session, "PLACES", 12)
    patch.setattr(viewer_session, "CIRCLE", 4)
    with serving(answers) as server:
        yield server.url
    patch.undo()


@pytest.fixture
def opened(browser):
    """opened(address, **options): a page at rest. In the end none has logged an error or asked elsewhere."""
    contexts, wrong, requests, addresses = [], [], [], []

    def open_page(address, **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda socket: requests.append(socket.url))
        addresses.append(urlsplit(address).netloc)
        with settling(page):
            page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    elsewhere = [url for url in requests if url[:5] not in ("data:", "blob:") and urlsplit(url).netloc not in addresses]
    assert requests and elsewhere == []


@contextmanager
def settling(page):
    """Do something, then wait until the page shows all that it asked for."""
    before = page.evaluate("document.body?.dataset.settled")
    yield
    page.wait_for_function("before => ![undefined, before].includes(document.body.dataset.settled)", arg=before)


def pixels(page, name):
    """What a canvas shows, (H, W, 3)."""
    shape, values = page.evaluate(
        """id => {
            const canvas = document.getElementById(id);
            const { width, height } = canvas;
            return [[height, width, 4], [...canvas.getContext("2d").getImageData(0, 0, width, height).data]];
        }""",
        name,
    )
    return np.array(values, np.uint8).reshape(shape)[..., :3]


def link(page):
    """The question that the address bar holds."""
    given = {name: values[0] for name, values in parse_qs(urlsplit(page.url).fragment).items()}

    def where(text):
        return [float(x) for x in text.split("_")] if "_" in text else text if text == "above" else int(text)

    return {
        "dataset": given["data"],
        "scene": int(given["scene"]),
        "context": [where(text) for text in given["seen"].split(",")],
        "camera": where(given["camera"]),
        "seed": int(given["noise"]),
        "step": int(given["step"]),
    }


def shows_its_link(page, answers):
    """The pictures are the answer to the question in the address bar."""
    _, parts = next(answers(protocol.question(json.dumps(link(page) | {"about": "view", "id": 0}))))
    for name, part in parts.items():
        assert np.array_equal(pixels(page, name), part), name
    return link(page)


def drag(page, dx, dy):
    box = page.locator("#sample").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=5)
    page.mouse.up()


def test_dragging_moves_the_camera(opened, site, answers):
    page = opened(site)
    assert shows_its_link(page, answers)["camera"] == 2
    before = pixels(page, "truth")
    with settling(page):
        drag(page, 100, 40)
    camera = shows_its_link(page, answers)["camera"]
    start = answers._scene(TINY.data.dataset_name, 0).views.cameras.pose[2].tolist()
    side = page.locator("#sample").bounding_box()["width"]
    assert (camera[3] - start[3]) % 6.2832 == pytest.approx(100 / side * 3.1416, abs=2e-3)
    assert camera[4] == pytest.approx(start[4] - 40 / side * 3.1416 / 2, abs=2e-3)
    assert not np.array_equal(pixels(page, "truth"), before)
    page.locator("#sample").focus()
    with settling(page):
        page.keyboard.press("ArrowRight")
    turned = shows_its_link(page, answers)["camera"]
    assert 0 < (camera[3] - turned[3]) % 6.2832 < 0.5 and turned[4] == camera[4]


def test_what_the_network_has_seen_can_be_changed(opened, site, answers):
    page = opened(site)
    thumbs = page.locator(".thumb")
    assert [thumb.get_attribute("aria-pressed") for thumb in thumbs.all()] == ["true"] * 2 + ["false"] * 13
    with settling(page):
        thumbs.nth(4).click()
    assert shows_its_link(page, answers)["context"] == [0, 1, 4]
    assert "at most" in page.locator("#beyond").text_content()  # it was trained with two
    with settling(page):
        thumbs.nth(0).click()
    assert shows_its_link(page, answers)["context"] == [1, 4]
    with settling(page):
        drag(page, 60, 0)
    with settling(page):
        page.get_by_role("button", name="Show it the truth from here").click()
    asked = shows_its_link(page, answers)
    assert asked["context"] == [1, 4, asked["camera"]] and thumbs.count() == 16
    assert page.get_by_role("button", name="Show it the truth from here").is_disabled()
    with settling(page):
        thumbs.nth(15).click()
    assert shows_its_link(page, answers)["context"] == [1, 4] and thumbs.count() == 15
    with settling(page):
        page.locator(".go").nth(7).click()
    assert shows_its_link(page, answers)["camera"] == 7
    with settling(page):
        thumbs.nth(1).click()
    thumbs.nth(4).click()
    assert "one view at least" in page.locator("#status").text_content()
    assert thumbs.nth(4).get_attribute("aria-pressed") == "true"


def test_other_scenes(opened, site, answers):
    page = opened(site)
    with settling(page):
        page.get_by_role("button", name="Next scene").click()
    assert shows_its_link(page, answers)["scene"] == 1
    with settling(page):
        page.locator("#scene").fill("17")
        page.keyboard.press("Enter")
    assert shows_its_link(page, answers)["scene"] == 17
    with settling(page):
        page.locator("#dataset").select_option("mazes")
    assert shows_its_link(page, answers)["dataset"] == "mazes"
    assert "never met" in page.locator("#beyond").text_content()
    with settling(page):
        page.get_by_role("button", name="From above").click()
    assert shows_its_link(page, answers)["camera"] == "above"
    with settling(page):
        page.locator(".go").first.click()
    start = answers._scene("mazes", 17).views.cameras.pose[0]
    with settling(page):
        drag(page, 0, -60)  # walks
    walked = shows_its_link(page, answers)["camera"]
    assert walked[3] == pytest.approx(start[3].item(), abs=1e-3)
    with settling(page):
        page.get_by_role("button", name="Turn right").press("Enter")
    assert shows_its_link(page, answers)["camera"][3] < walked[3]  # anticlockwise


def test_noise_and_steps(opened, site, answers):
    page = opened(site)
    one, truth = pixels(page, "sample"), pixels(page, "truth")
    with settling(page):
        page.get_by_role("button", name="Imagine anew").click()
    shows_its_link(page, answers)
    assert not np.array_equal(pixels(page, "sample"), one) and np.array_equal(pixels(page, "truth"), truth)
    finished = pixels(page, "sample")
    with settling(page):
        page.locator("#step").fill("1")
    assert shows_its_link(page, answers)["step"] == 1 and not np.array_equal(pixels(page, "sample"), finished)
    with settling(page):
        page.locator("#step").fill("3")
    assert np.array_equal(pixels(page, "sample"), finished)
    seed = link(page)["seed"]
    with settling(page):
        drag(page, 30, 0)
    assert link(page)["seed"] == seed
    page.locator("#hold").uncheck()
    with settling(page):
        drag(page, 30, 0)
    assert link(page)["seed"] != seed


def test_samples_and_numbers(opened, site, answers):
    page = opened(site)
    surprise, *samples, summary = answers(protocol.question(json.dumps(link(page) | {"about": "samples", "id": 0})))
    assert page.locator("#samples canvas").count() == 10
    page.evaluate("[...document.querySelectorAll('#samples canvas')].forEach((c, i) => c.id = `s${i}`)")
    expected = [parts["sample"] for _, parts in samples] + [summary[1]["mean"], summary[1]["spread"]]
    assert all(np.array_equal(pixels(page, f"s{i}"), part) for i, part in enumerate(expected))
    assert page.locator("#surprise").text_content() == f"{sum(surprise[0]['kl']):.1f} nats"
    assert page.locator("#kl i").count() == TINY.model.num_steps


def test_the_map(opened, site, answers):
    page = opened(site)
    plain = pixels(page, "map")
    page.get_by_role("button", name="Predict the gain").click()
    page.wait_for_function("() => !document.getElementById('best').disabled")
    assert not np.array_equal(pixels(page, "map"), plain)
    parts = [numbers for numbers, _ in answers(protocol.question(json.dumps(link(page) | {"about": "gain", "id": 0})))]
    best = max(filter(None, parts), key=lambda part: part["gain"])
    assert page.locator("#high").text_content() == f"{best['gain']:.{3 if best['gain'] < 1 else 1}f} nats"
    with settling(page):
        page.get_by_role("button", name="Go to the best").click()
    assert shows_its_link(page, answers)["camera"] == pytest.approx(best["pose"], abs=1e-3)
    box = page.locator("#map").bounding_box()
    with settling(page):
        page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
    assert shows_its_link(page, answers)["camera"][3:] == pytest.approx([3.1416 / 2, 0], abs=0.15)


def test_a_link_shows_the_same(opened, site, answers):
    page = opened(site)
    with settling(page):
        drag(page, 77, -31)
    with settling(page):
        page.get_by_role("button", name="Show it the truth from here").click()
    with settling(page):
        drag(page, -133, 20)
    with settling(page):
        page.locator("#step").fill("2")
    again = opened(page.url)
    assert again.url == page.url and shows_its_link(again, answers) == link(page)
    assert again.locator("#step-shown").text_content() == "2 of 3"
    with settling(again):
        again.evaluate("location.hash = location.hash.replace('scene=0', 'scene=9')")
    assert shows_its_link(again, answers)["scene"] == 9


def test_a_link_to_nowhere_says_so(opened, site, answers):
    page = opened(site + "#scene=-1")
    for where in ("camera=nan", f"data={TINY.data.dataset_name}&seen=15", "data=nothing", None):
        assert "This link cannot be shown" in page.locator("#status").text_content()
        assert shows_its_link(page, answers)["scene"] == 0
        if where:
            with settling(page):
                page.evaluate("where => { location.hash = where; }", where)
    with settling(page):
        page.get_by_role("button", name="Next scene").click()
    assert page.locator("#status").text_content() == ""


def test_saving(opened, site):
    page = opened(site)
    with page.expect_download() as picture:
        page.get_by_role("button", name="Save picture").click()
    assert picture.value.suggested_filename == f"{TINY.data.dataset_name}-0.png"
    with open(picture.value.path(), "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    with page.expect_download() as film:
        page.get_by_role("button", name="Save orbit").click()
    with open(film.value.path(), "rb") as file:
        assert file.read(12)[8:] == b"WEBP"


def test_the_orbit_and_the_map_both_come_to_their_end(opened, site):
    """Whichever is asked for first: the server works on one thing in the background."""
    page = opened(site)
    for first, second in (("orbit", "gain"), ("gain", "orbit")):
        with page.expect_download():
            page.evaluate("ids => ids.forEach((id) => document.getElementById(id).click())", [first, second])
        page.wait_for_function("() => !document.getElementById('best').disabled")
        assert page.get_by_role("button", name="Save orbit").is_enabled()
        page.get_by_role("button", name="Predict the gain").click()  # off again


def test_on_a_phone(opened, site, answers):
    page = opened(site, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#sample").bounding_box()
    touch = page.context.new_cdp_session(page)

    def finger(kind, *points):
        places = [{"x": box["x"] + 100, "y": box["y"] + 200 + y} for y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    with settling(page):
        finger("touchStart", 0)
        for y in range(-10, -90, -10):  # the page would scroll
            finger("touchMove", y)
        finger("touchEnd")
    start = answers._scene(TINY.data.dataset_name, 0).views.cameras.pose[2, 4].item()
    assert shows_its_link(page, answers)["camera"][4] == pytest.approx(start + 80 / box["width"] * 3.1416 / 2, abs=0.05)


def test_stored_scenes_say_where_the_truth_is_not_known(opened, tmp_path):
    export(TINY.data.dataset_name, tmp_path, 2, 2, splits=("test",), workers=0, image_size=16)
    answers = Session("tiny", TINY, checkpoint.build(TINY).eval(), str(tmp_path))
    with serving(answers, token="secret") as server:
        page = opened(server.url)
        assert page.locator(".none").first.is_hidden()
        shows_its_link(page, answers)
        with settling(page):
            drag(page, 50, 0)
        assert page.locator(".none").first.is_visible()
        assert page.get_by_role("button", name="Show it the truth from here").is_disabled()
        shows_its_link(page, answers)
        page.context.close()

"""The viewer's server: it serves a page, and a socket for questions.

One thread does the model's work for all clients, one part of an answer at a time, in turn. It works on at most two
questions of each client, one of them in the background; of all work in the background, one part waits for its turn at a
time, so that questions in the foreground wait for no more than that. A new question replaces the one before it, and the
questions of a client that leaves are dropped.

Who may ask: a browser's page must come from this server, over http (header Origin, which browsers always send to a
socket; a program that sends none may ask, as it could send any). A server on a local address must be called by a local
name (header Host: else a page elsewhere could have its own name resolved to this machine). Any other server asks for a
token, and can be called by any name.
"""

import asyncio
import hmac
import ipaddress
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from errno import errorcode
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from gqn.errors import BadInput, short_of_memory
from gqn.runtime.console import named
from gqn.viewer import protocol
from gqn.viewer.session import PAUSE, Answer, Session

CLIENTS = 16  # most sockets at a time
CONNECTIONS = 64  # most connections of any kind at a time
SILENT = 10.0  # seconds after which an idle connection is closed
IDLE = 0.25  # seconds after the last foreground question or answer, before background work goes on
PAGE = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

log = logging.getLogger(__name__)


class Server:
    """Serves a session on one address; `async with` starts and stops it.

    Port 0 takes any free port. Unless `host` is a local address, a token is made if none is given. BadInput if it
    cannot listen.
    """

    def __init__(self, session: Session, host: str = "127.0.0.1", port: int = 0, token: str | None = None):
        self.session, self.host, self.port = session, host, port
        self.local = _is_local(host)
        self.token = token or (None if self.local else secrets.token_urlsafe(16))
        self.clients: set[web.WebSocketResponse] = set()
        self.worker, self.background = ThreadPoolExecutor(1, "model"), asyncio.Lock()
        self.files = {path: (Path(__file__).with_name(name).read_bytes(), name) for path, name in PAGE.items()}

    @property
    def url(self) -> str:
        """The page's address, token included."""
        host = socket.gethostname() if self.host in ("", "0.0.0.0", "::") else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={quote(self.token, safe='')}" if self.token else "")

    async def __aenter__(self) -> "Server":
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/socket", self._socket)
        for path in PAGE:
            app.router.add_get(path, self._file)
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self._leave)
        self.runner = web.AppRunner(app, access_log=None, keepalive_timeout=SILENT, shutdown_timeout=1)
        await self.runner.setup()
        try:
            self.listener = await asyncio.get_running_loop().create_server(self._connect, self.host, self.port)
        except (OSError, OverflowError, ValueError) as error:  # the last two: an impossible port or name
            await self.runner.cleanup()
            code: Any = getattr(error, "errno", None)
            reason = os.strerror(code) if code in errorcode else error
            advice = "choose another with `port`, or `port=0` for any that is free"
            raise BadInput(f"cannot listen on {self.host}, port {self.port} ({reason}): {advice}") from error
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self.listener.close()
        await self.runner.cleanup()
        self.worker.shutdown(cancel_futures=True)

    def _connect(self) -> asyncio.Protocol:
        """The protocol that serves a new connection; it refuses if there are too many."""
        server = self.runner.server
        assert server is not None
        return server() if len(server.connections) < CONNECTIONS else _Refusal()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.local and not _is_local(_name(request.host)):
            raise web.HTTPForbidden(text="this page is at 127.0.0.1 and at localhost only\n")
        origin = request.headers.get("Origin")
        if origin not in (None, f"http://{request.host}"):
            raise web.HTTPForbidden(text="pages from elsewhere may not ask\n")
        return await handler(request)

    async def _file(self, request: web.Request) -> web.Response:
        body, name = self.files[request.path]
        return web.Response(body=body, content_type=TYPES[Path(name).suffix], charset="utf-8")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("token", "")
        if self.token and not hmac.compare_digest(given.encode(errors="replace"), self.token.encode()):
            raise web.HTTPForbidden(text="the address lacks the right token\n")
        if len(self.clients) >= CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{CLIENTS} pages are open already\n")
        client = web.WebSocketResponse(max_msg_size=protocol.LONGEST, heartbeat=30, compress=False)
        self.clients.add(client)
        tasks: list[asyncio.Task[None]] = []
        lanes = {False: Lane(self, client), True: Lane(self, client)}
        try:
            await client.prepare(request)
            tasks = [asyncio.create_task(lanes[False].work()), asyncio.create_task(lanes[True].work(lanes[False]))]
            with suppress(ConnectionError):  # the client left
                await client.send_json(self.session.about())
                await self._listen(client, lanes)
        finally:
            self.clients.discard(client)
            for task in tasks:
                task.cancel()
        return client

    async def _listen(self, client: web.WebSocketResponse, lanes: dict[bool, "Lane"]) -> None:
        async for message in client:
            try:
                if message.type is not WSMsgType.TEXT:
                    raise BadInput("a question is text")
                question = protocol.question(message.data)
            except BadInput as error:
                await client.send_json({"error": named(error)})
            else:
                lanes[question.background].ask(question)

    async def _leave(self, app: web.Application) -> None:
        for client in list(self.clients):
            await client.close(code=WSCloseCode.GOING_AWAY)


class Lane:
    """Answers a client's newest question; the one before it is dropped after its current part."""

    def __init__(self, server: Server, client: web.WebSocketResponse):
        self.server, self.client = server, client
        self.question: protocol.Question | None = None
        self.asked = asyncio.Event()
        self.last = 0.0  # when something was asked or answered

    def ask(self, question: protocol.Question) -> None:
        """Replace the question that is being answered by a new one."""
        self.question, self.last = question, asyncio.get_running_loop().time()
        self.asked.set()

    async def work(self, first: "Lane | None" = None) -> None:
        """Answer questions for ever; with `first`, in the background: when that lane has been idle for IDLE seconds."""
        loop, turn = asyncio.get_running_loop(), self.server.background if first else nullcontext()
        with suppress(ConnectionError):  # the client left
            while True:
                await self.asked.wait()
                self.asked.clear()
                assert self.question
                question, parts = self.question, self.server.session(self.question)
                while not self.asked.is_set():
                    while first and (rest := first.last + IDLE - loop.time()) > 0:
                        await asyncio.sleep(rest)
                    async with turn:
                        message = await loop.run_in_executor(self.server.worker, self._next, question, parts)
                    if message is None:
                        break
                    if message:
                        await self.client.send_bytes(message)
                    self.last = loop.time()

    def _next(self, question: protocol.Question, parts: Iterator[Answer]) -> bytes | None:
        """As `_next`, but if there is a newer question by now, None: while it waited, this one has been replaced."""
        return None if self.asked.is_set() else _next(question, parts)


def _next(question: protocol.Question, parts: Iterator[Answer]) -> bytes | None:
    """The message with the next part of an answer, or with an error; empty at a pause, None after the last part."""
    about = {"about": question.about, "id": question.id}
    try:
        part = next(parts, None)
        if part is PAUSE:
            return b""
        return None if part is None else protocol.answer(about | part[0], part[1])
    except BadInput as error:
        return protocol.answer(about | {"error": named(error)}, {})
    except Exception as error:
        if short_of_memory(error):
            return protocol.answer(about | {"error": "the server has too little memory for this question"}, {})
        log.exception("while answering %s", question)
        return protocol.answer(about | {"error": "the server failed; its window says how"}, {})


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.abort()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _name(host: str) -> str:
    """The host name in a Host header, without the port; empty if it is not valid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(server: Server, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the address."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError):  # on Windows, or in a thread: the caller stops it
            loop.add_signal_handler(signum, stop.set)
    try:
        async with server:
            ready(server.url)
            await stop.wait()
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError):
                loop.remove_signal_handler(signum)

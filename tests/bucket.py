"""A server on this machine that behaves like the public bucket, and can be told to misbehave."""

import base64
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google_crc32c import Checksum

from support import made_record


class Bucket:
    """Serves the files of a folder. `faults` maps a path to what is done at its next requests, one after another:
    a status code, "cut" (half of what was asked for), "wrong" (bytes that the checksum does not match),
    "no ranges" (the whole file whatever was asked for), "no length".
    """

    def __init__(self, root):
        self.root, self.faults, self.asked = root, {}, []
        self.lists = False  # folders, as a plain file server does
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                bucket.answer(self)

            do_HEAD = do_GET

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request):
        path = request.path.strip("/")
        wanted = re.match(r"bytes=(\d+)-", request.headers["Range"] or "")
        start = int(wanted[1]) if wanted else 0
        self.asked.append((request.command, path, start))
        file = self.root / path
        faults = self.faults.get(path, [])
        fault = faults.pop(0) if faults and request.command == "GET" else None
        if isinstance(fault, int):
            return request.send_error(fault)
        if self.lists and file.is_dir():
            page = "".join(f'<a href="{p.name}">{p.name}</a>' for p in file.iterdir()).encode()
            request.send_response(200)
            request.send_header("Content-Length", str(len(page)))
            request.end_headers()
            return request.wfile.write(page)
        if not file.is_file():
            return request.send_error(404)
        content = file.read_bytes()
        checksum = base64.b64encode(Checksum(content).digest()).decode()
        if start and start >= len(content):
            return request.send_error(416)
        if fault == "no ranges":
            start = 0
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault != "no length":
            request.send_header("Content-Length", str(len(body)))
        request.send_header("x-goog-hash", f"crc32c={checksum}")
        request.send_header("x-goog-hash", "md5=AAAA")
        request.end_headers()
        if request.command == "HEAD":
            return None
        if fault == "cut":
            body = body[: len(body) // 2]
        if fault == "wrong":
            body = bytes(len(body))
        return request.wfile.write(body)

    def gets(self, end=""):
        """(path, first byte) of what was asked for so far, of paths that end so."""
        return [(path, start) for command, path, start in self.asked if command == "GET" and path.endswith(end)]


@contextmanager
def serving(root):
    """A bucket while it runs."""
    bucket = Bucket(root)
    thread = threading.Thread(target=bucket.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        bucket.server.shutdown()
        bucket.server.server_close()


NAME = "shepard_metzler_5_parts"
SIZES = (2, 3, 4, 2, 3, 4, 2, 3, 4, 2)
SCENES = sum(SIZES)
WHICH = {tuple(made_record(3, i)[1][k].tolist()): i for i in range(SCENES) for k in range(3)}
TRAIN = f"{NAME}/train"

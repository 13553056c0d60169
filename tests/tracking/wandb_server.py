"""A server that speaks enough of wandb's protocol to begin a run, and then may fall silent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = {"id": "e", "name": "e"}
PROJECT = {"id": "p", "name": "p", "entity": ENTITY}
BUCKET = {"id": "b", "name": "r", "displayName": "r", "config": "{}", "sweepName": None,
          "description": None, "project": PROJECT, "historyLineCount": 0}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "UpsertBucket": {"upsertBucket": {"bucket": BUCKET, "inserted": True}},
    "ResumeStatus": {"model": {**PROJECT, "bucket": None}},
    "Viewer": {"viewer": {"id": "v", "flags": "{}", "entity": "e", "username": "u",
                          "teams": {"edges": []}}},
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """`silent` set: requests are taken and never answered. `seen` are the bodies it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.silent, self.over = threading.Event(), threading.Event()
        self.seen: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(body)
        if self.server.silent.is_set():
            self.server.over.wait(60)
            return
        data: dict[str, Any] = {}
        if self.path == "/graphql":
            query = json.loads(body)["query"]
            data = {"data": next((a for n, a in ANSWERS.items() if n in query), {})}
        text = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine for as long as the block lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()

"""A server of chat completions on this machine that fails by a plan.

    with chatting(plan) as server:  # plan(key, attempt): the name of a fault, or ""
        complete(Server(model="m", base_url=server.url), ...)

The key of a request is the text of its last message. A handler of `FAULTS` writes the reply.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Plan = Callable[[str, int], str]
MODELS = ("tiny", "tiny-instruct")


def healthy(key: str, attempt: int) -> str:
    return ""


class ChatServer(ThreadingHTTPServer):
    """`bodies` and `headers` of all that it was asked; `most` requests were open at once.

    What a reply says is in `said`: (reasoning, content, finish_reason) of a body.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, plan: Plan) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan, self.over, self.lock = plan, threading.Event(), threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.attempts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.open = self.most = 0
        self.linger = 0.0  # seconds that each request takes
        self.late: Callable[[dict[str, Any]], None] = lambda body: None  # when it will never end
        self.thought = "reasoning_content"  # the name of the field
        self.said: Callable[[dict[str, Any]], tuple[str | None, str, str]] = echo

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave when they like."""


def echo(body: dict[str, Any]) -> tuple[str | None, str, str]:
    """A thought and an answer that tell of the request; no thought where thinking is off."""
    key = body["messages"][-1]["content"]
    thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
    return (f"\nabout {key}\n" if thinks else None), f"\n\nanswer to {key}", "stop"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True  # else a reply in two parts takes 40 ms

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": [{"id": m, "object": "model"} for m in MODELS]})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = body["messages"][-1]["content"]
        with server.lock:
            server.bodies.append(body)
            server.headers.append({k.lower(): v for k, v in self.headers.items()})
            server.attempts[key] += 1
            attempt = server.attempts[key]
            server.open += 1
            server.most = max(server.most, server.open)
        self.counted = True
        time.sleep(server.linger)
        FAULTS[server.plan(key, attempt)](self, key, body)
        self.leave()

    def leave(self) -> None:
        """The request is no longer open; said before the last byte goes out."""
        if self.counted:
            self.counted = False
            with self.server.lock:
                self.server.open -= 1

    def send(self, status: int, reply: Any, **headers: str) -> None:
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        self.leave()
        self.send(status, {"error": {"message": message, "code": code}}, **headers)

    def chunks(self, key: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        thought, content, finish = self.server.said(body)
        pieces = [{"role": "assistant", "content": ""}]
        pieces += [{self.server.thought: p} for p in re.findall(r"(?s).{1,7}", thought or "")]
        pieces += [{"content": p} for p in re.findall(r"(?s).{1,7}", content)]
        chunks = [{"model": "tiny-0", "choices": [{"delta": p, "finish_reason": None}]}
                  for p in pieces]  # fmt: skip
        chunks.append({"model": "tiny-0", "choices": [{"delta": {}, "finish_reason": finish}]})
        if body.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 3, "completion_tokens": len(content)}
            chunks.append({"model": "tiny-0", "choices": [], "usage": usage})
        return chunks

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        thought, content, finish = self.server.said(body)
        message = {"role": "assistant", "content": content, self.server.thought: thought}
        usage = {"prompt_tokens": 3, "completion_tokens": len(content)}
        return {"model": "tiny-0", "usage": usage,
                "choices": [{"message": message, "finish_reason": finish}]}  # fmt: skip

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def answer(self, key: str, body: dict[str, Any], pause: float = 0.0) -> None:
        if not body["stream"]:
            self.leave()
            self.send(200, self.whole(body))
        else:
            self.begin_stream()
            for chunk in self.chunks(key, body):
                self.event(json.dumps(chunk))
                time.sleep(pause)
            self.leave()
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        with self.server.lock:
            self.server.answered[key] += 1

    def cut(self, key: str, body: dict[str, Any]) -> None:
        """Half of the reply, then the connection closes."""
        if body["stream"]:
            self.begin_stream()
            chunks = self.chunks(key, body)
            for chunk in chunks[: len(chunks) // 2]:
                self.event(json.dumps(chunk))
        else:
            data = json.dumps(self.whole(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def short(self, key: str, body: dict[str, Any]) -> None:
        """A stream that ends in good order, before the response does."""
        if not body["stream"]:
            return self.empty(key, body)
        self.begin_stream()
        self.event(json.dumps(self.chunks(key, body)[1]))
        self.wfile.write(b"0\r\n\r\n")
        return None

    def garbage(self, key: str, body: dict[str, Any]) -> None:
        if body["stream"]:
            self.begin_stream()
            self.event('{"choices": [{"delta": {"con')
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send(200, b"\xff\xfe{not json")

    def empty(self, key: str, body: dict[str, Any]) -> None:
        if body["stream"]:
            self.begin_stream()
            self.event(json.dumps({"choices": []}))
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send(200, {"choices": []})

    def trouble(self, key: str, body: dict[str, Any]) -> None:
        """An error in place of a reply, behind a status of 200."""
        reply = {"error": {"message": "out of memory", "code": 503}}
        if body["stream"]:
            self.begin_stream()
            self.event(json.dumps(reply))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send(200, reply)

    def reset(self, key: str, body: dict[str, Any]) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def hang(self, key: str, body: dict[str, Any]) -> None:
        self.server.late(body)
        self.server.over.wait(30)
        self.close_connection = True

    def stall(self, key: str, body: dict[str, Any]) -> None:
        """A stream that goes on and on."""
        self.begin_stream()
        chunk = json.dumps(self.chunks(key, body)[1])
        self.event(chunk)
        self.server.late(body)
        while not self.server.over.wait(0.1):  # who leaves makes it an error to write
            self.event(chunk)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


FAULTS: dict[str, Callable[[_Handler, str, dict[str, Any]], None]] = {
    "": _Handler.answer,
    "slow": lambda h, key, body: h.answer(key, body, 0.005),
    "500": lambda h, key, body: h.fail(500, "internal error"),
    "503": lambda h, key, body: h.fail(503, "loading", Retry_After="0.01"),
    "429": lambda h, key, body: h.fail(429, "slow down", Retry_After="0.01"),
    "reset_in": lambda h, key, body: h.fail(429, "slow down", x_ratelimit_reset_requests="9ms"),
    "day": lambda h, key, body: h.fail(429, "enough for today", Retry_After="86400"),
    "400": lambda h, key, body: h.fail(400, "the prompt is too long"),
    "401": lambda h, key, body: h.fail(401, f"wrong key: {h.headers['Authorization']}"),
    "402": lambda h, key, body: h.fail(402, "insufficient balance"),
    "403": lambda h, key, body: h.fail(403, "not for you"),
    "404": lambda h, key, body: h.fail(404, f"The model `{body['model']}` does not exist."),
    "quota": lambda h, key, body: h.fail(429, "you are out of credit", "insufficient_quota"),
    "filter": lambda h, key, body: h.fail(400, "against the policy", "content_filter"),
    "cut": _Handler.cut, "short": _Handler.short, "garbage": _Handler.garbage,
    "empty": _Handler.empty, "trouble": _Handler.trouble, "reset": _Handler.reset,
    "hang": _Handler.hang, "stall": _Handler.stall,
}  # fmt: skip
PASSING = ("500", "503", "429", "reset_in", "cut", "short", "garbage", "empty", "trouble", "reset",
           "slow")  # fmt: skip


@contextmanager
def chatting(plan: Plan = healthy) -> Iterator[ChatServer]:
    """A server of chat completions for as long as the block lasts."""
    server = ChatServer(plan)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()

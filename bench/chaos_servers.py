"""Servers for bench/chaos.py, on the loopback interface: a teacher that counts, an S3 store, and a proxy that fails."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from teacher.engines.openai.engine import SAMPLE_QUESTION

ANSWER_SECONDS = 0.02  # so that a kill hits a teacher that is answering
PROXY_DELAY = 0.05
PAGE = 5  # names that a page of a listing has at most, so that listings have several
# An error, no answer, a late one; half of its body, of a declared length or until the connection is closed.
FAULTS = ("500", "503", "reset", "late", "cut", "short")


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *args: Any) -> None:
        """Clients are killed in the middle of a request here."""


class CountingTeacher(QuietServer):
    """Answers each pair of image and question always alike, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.answering = threading.Event()  # not set: questions are counted, and wait for their answer
        self.answering.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def total(self) -> int:
        with self.lock:
            return self.asked.total()


class ChatHandler(BaseHTTPRequestHandler):
    server: CountingTeacher
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "counting", "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = next(message["content"] for message in request["messages"] if message["role"] == "user")
        image = next(part["image_url"]["url"] for part in content if part["type"] == "image_url")
        text = next(part["text"] for part in content if part["type"] == "text")
        pair = hashlib.sha256(base64.b64decode(image.partition(",")[2]) + text.encode()).hexdigest()
        if SAMPLE_QUESTION not in text:  # asked at every start, about an image of the engine's own
            with self.server.lock:
                self.server.asked[pair] += 1
            self.server.answering.wait()
            time.sleep(ANSWER_SECONDS)
        p_yes = (1 + int(pair[:4], 16)) / 70_000
        tokens = [("Yes", math.log(0.98 * p_yes)), ("No", math.log(0.98 * (1 - p_yes)))]
        top = [{"token": token, "logprob": logprob, "bytes": list(token.encode())} for token, logprob in tokens]
        choice = {
            "index": 0,
            "finish_reason": "length",
            "message": {"role": "assistant", "content": "Yes"},
            "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
        }
        document = {"id": "1", "object": "chat.completion", "created": 0, "model": "counting", "choices": [choice]}
        self._send(document)

    def _send(self, document: Mapping[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class FaultyProxy(QuietServer):
    """Passes requests on to an S3 server, but for a share `faults` of them: refused, broken off, or late.

    `failed` counts those, by kind of fault and request.
    """

    def __init__(self, upstream: str, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.upstream = upstream
        self.faults = 0.0
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.failed: Counter[str] = Counter()
        self._shards_taken: int | None = None  # how many more of them; None: all

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def refusing(self, after: int) -> Iterator[None]:
        """Within it `after` shards are written, and nothing else once they are there."""
        self._shards_taken = after
        try:
            yield
        finally:
            self._shards_taken = None

    def refuses(self, method: str, path: str) -> bool:
        with self.lock:
            if method != "PUT" or self._shards_taken is None:
                return False
            if self._shards_taken == 0:
                return True
            self._shards_taken -= ".parquet" in path
            return False

    def fault(self, request: str) -> str | None:
        with self.lock:
            if self.random.random() >= self.faults:
                return None
            fault = self.random.choice(FAULTS)
            self.failed[f"{fault} {request}"] += 1
            return fault


class ProxyHandler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self._body()
        if self.server.refuses(self.command, self.path):
            self._reply(403, [], b"<Error><Code>AccessDenied</Code><Message>read-only for now</Message></Error>")
            return
        lists = "list-type=2" in self.path
        fault = self.server.fault("list" if lists else self.command)
        if fault in ("500", "503"):
            self._reply(int(fault), [], b"<Error><Code>InternalError</Code><Message>at random</Message></Error>")
            return
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if fault == "late":
            time.sleep(PROXY_DELAY)
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        path = re.sub(r"max-keys=\d+", f"max-keys={PAGE}", self.path)
        connection.request(self.command, path, body, {**headers, "Content-Length": str(len(body))})
        answer = connection.getresponse()
        self._reply(answer.status, answer.getheaders(), answer.read(), fault)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, status: int, headers: list[tuple[str, str]], data: bytes, fault: str | None = None) -> None:
        self.send_response_only(status)
        declared = "0"
        for name, value in headers:
            if name.lower() == "content-length":
                declared = value
            elif name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        if fault in ("cut", "short") and self.command != "HEAD":
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        if fault != "short" or self.command == "HEAD":
            # The answer to HEAD has the length of what it does not send.
            self.send_header("Content-Length", declared if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if fault in ("cut", "short") else data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(server: QuietServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def s3_server() -> Iterator[str]:
    """HOST:PORT of moto's S3 server, with the bucket `chaos` in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        from pyarrow import fs

        os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_REGION="us-east-1")
        where = f"127.0.0.1:{port}"
        fs.S3FileSystem(endpoint_override=where, scheme="http", allow_bucket_creation=True).create_dir("chaos")
        yield where
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("error: the S3 server (python -m moto.server) does not start; install moto[s3]")
            time.sleep(0.1)

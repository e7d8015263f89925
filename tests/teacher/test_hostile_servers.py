"""A server that lies, sends too much, too slowly or elsewhere, or repeats the key: one line each, in little time."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import math
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from PIL import Image

from teacher.engines.base import TeacherPaused, TeacherUnreachable
from teacher.engines.config import TeacherConfig, TeacherInvalid, resolve_served
from teacher.engines.openai.engine import OpenAIEngine
from teacher.engines.openai.transport import LARGEST_BODY
from teacher.engines.openai.writer import OpenAIWriter
from teacher.engines.options import EngineOptions
from teacher.engines.writer import WritingRequest
from tests.teacher.servers import Reply, ScriptedServer, chat_reply, failure, scripted_server

TEACHER = resolve_served(TeacherConfig(model="tiny", max_pixels=None))
IMAGES = [Image.new("RGB", (8, 8), "red")]
KEY = "sk-0123456789abcdef-very-secret"
TOKENS = [
    {"token": "Yes", "logprob": math.log(0.7), "bytes": None},
    {"token": "No", "logprob": math.log(0.2), "bytes": None},
]
GOOD = chat_reply("Yes", logprobs={"content": [{**TOKENS[0], "top_logprobs": TOKENS}]}, finish_reason="length")


def listing(**changed: Any) -> Reply:
    """A good reply but for fields of its second listed token."""
    tokens = [TOKENS[0], {**TOKENS[1], **changed}]
    return chat_reply("Yes", logprobs={"content": [{**TOKENS[0], "top_logprobs": tokens}]})


def with_field(name: str, value: Any) -> Reply:
    return 200, {}, {**GOOD[2], name: value}


LIES: dict[str, Reply] = {
    "no JSON": (200, {}, "Hello \x1b[31mworld"),
    "half of it": (200, {}, json.dumps(GOOD[2])[:80]),
    "nothing": (200, {}, ""),
    "null": (200, {}, None),
    "a list": (200, {}, [1, 2]),
    "too deep": (200, {}, "[" * 100_000),
    "no choices": (200, {}, {"object": "chat.completion"}),
    "an error": (200, {}, {"error": {"message": "busy"}}),
    "choices of strings": with_field("choices", ["Yes"]),
    "empty choices": with_field("choices", []),
    "null choices": with_field("choices", None),
    "choices of null": with_field("choices", [None]),
    "text that is a number": chat_reply("Yes", message={"content": 5}),
    "logprobs of strings": chat_reply("Yes", logprobs="none"),
    "a logprob of text": listing(logprob="-0.5"),
    "a logprob of null": listing(logprob=None),
    "a logprob of NaN": listing(logprob=math.nan),
    "a logprob above 0": listing(logprob=0.5),
    "a token that is a number": listing(token=7),
    "bytes that are none": listing(bytes=[300]),
    "probabilities above 1": listing(logprob=math.log(0.9)),
    "usage of strings": with_field("usage", {"prompt_tokens": "12"}),
    "usage below 0": with_field("usage", {"prompt_tokens": -12}),
    "a huge body": (200, {}, " " * (LARGEST_BODY + 1) + json.dumps(GOOD[2])),
    "an unknown encoding": (200, {"Content-Encoding": "br"}, "abc"),
    "not zipped": (200, {"Content-Encoding": "gzip"}, "abc"),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("teacher.engines.openai.client.FIRST_WAIT", 0.01)
    with scripted_server(lambda request: GOOD) as server:
        yield server


def load(url: str, **options: Any) -> contextlib.closing[OpenAIEngine]:
    return contextlib.closing(OpenAIEngine(TEACHER, EngineOptions(base_url=url, **options)))


def ask(url: str, **options: Any) -> None:
    with load(url, **options) as engine:
        engine.answer(IMAGES, ["Is it red?"])


def is_one_line(error: BaseException) -> bool:
    return len(str(error)) < 700 and str(error).isprintable()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_the_servers_fault(server: ScriptedServer, lie: str) -> None:
    with load(server.url) as engine:
        server.reply = lambda request: LIES[lie]
        with pytest.raises(
            TeacherUnreachable, match=r"model tiny at http.* gave no answer in up to 3 attempts"
        ) as passing:
            engine.answer(IMAGES, ["Is it red?"])
    with pytest.raises(TeacherInvalid, match="no server of chat completions") as lasting:
        load(server.url)
    assert is_one_line(passing.value)
    assert is_one_line(lasting.value)
    assert len(server.requests) == 1 + 3 + 1


def test_a_lie_that_passes_costs_nothing(server: ScriptedServer) -> None:
    with load(server.url) as engine:
        replies = itertools.chain([LIES["no JSON"], LIES["empty choices"]], itertools.repeat(GOOD))
        server.reply = lambda request: next(replies)
        yes, _ = engine.answer(IMAGES, ["Is it red?"])
    assert float(yes[0, 0]) == pytest.approx(math.log(0.7))


def test_a_server_without_log_probabilities_any_more_is_out_of_order(server: ScriptedServer) -> None:
    with load(server.url) as engine:
        server.reply = lambda request: chat_reply("Yes", finish_reason="stop")
        with pytest.raises(TeacherUnreachable, match="returns no log-probabilities any more"):
            engine.answer(IMAGES, ["Is it red?"])


def test_a_writer_is_lied_to_as_well(server: ScriptedServer) -> None:
    server.reply = lambda request: LIES["choices of strings"]
    request = WritingRequest(prompt="Write.", schema={}, length=10)
    writer = OpenAIWriter(TEACHER, EngineOptions(base_url=server.url))
    with contextlib.closing(writer), pytest.raises(TeacherInvalid, match=r"choices\.0: .*not 'Yes'"):
        writer.write(request)


def test_a_zipped_reply_is_read(server: ScriptedServer) -> None:
    with raw_server(zipped(json.dumps(GOOD[2]).encode())) as url:
        ask(url)


def zipped(data: bytes) -> Callable[[Any], None]:
    packed = gzip.compress(data)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    return lambda send: send(head + packed)


def endless(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def trickle(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(100):
        send(b" ")
        time.sleep(0.1)


def headers_without_end(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    while True:
        send(b"X-More: " + b"x" * 1000 + b"\r\n")


@contextmanager
def raw_server(reply: Callable[[Any], None]) -> Iterator[str]:
    """A server that sends what `reply` sends, whatever it is asked."""

    class Raw(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(1 << 16)
                reply(self.request.sendall)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Raw) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (endless, "larger than 4 MB"),
        (zipped(b" " * (LARGEST_BODY * 5)), "larger than 4 MB"),
        (trickle, r"timed out after 0\.4 s"),
        (headers_without_end, "no server at"),
    ],
)
def test_a_reply_without_end_is_cut(reply: Callable[[Any], None], reason: str) -> None:
    started = time.monotonic()
    with raw_server(reply) as url, pytest.raises(TeacherInvalid, match=reason) as caught:
        load(url, timeout=0.4)
    assert time.monotonic() - started < 5
    assert is_one_line(caught.value)


def hung_up(request: Mapping[str, Any]) -> Reply:
    raise ConnectionResetError


@pytest.mark.parametrize(
    "reply",
    [
        hung_up,
        lambda request: (200, {"Content-Length": "100000", "Connection": "close"}, "a part"),
        lambda request: (200, {"X-Long": "x" * 10_000_000}, "a head that is too long"),
    ],
    ids=["hangs up", "ends within the body", "too large a head"],
)
def test_a_server_that_breaks_the_first_connections_is_given_up_soon(
    server: ScriptedServer, reply: Callable[[Mapping[str, Any]], Reply]
) -> None:
    server.reply = reply
    with pytest.raises(TeacherUnreachable, match="gave no answer in up to 3 attempts") as caught:
        load(server.url)
    assert len(server.requests) == 3
    assert is_one_line(caught.value)


def test_a_connection_that_breaks_later_is_tried_again(server: ScriptedServer) -> None:
    with load(server.url) as engine:
        server.requests.clear()
        server.reply = lambda request: GOOD if len(server.requests) > 5 else hung_up(request)
        engine.answer(IMAGES, ["Is it red?"])
    assert len(server.requests) == 6


def test_a_reply_that_trickles_has_one_deadline(server: ScriptedServer) -> None:
    def slowly(request: Mapping[str, Any]) -> Reply:
        time.sleep(0.6)
        return GOOD

    with load(server.url, timeout=0.3) as engine:
        server.reply = slowly
        started = time.monotonic()
        with pytest.raises(TeacherUnreachable, match=r"in up to 2 attempts \(timed out after 0\.3 s\)"):
            engine.answer(IMAGES, ["Is it red?"])
    assert time.monotonic() - started < 3


LATER = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)


@pytest.mark.parametrize("promise", ["3600", "1e30", LATER], ids=["seconds", "ages", "a date"])
def test_a_long_pause_ends_the_run_at_once(server: ScriptedServer, promise: str) -> None:
    with load(server.url) as engine:
        server.requests.clear()
        server.reply = lambda request: failure(429, "quota used up", **{"Retry-After": promise})
        with pytest.raises(TeacherPaused, match=r"accepts no requests for another \d+ s \(quota used up\)"):
            engine.answer(IMAGES, ["Is it red?"])
    assert len(server.requests) == 1


@pytest.mark.parametrize("promise", ["-5", "nan", "inf", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", ""])
def test_a_pause_that_makes_no_sense_is_left_alone(server: ScriptedServer, promise: str) -> None:
    with load(server.url) as engine:
        replies = iter([failure(429, **{"Retry-After": promise}), GOOD])
        server.reply = lambda request: next(replies)
        engine.answer(IMAGES, ["Is it red?"])


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense"])
def test_no_proxy_is_asked_about_a_server_of_this_machine(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
        monkeypatch.setenv(name.upper(), proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ask(server.url)

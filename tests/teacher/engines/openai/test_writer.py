"""A language model that writes on a server: vLLM's own with gibberish to a schema, a scripted one for the rest."""

from __future__ import annotations

import contextlib
import io
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from PIL import Image

from teacher.engines.base import TeacherUnreachable
from teacher.engines.config import TeacherConfig, TeacherInvalid, resolve_served
from teacher.engines.openai.writer import OpenAIWriter
from teacher.engines.options import EngineOptions
from teacher.engines.writer import TEMPERATURE, WritingRequest
from teacher.questions.candidates import reply_schema
from tests.teacher.servers import Reply, ScriptedServer, chat_reply, failure, scripted_server, vllm_serve
from tests.teacher.text_model import MAX_LENGTH, build_text_model
from tests.teacher.writer_contract import WriterContract

TEACHER = resolve_served(TeacherConfig(model="gibberish"))
IMAGES = [Image.new("RGB", (32, 24), color) for color in ("red", "blue")]
REQUEST = WritingRequest(prompt="Write.", schema=reply_schema(2), length=300, seed=5, images=IMAGES)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIWriter]:
    folder = tmp_path_factory.mktemp("served")
    with (
        vllm_serve(build_text_model(folder / "model"), "gibberish", MAX_LENGTH, folder / "server.log") as address,
        contextlib.closing(OpenAIWriter(TEACHER, EngineOptions(base_url=address))) as writer,
    ):
        yield writer


@pytest.mark.slow  # a server of vLLM is started
class TestOpenAIWriter(WriterContract):
    pass


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server(lambda request: chat_reply("{}")) as server:
        yield server


def load(server: ScriptedServer, **options: Any) -> contextlib.closing[OpenAIWriter]:
    return contextlib.closing(OpenAIWriter(TEACHER, EngineOptions(base_url=server.url, **options)))


def kinds(request: Mapping[str, Any]) -> list[str]:
    return [part["type"] for part in request["messages"][0]["content"]]


def test_a_request_holds_images_prompt_and_schema(server: ScriptedServer) -> None:
    with load(server, arguments={"temperature": 1, "user": "me"}) as writer:
        reply = writer.write(REQUEST)
    assert (reply.text, reply.cut, reply.saw_images) == ("{}", False, True)
    (request,) = server.requests
    *images, prompt = request["messages"][0]["content"]
    decoded = [Image.open(io.BytesIO(b64decode(part["image_url"]["url"].split(",")[1]))) for part in images]
    assert [image.getpixel((0, 0)) for image in decoded] == [(255, 0, 0), (0, 0, 255)]
    assert prompt == {"type": "text", "text": "Write."}
    assert {name: value for name, value in request.items() if name != "messages"} == {
        "model": "gibberish",
        "max_tokens": 300,
        "seed": 5,
        "temperature": 1,
        "user": "me",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "questions", "schema": reply_schema(2), "strict": True},
        },
    }


def test_requests_have_the_default_temperature(server: ScriptedServer) -> None:
    with load(server) as writer:
        writer.write(REQUEST)
    assert server.requests[0]["temperature"] == TEMPERATURE


def test_images_that_are_refused_are_sent_once(server: ScriptedServer) -> None:
    def text_only(request: Mapping[str, Any]) -> Reply:
        return failure(400, "no images here") if "image_url" in kinds(request) else chat_reply("{}")

    server.reply = text_only
    with load(server) as writer:
        assert not writer.write(REQUEST).saw_images
        before = len(server.requests)
        assert not writer.write(REQUEST).saw_images
    assert [kinds(request) for request in server.requests[before:]] == [["text"]]


def test_a_request_refused_without_images_too_is_an_error(server: ScriptedServer) -> None:
    server.reply = lambda request: failure(400, "response_format is unknown")
    with load(server) as writer, pytest.raises(TeacherInvalid, match=r"refuses to write \(response_format is unknown"):
        writer.write(REQUEST)


@pytest.mark.parametrize(
    ("reply", "text", "cut"),
    [
        (chat_reply('{"quest', finish_reason="length"), '{"quest', True),
        (chat_reply(None, message={"role": "assistant", "content": None, "refusal": "I won't."}), "I won't.", False),
        (chat_reply(None), "", False),
    ],
)
def test_answers_that_are_no_answers(server: ScriptedServer, reply: Reply, text: str, cut: bool) -> None:
    server.reply = lambda request: reply
    with load(server) as writer:
        written = writer.write(REQUEST)
    assert (written.text, written.cut) == (text, cut)


def test_failures_are_those_of_every_server(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    with load(server, max_retries=0, api_key_variable="MY_KEY") as writer:
        server.reply = lambda request: failure(500, "out of order")
        with pytest.raises(TeacherUnreachable, match="out of order"):
            writer.write(REQUEST)
        server.reply = lambda request: failure(401, "no such key")
        with pytest.raises(TeacherInvalid, match="environment variable MY_KEY"):
            writer.write(REQUEST)
    assert set(server.keys) == {"Bearer secret"}


def test_a_wrong_address_shows_at_once() -> None:
    with pytest.raises(TeacherInvalid, match=r"no server at http://127\.0\.0\.1:9/v1"):
        OpenAIWriter(TEACHER, EngineOptions(base_url="http://127.0.0.1:9/v1"))

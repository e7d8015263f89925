"""The engine for served teachers with a scripted server: requests, retries and errors."""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import threading
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from teacher.engines.base import ImageRefused, TeacherUnreachable
from teacher.engines.config import TeacherConfig, TeacherInvalid, resolve_served
from teacher.engines.openai.engine import SAMPLE_QUESTION, OpenAIEngine
from teacher.engines.options import EngineOptions
from tests.teacher.contract import QUESTIONS, sample_images
from tests.teacher.servers import Reply, ScriptedServer, chat_reply, failure, scripted_server

CONFIG = TeacherConfig(model="tiny", max_pixels=None)
TEACHER = resolve_served(CONFIG)
IMAGES = [Image.new("RGB", (64, 64), color) for color in ("red", "green", "blue")]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server(lambda request: completion({"Yes": 0.7, "No": 0.2})) as server:
        yield server


def load(server: ScriptedServer, **options: Any) -> contextlib.closing[OpenAIEngine]:
    return contextlib.closing(OpenAIEngine(TEACHER, EngineOptions(base_url=server.url, **options)))


def completion(probabilities: Mapping[str, float] | None, **choice: Any) -> Reply:
    """A chat completion whose first token has these likeliest tokens; None: one without log-probabilities."""
    logprobs = None
    if probabilities is not None:
        listed = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in probabilities.items()]
        logprobs = {"content": [{**listed[0], "top_logprobs": listed}], "refusal": None}
    return chat_reply("Yes", logprobs=logprobs, **{"finish_reason": "length", **choice})


def question_of(request: Mapping[str, Any]) -> str:
    return str(request["messages"][0]["content"][1]["text"])


def image_of(request: Mapping[str, Any]) -> Image.Image:
    kind, data = request["messages"][0]["content"][0]["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(b64decode(data)))


def test_a_request_holds_the_image_and_then_the_question(server: ScriptedServer) -> None:
    image = sample_images()[1]
    with load(server, top_logprobs=5, arguments={"seed": 7}) as engine:
        yes, no = engine.answer([image], ["Is it red?"])
    assert (float(yes[0, 0]), float(no[0, 0])) == pytest.approx((math.log(0.7), math.log(0.2)))
    sample, request = server.requests
    assert SAMPLE_QUESTION in question_of(sample)
    np.testing.assert_array_equal(np.asarray(image_of(request)), np.asarray(image))
    assert question_of(request) == CONFIG.message("Is it red?")
    assert [part["type"] for part in request["messages"][0]["content"]] == ["image_url", "text"]
    expected = {"model": "tiny", "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 5, "seed": 7}
    assert {name: value for name, value in request.items() if name != "messages"} == expected


def test_images_are_asked_about_one_after_the_other(server: ScriptedServer) -> None:
    with load(server, concurrency=1) as engine:
        engine.answer(IMAGES, QUESTIONS)
    colors = [image_of(request).getpixel((0, 0)) for request in server.requests[1:]]
    expected = [image.getpixel((0, 0)) for image in IMAGES]
    assert colors == expected + [color for color in expected for _ in QUESTIONS[1:]]


def test_concurrent_requests_are_limited(server: ScriptedServer) -> None:
    full = threading.Event()

    def slowly(request: Mapping[str, Any]) -> Reply:
        if server.most_at_once >= 4:
            full.set()
        assert full.wait(timeout=60)
        time.sleep(0.01)  # for a fifth to arrive
        return completion({"Yes": 0.7, "No": 0.2})

    with load(server, concurrency=4) as engine:
        server.reply = slowly
        engine.answer(IMAGES * 3, QUESTIONS)
    assert server.most_at_once == 4


@pytest.mark.parametrize("transient", [failure(429, **{"Retry-After": "1"}), failure(500), failure(503)])
def test_transient_errors_are_retried_by_the_client(server: ScriptedServer, transient: Reply) -> None:
    with load(server) as engine:
        replies = iter([transient, failure(500), completion({"Yes": 0.5, "No": 0.4})])
        server.reply = lambda request: next(replies)
        started = time.monotonic()
        yes, _ = engine.answer(IMAGES[:1], ["Is it red?"])
    assert float(yes[0, 0]) == pytest.approx(math.log(0.5))
    if "Retry-After" in transient[1]:
        assert time.monotonic() - started >= 1


@pytest.mark.parametrize("state", [429, 500])
def test_persistent_server_errors_can_be_retried_by_the_flow(server: ScriptedServer, state: int) -> None:
    with load(server, max_retries=1) as engine:
        server.reply = lambda request: failure(state, "too much at once")
        with pytest.raises(TeacherUnreachable, match=r"in up to 2 attempts \(too much at once\)") as caught:
            engine.answer(IMAGES[:1], ["Is it red?"])
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        server.reply = lambda request: completion({"Yes": 0.5, "No": 0.4})
        engine.answer(IMAGES, QUESTIONS)
    assert len(server.requests) == 1 + 2 + len(IMAGES) * len(QUESTIONS)


def test_time_outs_can_be_retried_by_the_flow(server: ScriptedServer) -> None:
    def late(request: Mapping[str, Any]) -> Reply:
        time.sleep(0.5)
        return failure(500)

    with load(server, max_retries=0, timeout=0.2) as engine:
        server.reply = late
        with pytest.raises(TeacherUnreachable, match="timed out"):
            engine.answer(IMAGES[:1], ["Is it red?"])


def test_a_key_comes_from_the_environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    with load(server, api_key_variable="MY_KEY"):
        assert server.keys == ["Bearer secret"]


def test_a_key_that_is_refused_is_not_shown(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    server.reply = lambda request: failure(401, "no such key: secret")
    with pytest.raises(TeacherInvalid, match="environment variable MY_KEY") as caught:
        load(server, api_key_variable="MY_KEY")
    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "set EngineOptions.base_url"),
        ("localhost:8000/v1", "set EngineOptions.base_url"),
        ("http://127.0.0.1:9/v1", r"no server at http://127\.0\.0\.1:9/v1 .*check --base-url"),
        ("http://nowhere.invalid/v1", r"no server at http://nowhere\.invalid/v1"),
    ],
)
def test_a_wrong_address_shows_at_once(url: str | None, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(TeacherInvalid, match=reason):
        OpenAIEngine(TEACHER, EngineOptions(base_url=url))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (completion(None), "returns no log-probabilities"),
        ((200, {}, "<html>Welcome</html>"), "no server of chat completions"),
        (completion({"<think>": 0.9, "Hm": 0.1}), "begins its answer with '<think>', 'Hm'"),
        (failure(400, "top_logprobs must be at most 5"), r"\(top_logprobs must be at most 5\); set --top-logprobs"),
        (failure(404, "no such model"), r"has no model tiny \(no such model\)"),
        (failure(403, "no log-probabilities for you"), r"403: no log-probabilities for you"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_when_loading(
    server: ScriptedServer, reply: Reply, reason: str
) -> None:
    server.reply = lambda request: reply
    with pytest.raises(TeacherInvalid, match=reason) as caught:
        load(server)
    assert "\n" not in str(caught.value)


def test_newer_models_limit_the_length_by_another_name(server: ScriptedServer) -> None:
    def newer(request: Mapping[str, Any]) -> Reply:
        if "max_tokens" in request:
            return failure(400, "use max_completion_tokens")
        return completion({"Yes": 0.7, "No": 0.2})

    server.reply = newer
    with load(server) as engine:
        engine.answer(IMAGES[:1], ["Is it red?"])
    assert [request.get("max_completion_tokens") for request in server.requests] == [None, 1, 1]


def test_a_refused_image_is_named_and_costs_little(server: ScriptedServer) -> None:
    def no_green(request: Mapping[str, Any]) -> Reply:
        if image_of(request).getpixel((0, 0)) == IMAGES[1].getpixel((0, 0)):
            return failure(400, "cannot decode the image")
        return completion({"Yes": 0.7, "No": 0.2})

    server.reply = no_green
    with load(server, concurrency=1) as engine, pytest.raises(ImageRefused, match="cannot decode") as caught:
        engine.answer(IMAGES, QUESTIONS)
    assert caught.value.index == 1
    assert len(server.requests) <= 1 + len(IMAGES) + len(QUESTIONS)


def test_an_answer_withheld_by_a_filter_is_a_fault_of_the_image(server: ScriptedServer) -> None:
    with load(server) as engine:
        server.reply = lambda request: completion(None, finish_reason="content_filter")
        with pytest.raises(ImageRefused, match="content_filter"):
            engine.answer(IMAGES[:1], ["Is it red?"])


def test_an_answer_that_is_not_listed_is_bounded_and_counted(server: ScriptedServer) -> None:
    with load(server) as engine:
        server.reply = lambda request: completion({"Yes": 0.9, "Sure": 0.06, "Maybe": 0.02})
        yes, no = engine.answer(IMAGES, QUESTIONS)
        assert engine.usage.bounded == len(IMAGES) * len(QUESTIONS)
    np.testing.assert_allclose(yes, math.log(0.9), rtol=1e-6)
    np.testing.assert_allclose(no, math.log(0.02), rtol=1e-6)

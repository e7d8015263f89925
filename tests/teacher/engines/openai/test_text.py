"""Language models on a scripted server, asked about classes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from storage.questions import Choice
from teacher.engines.classes import ClassEngine
from teacher.engines.config import CLASS_PROMPT, TeacherConfig, TeacherInvalid, resolve_served
from teacher.engines.openai.text import SAMPLE_MESSAGE, OpenAITextModel
from teacher.engines.options import EngineOptions
from tests.teacher.engines.openai.test_engine import completion
from tests.teacher.servers import ScriptedServer, chat_reply, failure, scripted_server

TEACHER = resolve_served(TeacherConfig(model="writer", about="classes", prompt=CLASS_PROMPT))
SIZES = [aspect.asked for aspect in Choice("How large is it?", ("Small", "Large", "Huge")).aspects("size")]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Lists the letters A and B, and "a" as the beginning of a sentence."""
    with scripted_server(lambda request: completion({"A": 0.5, " B": 0.2, "a": 0.1, "No": 0.1})) as server:
        yield server


@pytest.fixture
def engine(server: ScriptedServer) -> Iterator[ClassEngine]:
    options = EngineOptions(base_url=server.url)
    engine = ClassEngine(OpenAITextModel(TEACHER, options), TEACHER, options)
    yield engine
    engine.close()


def test_requests_have_text_alone_and_unlisted_letters_get_a_bound(server: ScriptedServer, engine: ClassEngine) -> None:
    yes, no = engine.answer(['"jay"', '"owl"'], SIZES)
    # C is not listed: at most what is left over. Every option stands at every position once.
    np.testing.assert_allclose(np.exp(yes) + np.exp(no), 0.8, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(no - yes)), 1 / 3, atol=1e-6)
    assert (engine.usage.images, engine.usage.questions, engine.usage.bounded) == (2, 6, 6)
    sample, *requests = server.requests
    assert sample["messages"][0]["content"] == [{"type": "text", "text": SAMPLE_MESSAGE}]
    texts = [request["messages"][0]["content"][0]["text"] for request in requests]
    assert sorted(text.splitlines()[0] for text in texts) == sorted(
        f'Think of a typical image of the class "{name}".' for name in ("jay", "owl") for _ in SIZES
    )


def test_yes_and_no_are_read_in_any_case(server: ScriptedServer, engine: ClassEngine) -> None:
    server.reply = lambda request: completion({"yes": 0.4, " Yes": 0.2, "NO": 0.3})
    yes, no = engine.answer(['"jay"'], ["Can it fly?"])
    assert (float(yes[0, 0]), float(no[0, 0])) == pytest.approx((math.log(0.6), math.log(0.3)))
    assert engine.usage.bounded == 0


def test_a_server_that_cannot_be_used_is_one_line(server: ScriptedServer) -> None:
    for reply, said in (
        (chat_reply("Yes"), "returns no log-probabilities"),
        (failure(400, "logprobs are not supported"), "refuses every request .*set --top-logprobs"),
        (failure(401), "rejects the key"),
        (completion({"token_id:9": 0.9}), "start it without --return-tokens-as-token-ids"),
    ):
        server.reply = lambda request, reply=reply: reply  # type: ignore[misc]
        with pytest.raises(TeacherInvalid, match=said):
            OpenAITextModel(TEACHER, EngineOptions(base_url=server.url))

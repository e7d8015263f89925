"""The engine for served teachers with vLLM's own server: it keeps the contract and agrees with transformers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import AutoProcessor

from teacher.engines.config import TINY_MODEL, TeacherConfig, TeacherInvalid, resolve, resolve_served, tiny_teacher
from teacher.engines.openai.engine import OpenAIEngine
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import find_answer_tokens
from teacher.engines.transformers.engine import TransformersEngine
from tests.teacher.contract import QUESTIONS, EngineContract, sample_images
from tests.teacher.servers import vllm_serve

CONFIG = TeacherConfig(model="tiny", max_pixels=None)
TEACHER = resolve_served(CONFIG)

Answers = tuple[NDArray[np.float32], NDArray[np.float32]]


@pytest.fixture(scope="module")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the bundled teacher in float32."""
    arguments = {
        "max-logprobs": "20",
        "limit-mm-per-prompt": '{"image": 1, "video": 0}',
        "hf-overrides": '{"text_config": {"head_dtype": "float32"}}',
    }
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with vllm_serve(TINY_MODEL, "tiny", 512, log, **arguments) as address:
        yield address


@pytest.fixture(scope="module")
def engine(vllm_server: str) -> Iterator[OpenAIEngine]:
    engine = OpenAIEngine(TEACHER, EngineOptions(base_url=vllm_server))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference() -> Answers:
    """What transformers answers in float32."""
    return TransformersEngine(resolve(tiny_teacher()), EngineOptions()).answer(sample_images(), QUESTIONS)


class TestOpenAIEngine(EngineContract):
    pass


def test_a_served_teacher_agrees_with_transformers(engine: OpenAIEngine, reference: Answers) -> None:
    """Spellings that are not listed are missing, which makes values too low by what they would have added."""
    bounded = engine.usage.bounded
    served = engine.answer(sample_images(), QUESTIONS)
    assert engine.usage.bounded == bounded
    for ours, expected in zip(served, reference, strict=True):
        assert (ours <= expected + 1e-4).all()
        np.testing.assert_allclose(np.exp(ours), np.exp(expected), atol=1e-5)


def test_with_all_spellings_listed_the_log_probabilities_are_the_same(vllm_server: str, reference: Answers) -> None:
    tokens = find_answer_tokens(AutoProcessor.from_pretrained(TINY_MODEL).tokenizer, CONFIG)
    options = EngineOptions(base_url=vllm_server, arguments={"logprob_token_ids": [*tokens.yes, *tokens.no]})
    with contextlib.closing(OpenAIEngine(TEACHER, options)) as engine:
        served = engine.answer(sample_images(), QUESTIONS)
    for ours, expected in zip(served, reference, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_two_threads_can_ask_at_once(engine: OpenAIEngine) -> None:
    expected, _ = engine.answer(sample_images(), QUESTIONS)
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        answers[number], _ = engine.answer(sample_images()[number:], QUESTIONS)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(engine.calls_at_once)]
    for thread in threads:
        thread.start()
    for number, thread in enumerate(threads):
        thread.join()
        np.testing.assert_allclose(answers[number], expected[number:], atol=1e-4)


def test_work_and_tokens_are_counted(engine: OpenAIEngine) -> None:
    before = engine.usage.images, engine.usage.questions, engine.usage.prompt_tokens
    engine.answer(sample_images()[:2], QUESTIONS[:3])
    assert (engine.usage.images, engine.usage.questions) == (before[0] + 2, before[1] + 6)
    assert engine.usage.prompt_tokens > before[2] + 6 * 16


def test_a_question_longer_than_the_model_takes_is_named(engine: OpenAIEngine) -> None:
    with pytest.raises(TeacherInvalid, match=r"model tiny at http.* refuses the question 'Is there, really"):
        engine.answer(sample_images()[:1], ["Is there, " + "really, " * 400 + "something red?"])


def test_a_lower_limit_of_listed_tokens_is_reported(vllm_server: str) -> None:
    with pytest.raises(TeacherInvalid, match=r"max allowed: 20.*; set --top-logprobs"):
        OpenAIEngine(TEACHER, EngineOptions(base_url=vllm_server, top_logprobs=21))


def test_token_ids_instead_of_tokens_are_reported(vllm_server: str) -> None:
    options = EngineOptions(base_url=vllm_server, arguments={"return_tokens_as_token_ids": True})
    with pytest.raises(TeacherInvalid, match="without --return-tokens-as-token-ids"):
        OpenAIEngine(TEACHER, options)


def test_a_model_that_the_server_does_not_have_is_named(vllm_server: str) -> None:
    with pytest.raises(TeacherInvalid, match=r"has no model grande .*check --teacher"):
        OpenAIEngine(resolve_served(TeacherConfig(model="grande")), EngineOptions(base_url=vllm_server))

"""Language models in transformers: packed and plain passes, and generation as the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from teacher.engines.classes import ClassEngine
from teacher.engines.config import TINY_MODEL, AnswerTokenMissing, TeacherInvalid
from teacher.engines.transformers.text import TransformersTextModel
from tests.teacher.text_model import build_text_model
from tests.teacher.text_questions import ANY_ANSWER, CLASSES, QUESTIONS, answers_of, text_teacher


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_text_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> TransformersTextModel:
    return TransformersTextModel(text_teacher(folder), ANY_ANSWER)


def test_log_probabilities_are_those_of_the_next_token(folder: Path, model: TransformersTextModel) -> None:
    tokenizer, plain = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    found = model.logprobs([["Is it red?", "Is it large?"]], [("Y",), ("N", "n")]).logprobs
    for column, message in enumerate(["Is it red?", "Is it large?"]):
        prompt = f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"
        with torch.inference_mode():
            logits = plain(**tokenizer(prompt, return_tensors="pt")).logits[0, -1].double()
        expected = logits.log_softmax(-1)[[tokenizer.vocab[word] for word in "YNn"]].numpy()
        assert found[0, column, 0] == pytest.approx(expected[0], abs=1e-4)
        assert found[0, column, 1] == pytest.approx(np.logaddexp(*expected[1:]), abs=1e-4)


def test_packed_and_plain_passes_agree(folder: Path, model: TransformersTextModel) -> None:
    plain = TransformersTextModel(text_teacher(folder), ANY_ANSWER.model_copy(update={"plain": True}))
    assert (model.slow_because, plain.slow_because) == (None, "packing is switched off")
    found, expected = (
        answers_of(ClassEngine(each, text_teacher(folder), ANY_ANSWER), CLASSES, QUESTIONS) for each in (model, plain)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert model.usage.cached_tokens > 0 == plain.usage.cached_tokens
    # Of an option all orders are asked: 2 yes/no questions, and 3, 2 and 9 prompts.
    assert plain.usage.questions == len(CLASSES) * (2 + 3 + 2 + 9)


def test_an_answer_depends_on_its_own_class_and_question_only(folder: Path, model: TransformersTextModel) -> None:
    engine = ClassEngine(model, text_teacher(folder), ANY_ANSWER)
    together = answers_of(engine, CLASSES, QUESTIONS)
    np.testing.assert_allclose(answers_of(engine, CLASSES[1:2], QUESTIONS[2:3]), together[:, 1:2, 2:3], atol=1e-4)
    assert np.abs(together[:, 0] - together[:, 1]).max() > 1e-3


def test_a_vision_language_model_is_asked_without_images() -> None:
    teacher = text_teacher(TINY_MODEL, ("Yes", "No"))
    model = TransformersTextModel(teacher, ANY_ANSWER)
    yes, no = answers_of(ClassEngine(model, teacher, ANY_ANSWER), ["red"], ["Is there a red object?"])
    assert np.exp(yes) + np.exp(no) == pytest.approx(1, abs=0.1)


def test_a_word_without_a_token_is_one_line(model: TransformersTextModel) -> None:
    with pytest.raises(AnswerTokenMissing, match="no single token for 'Yes'; set --yes-words"):
        model.logprobs([["Is it red?"]], [("Yes",), ("No",)])


def test_a_folder_without_a_language_model_is_one_line(tmp_path: Path, folder: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(TeacherInvalid, match="as a language model"):
        TransformersTextModel(text_teacher(tmp_path), ANY_ANSWER)

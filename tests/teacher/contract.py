"""The tests that every teacher engine passes; each engine's test file subclasses `EngineContract`."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from storage.questions import load_questions
from teacher.engines.base import TeacherEngine
from tests.conftest import PROJECT

QUESTIONS = load_questions(PROJECT / "questions" / "scenes.yaml").texts[:6]


def sample_images() -> list[Image.Image]:
    """Noise in the shapes that images come in: square, wide, tall, tiny, and larger than the model's own size."""
    random = np.random.default_rng(0)
    sizes = [(64, 64), (48, 120), (120, 48), (5, 7), (333, 250), (64, 64)]
    return [Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]


class EngineContract:
    """Subclasses give a fixture `engine`."""

    def test_answers_are_log_probabilities_in_the_order_asked(self, engine: TeacherEngine) -> None:
        yes, no = engine.answer(sample_images(), QUESTIONS)
        assert yes.shape == no.shape == (len(sample_images()), len(QUESTIONS))
        assert yes.dtype == no.dtype == np.float32
        assert (np.exp(yes) + np.exp(no) <= 1 + 1e-5).all()
        backwards = engine.answer(sample_images()[::-1], QUESTIONS[::-1])
        np.testing.assert_allclose(backwards[0][::-1, ::-1], yes, atol=1e-4)
        np.testing.assert_allclose(backwards[1][::-1, ::-1], no, atol=1e-4)

    def test_an_answer_depends_on_its_own_image_and_question_only(self, engine: TeacherEngine) -> None:
        yes, no = engine.answer(sample_images(), QUESTIONS)
        alone = engine.answer(sample_images()[2:3], QUESTIONS[4:5])
        np.testing.assert_allclose(alone[0], yes[2:3, 4:5], atol=1e-4)
        np.testing.assert_allclose(alone[1], no[2:3, 4:5], atol=1e-4)

    def test_other_pixels_give_other_answers(self, engine: TeacherEngine) -> None:
        yes, _ = engine.answer([Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")], QUESTIONS)
        assert np.abs(yes[0] - yes[1]).max() > 1e-3

    def test_questions_of_very_different_length_can_be_mixed(self, engine: TeacherEngine) -> None:
        questions = ["Red?", "Is there, " + "really and truly, " * 8 + "something red?"]
        together = engine.answer(sample_images()[:1], questions)
        for column, question in enumerate(questions):
            alone = engine.answer(sample_images()[:1], [question])
            assert alone[0][0, 0] == pytest.approx(together[0][0, column], abs=1e-4)

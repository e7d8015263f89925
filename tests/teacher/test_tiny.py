"""The bundled teacher, asked through plain transformers: it sees, it reads, and it is small."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

from storage.datasets.scenes.drawing import render
from storage.datasets.scenes.scene import ground_truth, sample_scene
from storage.questions import QuestionSet, load_questions
from teacher.tiny.evaluation import auroc
from teacher.tiny.evaluation import p_yes as packed_p_yes
from teacher.tiny.phrases import PROMPT, all_phrases
from teacher.tiny.reader import Prompts, tokenize
from teacher.tiny.world import PATCH_LABELS, World, render_world

PROJECT = Path(__file__).parents[2]
MODEL = PROJECT / "teacher" / "tiny" / "model"
SCENES = 110
ASKED_ONE_BY_ONE = 4


@pytest.fixture(scope="module")
def questions() -> QuestionSet:
    return load_questions(PROJECT / "questions" / "scenes.yaml")


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForImageTextToText.from_pretrained(MODEL, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def prompts(questions: QuestionSet, processor: Any) -> Prompts:
    phrases = [phrase for phrase in all_phrases(questions) if phrase.weight == 0.5]
    assert [phrase.key for phrase in phrases] == list(questions.keys)
    return tokenize(processor, phrases, questions)


@pytest.fixture(scope="module")
def world() -> World:
    return render_world(SCENES, seed=987_654)


@pytest.fixture(scope="module")
def p_world(model: Any, prompts: Prompts, world: World) -> NDArray[np.float32]:
    return packed_p_yes(model, world.pixels, prompts)


def _chat(processor: Any, image: Image.Image, questions: list[str]) -> Any:
    """The processor's own tensors for one image and several questions: what any user of transformers would do."""
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT.format(question=text)}]}],
            add_generation_prompt=True,
        )
        for text in questions
    ]
    return processor(images=[image] * len(texts), text=texts, padding=True, return_tensors="pt")


@torch.no_grad()
def _log_probabilities(model: Any, processor: Any, image: Image.Image, questions: list[str]) -> NDArray[np.float32]:
    """[Q, 2]: of the first answer token being Yes and No."""
    logits = model(**_chat(processor, image, questions)).logits[:, -1]
    words = processor.tokenizer.convert_tokens_to_ids(["Yes", "No"])
    scores: NDArray[np.float32] = logits.log_softmax(dim=-1)[:, words].numpy()
    return scores


def test_the_weights_are_small_and_finite() -> None:
    assert os.path.getsize(MODEL / "model.safetensors") <= 6_000_000
    with safe_open(MODEL / "model.safetensors", framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - a safetensors file is no mapping
            assert weights.get_tensor(name).dtype == torch.float16
            assert weights.get_tensor(name).isfinite().all()


def test_it_sees(questions: QuestionSet, world: World, p_world: NDArray[np.float32]) -> None:
    areas = [auroc(p_world[:, i], world.truth[:, i]) for i in range(len(questions))]
    assert len(areas) == 50
    assert np.mean(areas) >= 0.95
    assert sum(area >= 0.95 for area in areas) >= 36


def test_plain_transformers_gives_the_same_answers(
    model: Any, processor: Any, questions: QuestionSet, world: World, p_world: NDArray[np.float32]
) -> None:
    for pixels, expected in zip(world.pixels[:ASKED_ONE_BY_ONE], p_world, strict=False):
        yes, no = _log_probabilities(model, processor, Image.fromarray(pixels), list(questions.texts)).T
        assert np.exp(np.logaddexp(yes, no)).min() > 0.99, "all of the probability belongs to Yes and No"
        np.testing.assert_allclose(1 / (1 + np.exp(no - yes)), expected, atol=1e-4)


def test_a_blank_image_gives_chance_level(
    model: Any, prompts: Prompts, world: World, p_world: NDArray[np.float32]
) -> None:
    """Right answers need the image: asked about grey instead, it is no better than a coin."""
    grey = packed_p_yes(model, np.full_like(world.pixels[:1], 128), prompts).repeat(SCENES, axis=0)
    columns = range(world.truth.shape[1])
    assert np.mean([auroc(p_world[:, i], world.truth[:, i]) for i in columns]) >= 0.96
    assert np.mean([auroc(grey[:, i], world.truth[:, i]) for i in columns]) == pytest.approx(0.5, abs=0.01)


def test_another_image_of_the_batch_does_not_help(world: World, p_world: NDArray[np.float32]) -> None:
    """With the images swapped around the answers no longer fit: it is the image that decides."""
    p = np.roll(p_world, 1, axis=0)
    assert abs(np.mean([auroc(p[:, i], world.truth[:, i]) for i in range(world.truth.shape[1])]) - 0.5) < 0.05


def test_its_probabilities_mean_what_they_say(world: World, p_world: NDArray[np.float32]) -> None:
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        chosen = (p_world >= low) & (p_world <= low + 0.2)
        assert abs(p_world[chosen].mean() - world.truth[chosen].mean()) < 0.1


def test_it_reads_other_words_and_any_case(model: Any, processor: Any, questions: QuestionSet) -> None:
    rng = np.random.default_rng(7)
    asked = {
        "has_red": "cAn An obJect that is RED be seen here?",
        "has_purple": "Do you see a violet object?",
        "more_than_two": "Are there at least three objects?",
        "on_grass": "Is there a meadow?",
    }
    scenes = [sample_scene(rng) for _ in range(60)]
    found = [_log_probabilities(model, processor, render(scene, rng), list(asked.values())) for scene in scenes]
    for i, key in enumerate(asked):
        truth = np.array([ground_truth(scene)[key] for scene in scenes])
        assert auroc(np.array([one[i, 0] - one[i, 1] for one in found]), truth) > 0.9, key


@pytest.mark.parametrize("text", ["", "ZEBRA", "Ist da Müsli?", "これは何ですか", "🦓\x00\t<div>"])
def test_any_text_tokenises_and_comes_back(processor: Any, text: str) -> None:
    tokens = processor.tokenizer(text)["input_ids"]
    assert processor.tokenizer.decode(tokens) == text.lower()


def test_any_image_becomes_one_tile(processor: Any) -> None:
    for size in ((64, 64), (640, 480), (3, 500)):
        inputs = _chat(processor, Image.new("RGB", size, "red"), ["Is there a circle?"])
        assert inputs["pixel_values"].shape == (1, 3, 64, 64)
        assert (inputs["input_ids"] == processor.image_token_id).sum() == 16


def test_an_answer_begins_with_yes_or_no(model: Any, processor: Any) -> None:
    inputs = _chat(processor, Image.new("RGB", (64, 64), "blue"), ["Is the ground or background blue?"])
    tokens = model.generate(**inputs, max_new_tokens=1)[0, inputs["input_ids"].shape[1] :]
    assert processor.tokenizer.decode(tokens) in ("Yes", "No")


def test_the_same_seed_renders_the_same_world() -> None:
    one, two, other = render_world(12, seed=1), render_world(12, seed=1), render_world(12, seed=2)
    assert (one.pixels == two.pixels).all()
    assert (one.pixels != other.pixels).any()
    assert one.patches.shape == (12, 64, len(PATCH_LABELS))


@pytest.mark.parametrize(("scores", "area"), [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.5] * 4, 0.5), ([0.9, 0.8, 0.2, 0.1], 0)])
def test_auroc_of_known_rankings(scores: list[float], area: float) -> None:
    assert auroc(np.array(scores), np.array([False, False, True, True])) == area


def test_the_record_of_the_training_says_how(questions: QuestionSet) -> None:
    record = json.loads((MODEL / "training.json").read_text())
    assert record["command"].startswith("python -m teacher.tiny.train --seed")
    assert set(record["auroc"]) == set(questions.keys)
    assert record["mean_auroc"] == pytest.approx(np.mean(list(record["auroc"].values())), abs=1e-3)

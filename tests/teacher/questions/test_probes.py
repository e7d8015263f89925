"""What an audit asks: samples that are even over the classes, mirrored images, a blank one, and other words."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.datasets import image_folder
from storage.datasets.base import ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from teacher.extraction.extract import read_image
from teacher.questions.probes import BLANK, MIRRORED, ImageVariants, choose_sample, probing_questions


def records(**counts: int) -> list[ImageRecord]:
    return [
        ImageRecord(image_id=f"{name}/{number}", split="train", label=label, label_name=name)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]


def test_a_sample_is_even_over_the_classes_and_grows_by_its_own() -> None:
    everything = records(many=50, some=8, few=2)
    sample = choose_sample(everything, 12)
    assert [sum(record.label_name == name for record in sample) for name in ("many", "some", "few")] == [5, 5, 2]
    assert sample == [record for record in everything if record in sample]
    assert set(choose_sample(everything, 7)) < set(sample)
    assert choose_sample(everything, 7, seed=1) != choose_sample(everything, 7)
    assert choose_sample(everything, 1000) == everything


def test_questions_are_asked_in_other_words_and_negated() -> None:
    asked = QuestionSet(
        (
            AspectQuestion(key="red", text="Is it red?", negation="Is nothing red here?"),
            AspectQuestion(key="big", text="Is it big?"),
        )
    )
    texts = {question.key: question.text for question in probing_questions(asked).questions}
    assert texts == {
        "red__rephrased": "Question: Is it red?",
        "red__negated": "Is nothing red here?",
        "big__rephrased": "Question: Is it big?",
    }


@pytest.fixture
def variants(tmp_path: Path) -> ImageVariants:
    folder = tmp_path / "photos" / "train" / "a"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(b"no image")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "1.png")
    dataset = image_folder(tmp_path / "photos")
    return ImageVariants(dataset=dataset, originals=dataset.records)


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_variants_are_the_mirrored_images_and_a_blank_one_of_their_size(variants: ImageVariants) -> None:
    assert [record.image_id for record in variants.records] == [
        MIRRORED + "train/a/0.png",
        MIRRORED + "train/a/1.png",
        BLANK,
    ]
    original = pixels_of(variants.dataset.read("train/a/1.png"))
    np.testing.assert_array_equal(pixels_of(variants.read(MIRRORED + "train/a/1.png")), original[:, ::-1])
    blank = pixels_of(variants.read(BLANK))
    assert (blank.shape, np.unique(blank).tolist()) == (original.shape, [128])
    assert variants.read(BLANK) == variants.read(BLANK)


def test_a_damaged_image_stays_damaged(variants: ImageVariants) -> None:
    found = read_image(variants, variants.records[0], None)
    assert found.error == "not an image that Pillow knows"


def test_a_subset_of_variants_reads_the_same_in_another_process(variants: ImageVariants) -> None:
    for part in (variants.records[1:2], variants.records[2:]):
        received = pickle.loads(pickle.dumps(variants.subset(part)))
        assert [received.read(one.image_id) for one in part] == [variants.read(one.image_id) for one in part]

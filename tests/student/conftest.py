"""A dataset of small generated images with answers, and settings that train on it in seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from storage.answers.probes import ProbeAnswers, blank_questions
from storage.answers.read import Answers
from storage.datasets import FileDataset, image_folder
from storage.questions import AspectQuestion, QuestionSet
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 40, 50)}
QUESTIONS = QuestionSet(
    (
        AspectQuestion(key="is_warm", text="Is it of a warm colour?"),
        AspectQuestion(key="is_leafy", text="Has it the colour of leaves?"),
    )
)


def write_images(root: Path, *, train: int = 8, test: int = 4) -> None:
    """Noisy images of one colour per class, none of the same shape as the next."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for class_name, colour in COLOURS.items():
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = 36 + number % 3, 40 + number % 5
                noise = random.normal(0, 40, size=(height, width, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def answers_for(dataset: FileDataset, *, dataset_name: str | None = None) -> Answers:
    """A teacher that is right and fairly sure about every image of every split."""
    gaps = {"blue": (-2.0, -2.5), "green": (-1.5, 2.0), "red": (2.5, -1.0)}
    gap = np.array([gaps[record.label_name] for record in dataset.records], dtype=np.float32)
    jitter = np.random.default_rng(1).normal(0, 0.3, gap.shape).astype(np.float32)
    return Answers(
        dataset=dataset_name or dataset.name,
        teacher="abc123",
        questions=QUESTIONS,
        image_ids=tuple(record.image_id for record in dataset.records),
        image_sha256=(None,) * len(dataset.records),
        splits=tuple(record.split for record in dataset.records),
        label_names=tuple(record.label_name for record in dataset.records),
        errors=(None,) * len(dataset.records),
        yes=-np.log1p(np.exp(-(gap + jitter))),
        no=-np.log1p(np.exp(gap + jitter)),
    )


def probes_of(answers: Answers) -> ProbeAnswers:
    """A blank image with log-odds 1 for every question, and no negated ones."""
    asked = blank_questions(answers.questions)
    shape = (1, len(asked))
    about_images = ("image_ids", "image_sha256", "splits", "label_names", "errors")
    one = {name: getattr(answers, name)[:1] for name in about_images}
    yes, no = np.full(shape, -0.5, np.float32), np.full(shape, -1.5, np.float32)
    return ProbeAnswers(blank=dataclasses.replace(answers, questions=asked, **one, yes=yes, no=no))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The same sums whatever the machine; small networks are no faster on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root)
    return root


@pytest.fixture
def dataset(image_root: Path) -> FileDataset:
    return image_folder(image_root, name="colours")


@pytest.fixture
def answers(dataset: FileDataset) -> Answers:
    return answers_for(dataset)


@pytest.fixture
def teacher_answers(answers: Answers) -> TeacherAnswers:
    return TeacherAnswers(image=answers)


@pytest.fixture
def config() -> StudentConfig:
    return StudentConfig(
        backbone="test_resnet",
        method="makd",
        keep="best",
        image_size=32,
        epochs=3,
        batch_size=6,
        lr=0.05,
        alpha=2.0,
        warmup=1,
        val_fraction=0.25,
        color_jitter=0.2,
        drop_rate=0.1,
        crop_scale=(0.3, 1.0),
    )

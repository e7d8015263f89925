"""A small store with images, shown through Starlette's test client."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from storage.answers.schema import AnswerHeader, ShardAnswers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.datasets import FileDataset, ImageRecord, image_folder
from storage.questions import AspectQuestion, QuestionSet
from view.app import create_app
from view.security import Guard
from view.sources import Sources

# Text that would be markup, or a broken attribute, if it were not escaped.
HOSTILE = "<script>alert(1)</script> \"quoted\" 'single' 🌻 & " + "long " * 60
HOSTILE_CLASS = "<script>alert(2)</script> \"a\" 'b' 🌻 & " + "x" * 300  # without a place to break it
CLASSES = ("daisy", "rose", "<b>tulip")
QUESTIONS = QuestionSet(
    (
        AspectQuestion(key="is_white", text="Is it white?", group="visual"),
        AspectQuestion(key="is_red", text="Is it red?"),
        AspectQuestion(key="hostile", text=HOSTILE),
    )
)
HEADER = AnswerHeader(
    dataset="flowers",
    teacher_fingerprint="0123456789ab",
    teacher={"model": "sample"},
    questions=QUESTIONS,
    libraries={},
)
# p(yes) by class and question; the image below contradicts its class.
MEANS = np.array([[0.9, 0.1, 0.5], [0.2, 0.9, 0.5], [0.4, 0.5, 0.5]], np.float32)
EACH = 8  # images of a class
ODD = "train/daisy/3.png"


@pytest.fixture(scope="session")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> FileDataset:
    """EACH images of 24 px of each class."""
    root = tmp_path_factory.mktemp("flowers") / "flowers"
    for label, name in enumerate(CLASSES):
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for number in range(EACH):
            Image.new("RGB", (24, 24), (80 * label, 10 * number, 90)).save(folder / f"{number}.png")
    return image_folder(root)


def p_yes_of(dataset: FileDataset) -> NDArray[np.float32]:
    """p(yes) [I, Q]: the class's, less a little for each image; one image contradicts its class, one has no answer."""
    names = [record.label_name for record in dataset.records]
    values = MEANS[[CLASSES.index(name) if name in CLASSES else -1 for name in names]]
    values = values - np.linspace(0, 0.05, len(names), dtype=np.float32)[:, None]
    values[[record.image_id for record in dataset.records].index(ODD), 0] = 0.02
    return values


def write_answers(
    store: Path, dataset: FileDataset, header: AnswerHeader = HEADER, *, shard_size: int = 10, complete: bool = True
) -> AnswerDirectory:
    """Write `p_yes_of`; the last image has an error instead."""
    directory = AnswerDirectory.locate(
        str(store), header.dataset, header.teacher_fingerprint, header.questions.fingerprint
    )
    values = p_yes_of(dataset)[:, : len(header.questions)]
    yes, no = np.log(values), np.log1p(-values)
    yes[-1] = no[-1] = np.nan
    errors: list[str | None] = [None] * len(values)
    errors[-1] = "file is <empty>"
    shards = cut_shards(dataset.records, shard_size)
    start = 0
    for shard in shards if complete else shards[:-1]:
        end = start + len(shard.records)
        directory.write_shard(shard, header, _part(shard.records, errors[start:end], yes[start:end], no[start:end]))
        start = end
    if complete:
        directory.complete(header, shards, {"splits": ["train"], "errors": 1, "runs": [RUN]})
    return directory


RUN = {"images": 23, "questions": 69, "reused": 0, "prompt_tokens": 5000, "seconds": 12.0, "start_seconds": 2.0}


def _part(
    records: Sequence[ImageRecord],
    errors: list[str | None],
    yes: NDArray[np.float32],
    no: NDArray[np.float32],
) -> ShardAnswers:
    return ShardAnswers(
        records=records,
        image_sha256=["0" * 64] * len(records),
        errors=errors,
        yes=yes,
        no=no,
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, flowers: FileDataset) -> Path:
    """Answers of one teacher to two question sets; read-only."""
    root = tmp_path_factory.mktemp("store")
    write_answers(root, flowers)
    fewer = QuestionSet(QUESTIONS.questions[:2])
    write_answers(root, flowers, dataclasses.replace(HEADER, questions=fewer))
    return root


Open = Callable[..., TestClient]


def client_of(sources: Sources, guard: Guard | None = None) -> TestClient:
    """A client at the address that is served."""
    app = create_app(sources, guard or Guard(host="127.0.0.1", port=8000))
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture
def open_page(tmp_path: Path) -> Open:
    """Opens a client for a store, with an empty cache."""

    def open_client(store: Path, *, guard: Guard | None = None, **options: Any) -> TestClient:
        return client_of(Sources(str(store), tmp_path / "cache", **options), guard)

    return open_client


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of `client`."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def client(store: Path, flowers: FileDataset, cache: Path) -> TestClient:
    return client_of(Sources(str(store), cache, dataset=flowers))

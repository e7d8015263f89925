"""Commands open a dataset, and read answers, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.parameters import DatasetParameters
from flows.work.inputs import Inputs
from storage.answers.store import AnswerDirectory
from storage.datasets import open as opening
from tests.flows.conftest import Aspects
from tests.flows.work.engines import use_engine

TINY_STUDENT = ("--recipe", "demo", "--backbone", "test_resnet", "--epochs", 1, "--set", "warmup=0", "--image-size", 32)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a dataset was opened and a shard read."""
    found = Counter[str]()

    def count(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            found[what] += 1
            return function(*arguments, **options)

        return counted

    for kind in ("image_folder", "coco_dataset"):
        monkeypatch.setattr(opening, kind, count("opened", getattr(opening, kind)))
    monkeypatch.setattr(AnswerDirectory, "load_shard", count("shards", AnswerDirectory.load_shard))
    return found


def test_commands_open_the_dataset_and_read_each_shard_once(
    scenes: Path, few_questions: Path, aspects: Aspects, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engine(monkeypatch)
    asked: tuple[object, ...] = ("-d", scenes, "-q", few_questions, "--engine", "transformers", "--shard-size", 10)
    assert aspects("extract", *asked).code == 0
    command: tuple[object, ...]
    for command in (("extract", *asked), ("extract", *asked, "--dry-run"), ("extract", *asked, "--verify")):
        counts.clear()
        done = aspects(*command)
        assert (done.code, dict(counts)) == (0, {"opened": 1, "shards": 3}), done.err
    for command in (("run", *asked), ("train", "-d", scenes)):
        counts.clear()
        done = aspects(*command, "--seeds", 0, *TINY_STUDENT)
        assert (done.code, dict(counts)) == (0, {"opened": 1, "shards": 3}), done.err


def test_a_dataset_is_opened_again_for_other_parameters(scenes: Path, counts: Counter[str]) -> None:
    inputs = Inputs()
    first, again = (inputs.images(DatasetParameters(source=str(scenes))) for _ in range(2))
    other = inputs.images(DatasetParameters(source=str(scenes), name="other"))
    assert first is again
    assert (other.name, counts["opened"]) == ("other", 2)

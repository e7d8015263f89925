"""What is going to be asked is counted as the extraction counts it, and its time told by the last run's tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.answers.reuse import known_answers
from storage.answers.shards import cut_shards
from storage.datasets import image_folder
from storage.questions import QuestionSet, load_questions
from teacher.engines.config import ResolvedTeacher, resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.engines.transformers.engine import TransformersEngine
from teacher.extraction.extract import plan_extraction
from teacher.extraction.finish import finish_directory
from teacher.extraction.forecast import Forecast, expected_seconds, forecast, last_account
from tests.conftest import PROJECT
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, records
from tests.teacher.extraction.asking import ask_all
from tests.teacher.images import write_images

FOUR = QuestionSet(load_questions(PROJECT / "questions" / "scenes.yaml").questions[:4])
ACCOUNT = {"images": 100, "questions": 5000, "seconds": 70.0, "start_seconds": 10.0}
TOKENS = {"prefix_tokens": 100 * 30, "suffix_tokens": 5000 * 12}


@pytest.fixture(scope="module")
def teacher() -> ResolvedTeacher:
    return resolve(tiny_teacher())


def test_the_forecast_is_what_the_extraction_then_asks(tmp_path: Path, teacher: ResolvedTeacher) -> None:
    root, store = write_images(tmp_path / "photos"), str(tmp_path / "store")
    engine = TransformersEngine(teacher, EngineOptions())

    def extract(questions: QuestionSet, shard_size: int) -> tuple[Forecast, int, int]:
        dataset = image_folder(root)
        plan = plan_extraction(dataset, ("train",), questions, teacher, store, shard_size=shard_size)
        known = known_answers(store, [dataset.name], teacher.fingerprint)
        told = forecast(plan, known, store)
        done = ask_all(plan, dataset, teacher, engine, known)
        finish_directory(plan.directory, plan.header, plan.shards, {"runs": [{**ACCOUNT, **TOKENS}]})
        return told, sum(shard.asked for shard in done), sum(shard.reused for shard in done)

    told, asked, reused = extract(QuestionSet(FOUR.questions[:3]), 4)
    images = told.images
    assert (told.kept, told.reused, told.asked) == (0, reused, asked) == (0, 0, 3 * images)
    assert told.seconds is None
    assert "the time is not known" in told.lines()[1]

    told, asked, reused = extract(FOUR, 4)
    assert (told.kept, told.reused, told.asked, told.images_asked) == (0, reused, asked, images)
    assert (asked, reused) == (images, 3 * images)
    assert told.seconds == pytest.approx(60 * (images * 30 + images * 12) / (3000 + 60000))
    assert told.lines()[1].startswith("about 0 s, after 10 s of loading")

    told, asked, reused = extract(FOUR, 4)
    assert (told.kept, told.reused, told.asked) == (4 * images, 0, 0)
    assert told.lines()[1] == "no model is loaded: there is nothing to ask"


def test_time_goes_with_computed_tokens_or_with_questions_where_those_are_unknown() -> None:
    assert expected_seconds(None, images=1, questions=1) == (None, None)
    assert expected_seconds({**ACCOUNT, **TOKENS}, images=100, questions=5000) == pytest.approx((60, 10))
    # One question about each of 100 images: all of the shared part, a fiftieth of the questions' own.
    assert expected_seconds({**ACCOUNT, **TOKENS}, images=100, questions=100) == pytest.approx((60 * 4200 / 63000, 10))
    served = {**ACCOUNT, "prefix_tokens": 0, "suffix_tokens": 0}
    assert expected_seconds(served, images=100, questions=2500) == pytest.approx((30, 10))


@pytest.mark.parametrize("run", [5, "a", None, [], {}, {"questions": "many"}, {**ACCOUNT, "prefix_tokens": None}])
def test_accounts_that_cannot_be_read_tell_nothing(tmp_path: Path, run: object) -> None:
    directory = write_directory(str(tmp_path))
    directory.complete(HEADER, cut_shards(records(5), 3), {"runs": [run]})
    assert last_account(str(tmp_path), HEADER.teacher_fingerprint) is None
    directory.complete(HEADER, cut_shards(records(5), 3), {"runs": [run, {**ACCOUNT, **TOKENS}]})
    assert last_account(str(tmp_path), HEADER.teacher_fingerprint) == {**ACCOUNT, **TOKENS}

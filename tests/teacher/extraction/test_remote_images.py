"""Images and answers in one object store that fails for a while: nothing is lost, and nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.answers.read import Answers, read_answers
from storage.answers.reuse import known_answers
from storage.datasets import image_folder, open_dataset
from storage.datasets.remote.files import open_address
from storage.questions import AspectQuestion, QuestionSet
from teacher.engines.config import ResolvedTeacher, resolve, tiny_teacher
from teacher.extraction.extract import plan_extraction
from teacher.extraction.failures import is_for_now
from teacher.extraction.finish import finish_directory
from tests.storage.faulty_s3 import HALVES, Fault, FaultyS3, bucket, server
from tests.teacher.extraction.asking import CountingEngine, ask_all
from tests.teacher.images import write_images

__all__ = ["bucket", "server"]  # fixtures

QUESTIONS = QuestionSet((AspectQuestion(key="is_red", text="Is it red?"),))


def extract(address: str, store: str, teacher: ResolvedTeacher, engine: CountingEngine) -> Answers:
    dataset = open_dataset(address)
    planned = plan_extraction(dataset, ("train",), QUESTIONS, teacher, store, shard_size=3)
    ask_all(planned, dataset, teacher, engine, known_answers(store, [dataset.name], teacher.fingerprint))
    finish_directory(planned.directory, planned.header, planned.shards, {})
    return read_answers(planned.directory)


@pytest.mark.parametrize("fault", [503, *HALVES])
def test_a_run_resumes_after_the_server_failed(tmp_path: Path, server: FaultyS3, bucket: str, fault: Fault) -> None:
    open_address.cache_clear()
    root = write_images(tmp_path / "images")
    filesystem, path = open_address(bucket)
    for file in root.rglob("*.png"):
        with filesystem.open_output_stream(f"{path}/images/{file.relative_to(root).as_posix()}") as stream:
            stream.write(file.read_bytes())
    teacher, engine = resolve(tiny_teacher()), CountingEngine()
    address, store = f"{bucket}/images", f"{bucket}/store"

    server.fail("GET", "04.png", fault)
    first = extract(address, store, teacher, engine)
    assert (engine.asked, len(first.image_ids)) == (7, 8)
    (failed,) = [error for error in first.errors if error]
    assert is_for_now(failed)
    assert "04.png" in failed

    server.recover()
    second = extract(address, store, teacher, engine)
    assert engine.asked == 8
    assert not any(second.errors)
    assert second.image_ids == tuple(
        record.image_id for record in image_folder(root).records if record.split == "train"
    )
    extract(address, store, teacher, engine)
    assert engine.asked == 8

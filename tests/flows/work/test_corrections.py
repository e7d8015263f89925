"""Corrections in training: what is changed, said and part of a run's identity."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flows.parameters import DatasetParameters, StudentParameters, TrainingParameters
from flows.parameters.student import UseCorrections
from flows.work.corrections import apply_corrections
from flows.work.training import train_student
from storage.answers.read import find_teacher_answers
from storage.corrections import Correction, CorrectionFolder, CurrentCorrections
from storage.corrections.queue import Queue
from storage.datasets import FileDataset, image_folder
from storage.datasets.scenes.folder import GROUND_TRUTH
from storage.questions import load_questions
from student.classification.examples import TeacherAnswers, digest_of, training_records
from student.core.files import RunInvalid
from teacher.extraction.precomputed import import_answers, read_attributes
from tests.flows.hosts import Notes, plain_host


@pytest.fixture
def stored(scenes: Path, few_questions: Path, tmp_path: Path) -> tuple[FileDataset, TeacherAnswers, str]:
    """Scenes, right answers to four questions about them, and the store that has them."""
    images, store = image_folder(scenes, name="scenes"), str(tmp_path / "store")
    right = read_attributes(scenes / GROUND_TRUTH, load_questions(few_questions))
    import_answers(right, images, ("train",), store)
    return images, TeacherAnswers(image=find_teacher_answers(store, "scenes", None, None)), store


def correct_some(images: FileDataset, answers: TeacherAnswers, store: str, count: int = 30) -> None:
    """Two labels, and the next answers of the queue, all yes."""
    assert answers.image is not None
    folder, first, second = CorrectionFolder.open(store, images.name), images.records[0], images.records[1]
    rows = [
        Correction(image_id=first.image_id, kind="label", value=images.class_names[5]),
        Correction(image_id=second.image_id, kind="label", value=None),
    ]
    folder.record(rows)
    items = Queue.of(answers.image).next_items(CurrentCorrections(), count)
    folder.record(
        [
            Correction(
                image_id=one.image_id,
                kind="answer",
                key=one.key,
                text=one.text,
                value="yes",
                probability=one.probability,
                pool=one.pool,
            )
            for one in items
        ]
    )


@pytest.mark.parametrize("use", ["ignore", "use", "calibrate"])
def test_labels_and_answers_are_replaced_where_asked(
    stored: tuple[FileDataset, TeacherAnswers, str], use: UseCorrections
) -> None:
    images, answers, store = stored
    correct_some(images, answers, store)
    said: list[str] = []
    found, known = apply_corrections(said.append, use, store, images, answers)
    assert answers.image is not None
    assert known.image is not None
    digest = digest_of(images, training_records(images), answers)
    assert (digest == digest_of(found, training_records(found), known)) == (use == "ignore")
    if use == "ignore":
        assert (found, known, said) == (images, answers, [])
        return
    assert (found.records[0].label, found.records[1].label) == (5, -1)
    assert said[0].startswith("corrections: 1 label and 30 answers corrected; 1 image unlabelled")
    assert f"corrections: {known.corrections}" == said[0]
    assert ("calibrated by 30 answers" in said[0]) == (use == "calibrate")
    changed = np.isclose(known.image.p_yes, 0.99)
    assert changed.sum() >= 30
    same = known.image.p_yes == answers.image.p_yes
    assert same.sum() == same.size - 30 if use == "use" else same.mean() < 0.1


def test_without_corrections_nothing_changes_and_that_is_said(stored: tuple[FileDataset, TeacherAnswers, str]) -> None:
    images, answers, store = stored
    said: list[str] = []
    assert apply_corrections(said.append, "use", store, images, answers) == (images, answers)
    assert said == [f"store {store} has no corrections of dataset 'scenes'"]


def test_a_run_with_corrections_says_so_and_is_another_run(
    stored: tuple[FileDataset, TeacherAnswers, str], scenes: Path, tmp_path: Path
) -> None:
    images, answers, store = stored
    small = {"backbone": "test_resnet", "image_size": 32, "cache_size": 32, "epochs": 1, "warmup": 0, "threads": 1}

    def train(use: UseCorrections) -> Notes:
        student = StudentParameters(
            runs=str(tmp_path / "runs"), seeds=[0], settings={**small, "method": "base"}, corrections=use
        )
        notes = Notes()
        asked = TrainingParameters(dataset=DatasetParameters(source=str(scenes)), store=store, student=student)
        train_student(plain_host(notes), asked)
        return notes

    correct_some(images, answers, store)
    notes = train("use")
    (path,) = (tmp_path / "runs").glob("*/seed-0/run.json")
    described = json.loads(path.read_text())["corrections"]
    assert described == "1 label and 30 answers corrected; 1 image unlabelled"
    assert f"corrections: {described}" in notes.lines
    before = path.with_name("student.safetensors").stat().st_mtime_ns
    train("use")
    assert path.with_name("student.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunInvalid, match="other images, labels or answers"):
        train("ignore")

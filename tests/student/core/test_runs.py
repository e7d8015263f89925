from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.errors import StorageUnavailable
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers
from student.classification.runs import RunDescription
from student.classification.training import train
from student.core.files import RunInvalid
from student.core.runs import read_description
from tests.student.old_runs import CLASSIFIER

BASE = CLASSIFIER.replace(method="base", val_fraction=0.0)


def test_another_run_in_the_folder_is_refused(
    config: StudentConfig, dataset: FileDataset, answers: Answers, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    train(config.replace(epochs=1, warmup=0), dataset, teacher_answers, tmp_path, progress=False)
    with pytest.raises(RunInvalid, match=r"holds a run with lr 0\.05, not 0\.1; choose another folder"):
        train(config.replace(epochs=1, warmup=0, lr=0.1), dataset, teacher_answers, tmp_path, progress=False)
    with pytest.raises(RunInvalid, match="holds a run with labels_per_class null, not 1; choose another folder"):
        train(
            config.replace(epochs=1, warmup=0, labels_per_class=1), dataset, teacher_answers, tmp_path, progress=False
        )
    others = TeacherAnswers(image=dataclasses.replace(answers, yes=answers.no, no=answers.yes))
    with pytest.raises(RunInvalid, match="on other images, labels or answers"):
        train(config.replace(epochs=1, warmup=0), dataset, others, tmp_path, progress=False)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_run_that_cannot_be_looked_at_is_not_a_missing_one(
    dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False)
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        if path.suffix in (".json", ".safetensors"):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    for work in (
        lambda: train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False),
        lambda: evaluate(tmp_path, dataset),
    ):
        with pytest.raises(StorageUnavailable, match=os.strerror(code)):
            work()


def test_a_folder_of_runs_names_those_in_it(tmp_path: Path) -> None:
    for name in [f"{method}/seed-{seed}" for method in ("base", "recommended") for seed in range(4)]:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    with pytest.raises(RunInvalid) as raised:
        read_description(tmp_path, RunDescription)
    listed = ", ".join(f"base/seed-{seed}" for seed in range(4))
    assert str(raised.value) == (
        f"{tmp_path} is no run but holds 8: {listed}, recommended/seed-0, recommended/seed-1, ...; "
        f"name one, e.g. {tmp_path}/base/seed-0"
    )
    with pytest.raises(RunInvalid, match=r"holds 4: seed-0, seed-1, seed-2, seed-3; name one"):
        read_description(tmp_path / "base", RunDescription)

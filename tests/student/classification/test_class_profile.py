from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets import FileDataset
from student.classification.class_profile import (
    CLASS_PROFILE,
    ClassProfile,
    read_class_profile,
    write_class_profile,
)
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from tests.student.damage import flipped

PROFILE = ClassProfile(class_names=("zebra", "horse"), aspects=("striped", "four_legs"), p_yes=((0.9, 0.8), (0.1, 0.8)))


def test_training_stores_the_mean_answers_of_each_class(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    train(config.replace(val_fraction=0.0, keep="last"), dataset, teacher_answers, tmp_path, progress=False)
    profile = read_class_profile(tmp_path)
    assert profile is not None
    assert profile.class_names == ("blue", "green", "red")
    assert profile.aspects == ("is_warm", "is_leafy")
    answers = teacher_answers.of("image")
    rows = [row for row, split in enumerate(answers.splits) if split == "train"]
    for label, name in enumerate(profile.class_names):
        mean = answers.p_yes[[row for row in rows if answers.label_names[row] == name]].mean(axis=0)
        assert profile.means()[label] == pytest.approx(mean, abs=1e-4)


def test_a_student_without_aspects_has_no_profile(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    train(config.replace(method="base", epochs=1, warmup=0), dataset, TeacherAnswers(), tmp_path, progress=False)
    assert read_class_profile(tmp_path) is None


def test_a_damaged_profile_is_ignored_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_class_profile(tmp_path, PROFILE)
    assert read_class_profile(tmp_path) == PROFILE
    flipped(0.5)(tmp_path / CLASS_PROFILE)
    assert read_class_profile(tmp_path) is None
    assert "is damaged and ignored; predictions are without reasons" in capsys.readouterr().err

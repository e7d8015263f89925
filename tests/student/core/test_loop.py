from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from student.core.loop import TrainingDiverged
from student.core.setting_errors import ConfigInvalid


def test_a_loss_that_is_no_number_stops_the_run(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDiverged, match=r"the loss became nan in epoch \d.*lower lr"):
        train(config.replace(lr=1e30, warmup=0), dataset, teacher_answers, tmp_path, progress=False)


def test_one_image_at_a_time_is_refused_where_the_network_cannot(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    with pytest.raises(ConfigInvalid, match=r"many backbones need batches of two images or more: set batch_size"):
        train(config.replace(batch_size=1), dataset, teacher_answers, tmp_path, progress=False)


def test_more_images_in_a_batch_than_there_are_is_one_batch(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    run = train(config.replace(batch_size=500, epochs=1, warmup=0), dataset, teacher_answers, tmp_path, progress=False)
    assert run.train_images == 18

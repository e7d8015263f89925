import dataclasses
from pathlib import Path

import pytest
import torch

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.kd_teacher import KDTeacher
from student.classification.model import build_student
from student.classification.runs import RunDescription
from student.classification.training import train
from student.core.files import RunInvalid
from student.core.setting_errors import ConfigInvalid

CPU = torch.device("cpu")


@pytest.fixture
def learning(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> RunDescription:
    """A description of a student that learns from a network of another size and of other mean and deviation."""
    larger = config.replace(backbone="test_vit", image_size=48, method="base", epochs=1, warmup=0)
    run = train(larger, dataset, TeacherAnswers(), tmp_path / "larger", progress=False)
    return dataclasses.replace(
        run.description, config=config.replace(backbone="resnet10t", method="kd", network=str(run.run_dir))
    )


def test_the_network_sees_its_own_pixels(learning: RunDescription) -> None:
    student = build_student(learning.config, classes=3, aspects=0)
    network = KDTeacher.load(learning, student, CPU)
    assert network is not None
    assert network.network.mean != student.mean
    pixels = torch.rand(1, 3, 1, 1).expand(2, 3, 48, 48)  # of one colour, so that resizing changes nothing
    as_student, as_network = (
        (pixels - torch.tensor(model.mean).view(1, 3, 1, 1)) / torch.tensor(model.std).view(1, 3, 1, 1)
        for model in (student, network.network)
    )
    expected = network.network(as_network).class_logits_BC
    torch.testing.assert_close(network(as_student[..., :32, :32]), expected, atol=1e-4, rtol=1e-4)


def test_a_method_that_learns_from_none_has_none(learning: RunDescription) -> None:
    description = dataclasses.replace(learning, config=learning.config.replace(method="base"))
    assert KDTeacher.load(description, build_student(description.config, classes=3, aspects=0), CPU) is None


def test_networks_that_cannot_teach_are_one_line(learning: RunDescription, tmp_path: Path) -> None:
    student = build_student(learning.config, classes=3, aspects=0)
    others = dataclasses.replace(learning, class_names=("a", "b", "c"))
    with pytest.raises(ConfigInvalid, match="was trained on other classes; take a run on 'colours'"):
        KDTeacher.load(others, student, CPU)
    nowhere = dataclasses.replace(learning, config=learning.config.replace(network=str(tmp_path / "none")))
    with pytest.raises(RunInvalid, match="no run at"):
        KDTeacher.load(nowhere, student, CPU)

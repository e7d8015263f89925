from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from storage.datasets import FileDataset
from storage.errors import RunFailed
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from student.core import devices
from student.core.files import RunInvalid
from student.core.loop import TrainingDiverged
from student.core.setting_errors import ConfigInvalid


class SpawnedFabric:
    """As Fabric is with several devices, but in this process."""

    def __init__(self, **_: object) -> None:
        pass

    def launch(self, work: Any) -> None:
        try:
            work(self)
        except Exception as error:
            raise ProcessRaisedException("a traceback of many lines", 1, 2) from error


@pytest.mark.parametrize(
    "error", [TrainingDiverged("the loss became nan"), RunInvalid("x cannot be read"), KeyError(1)]
)
def test_an_error_in_another_process_is_raised_as_itself(
    config: StudentConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(devices, "Fabric", SpawnedFabric)
    expected = ProcessRaisedException if isinstance(error, KeyError) else type(error)
    with pytest.raises(expected, match="traceback of many" if isinstance(error, KeyError) else str(error)):
        devices.launch(config.replace(devices=2), fail)


def test_a_crash_in_another_process_names_the_backbone(config: StudentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ProcessExitedException("ended", 1, 2, -11, "SIGSEGV")

    monkeypatch.setattr(SpawnedFabric, "launch", crash)
    monkeypatch.setattr(devices, "Fabric", SpawnedFabric)
    with pytest.raises(RunFailed, match=f"backbone '{config.backbone}' crashed .* another backbone .*SIGSEGV"):
        devices.launch(config.replace(devices=2), lambda _: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_one_line(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    with pytest.raises(ConfigInvalid, match=r"1 CUDA device\(s\) asked for, but torch sees 0"):
        train(config.replace(accelerator="cuda"), dataset, teacher_answers, tmp_path, progress=False)

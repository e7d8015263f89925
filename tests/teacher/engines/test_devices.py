"""Which GPUs and cores the workers of a run get."""

from __future__ import annotations

import os

import pytest

from teacher.engines.config import TeacherInvalid
from teacher.engines.devices import share_devices


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def gpus_of(workers: int | None, gpus_per_worker: int = 1) -> list[str]:
    shared = share_devices(workers, gpus_per_worker)
    return [environment["CUDA_VISIBLE_DEVICES"] for environment in shared.environments]


@pytest.mark.usefixtures("four_gpus")
def test_the_default_is_one_worker_per_gpu() -> None:
    assert gpus_of(None) == ["0", "1", "2", "3"]
    assert gpus_of(2) == ["0", "1"]
    assert share_devices(2).gpus == 2


@pytest.mark.usefixtures("four_gpus")
def test_more_workers_than_gpus_share_them_in_turn() -> None:
    assert gpus_of(6) == ["0", "1", "2", "3", "0", "1"]
    shared = share_devices(6)
    assert shared.gpus == 4
    assert shared.workers_per_gpu == 2


@pytest.mark.usefixtures("four_gpus")
def test_a_large_teacher_takes_several_gpus() -> None:
    assert gpus_of(None, gpus_per_worker=2) == ["0,1", "2,3"]
    assert gpus_of(None, gpus_per_worker=3) == ["0,1,2"]
    with pytest.raises(TeacherInvalid, match="over 8 GPUs, but only 4"):
        share_devices(None, gpus_per_worker=8)


@pytest.mark.usefixtures("no_gpu")
def test_workers_on_a_cpu_share_its_cores() -> None:
    assert list(share_devices(None).environments) == [{}]
    cores = len(os.sched_getaffinity(0))
    if cores > 1:
        shared = share_devices(cores)
        assert shared.gpus == 0
        assert list(shared.environments) == [{"OMP_NUM_THREADS": "1"}] * cores
    with pytest.raises(TeacherInvalid, match="at most one worker for each"):
        share_devices(cores + 1)

"""Processes that torchrun starts train as one process does on the same batches."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import distributed, nn

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.model import create_network
from student.classification.runs import load_run
from student.classification.training import train
from student.core.batch_norm import synchronize_batch_norm
from student.core.decoding import ImageSource
from student.core.devices import OfFirstProcess, on_all_devices
from student.core.disk_cache import DiskCache
from student.core.placement import choose_place, worker_count
from student.core.resizing import TrainingShrink
from student.core.setting_errors import ConfigInvalid
from student.core.torchrun import Torchrun
from tests.conftest import PROJECT
from tests.student.conftest import answers_for

RANK_SCRIPT = """
import json, sys, torch
from pathlib import Path
from storage.datasets import image_folder
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from student.core.devices import work_for_first
from student.core.torchrun import Torchrun, follow, leading
from tests.student.conftest import answers_for
torch.set_num_threads(1)
if Torchrun.current().rank > 0:
    follow(work_for_first)
else:
    dataset = image_folder(Path(sys.argv[1]), name="colours")
    with leading():
        for name, settings in json.loads(sys.argv[3]).items():
            train(
                StudentConfig.from_dict(settings), dataset, TeacherAnswers(image=answers_for(dataset)),
                Path(sys.argv[2]) / name, progress=False, on_epoch=lambda log: print(log.epoch),
            )
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.mark.slow
def test_two_machines_train_as_one_process_does(
    config: StudentConfig, image_root: Path, dataset: FileDataset, tmp_path: Path
) -> None:
    config = config.replace(drop_rate=0.0, sync_batchnorm=True, threads=1, workers=0, epochs=2, keep="last")
    torch.save(create_network(config, outputs=5).state_dict(), tmp_path / "weights.pth")
    configs = {
        "from scratch": config.replace(balance="is_warm"),
        "after a probe": config.replace(seed=1, weights=str(tmp_path / "weights.pth"), probe_epochs=20),
    }
    (tmp_path / "rank.py").write_text(RANK_SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    arguments = [
        str(image_root),
        str(tmp_path / "two"),
        json.dumps({name: each.to_dict() for name, each in configs.items()}),
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen([*torchrun, str(tmp_path / "rank.py"), *arguments], cwd=PROJECT, env=environment)
        for _ in range(2)
    ]
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    for name, each in configs.items():
        teacher_answers = TeacherAnswers(image=answers_for(dataset))
        alone = train(each, dataset, teacher_answers, tmp_path / "one" / name, progress=False)
        together = load_run(tmp_path / "two" / name)
        for loss in ("loss", "classification", "aspects", "val_loss"):
            expected = [getattr(log, loss) for log in alone.epochs]
            assert [getattr(log, loss) for log in together.epochs] == pytest.approx(expected, rel=1e-4)
        weights = alone.load().state_dict()
        for layer, tensor in together.load().state_dict().items():
            torch.testing.assert_close(tensor, weights[layer], rtol=1e-3, atol=1e-5)


@pytest.fixture
def _group() -> Iterator[None]:
    store = distributed.HashStore()  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("_group")
def test_synchronised_batch_norm_is_torchs_where_there_is_one_device() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), BatchNormAct2d(4), nn.Flatten(), nn.BatchNorm1d(36, momentum=None)
    )
    network.double()
    other = pickle.loads(pickle.dumps(network))
    synchronize_batch_norm(other, torch.device("cpu"))
    assert other.state_dict().keys() == network.state_dict().keys()
    images = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    for _ in range(2):
        for one in (network, other):
            (one(images) * torch.arange(36)).square().sum().backward()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor)
    for one, another in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(another.grad, one.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(other.eval()(images), network.eval()(images))


@pytest.mark.usefixtures("_group")
def test_synchronised_batch_norm_of_bfloat16_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    images = (3 * torch.randn(301, 4, 3, 3) + 1).bfloat16()  # more than bfloat16 can count
    layer, other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    synchronize_batch_norm(other, torch.device("cpu"))
    found = other(images)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found, layer(images.float()).bfloat16())
    for name, tensor in layer.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor)


def by_torchrun(monkeypatch: pytest.MonkeyPatch, rank: int, world: int, local: int) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name, value in (("RANK", rank), ("WORLD_SIZE", world), ("LOCAL_WORLD_SIZE", local)):
        monkeypatch.setenv(name, str(value))


def test_devices_are_those_of_torchrun(config: StudentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Torchrun.current() is None
    assert on_all_devices(config) is config
    by_torchrun(monkeypatch, 0, 6, 3)
    assert Torchrun.current() == Torchrun(rank=0, world=6, local=3)
    assert on_all_devices(config).devices == 6
    with pytest.raises(ConfigInvalid, match="devices is 2, but torchrun started 6; leave devices out"):
        on_all_devices(config.replace(devices=2))
    with pytest.raises(ConfigInvalid, match="batch_size 8 does not divide among 6 devices"):
        on_all_devices(config.replace(batch_size=8))
    by_torchrun(monkeypatch, 0, 1, 1)
    assert Torchrun.current() is None


def test_several_machines_share_no_memory(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ImageSource(dataset=dataset, records=dataset.records, preparation=TrainingShrink(size=37))
    cache = DiskCache(tmp_path, 1e9)
    monkeypatch.setattr("student.core.placement.available_cpus", lambda: 6)
    by_torchrun(monkeypatch, 0, 4, 2)
    assert choose_place(config, source, cache) == ("stream", "2 machines train; decoded anew in every epoch")
    assert choose_place(config.replace(cache="disk"), source, cache)[0] == "disk"
    assert worker_count(config) == 3
    with pytest.raises(ConfigInvalid, match="cache=memory is for one machine, and torchrun started 2"):
        choose_place(config.replace(cache="memory"), source, cache)
    by_torchrun(monkeypatch, 0, 2, 2)
    assert choose_place(config, source, cache)[0] == "memory"


def test_other_processes_call_nothing_of_the_first() -> None:
    called: list[int] = []
    first = OfFirstProcess(called.append)
    first(1)
    pickle.loads(pickle.dumps(first))(2)
    assert called == [1]

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from student.classification.config import StudentConfig
from student.core.processor import available_cpus, free_memory, processor_notes, usable_precision, use_threads

CONFIG = StudentConfig(backbone="test_resnet", image_size=32, epochs=1)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Eight CPUs, nothing else to do, and no settings."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "5000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_a_containers_quota_counts(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 4096 << 10),
        ({"memory.max": "max", "memory.current": "1"}, 4096 << 10),
        ({"memory.max": "3000000", "memory.current": "2000000", "memory.stat": "anon 5\ninactive_file 700"}, 1000700),
        ({"memory/memory.limit_in_bytes": "3000", "memory/memory.usage_in_bytes": "1000"}, 2000),
        ({"memory.max": "3000", "memory.current": "5000"}, 0),
    ],
)
def test_a_containers_memory_counts(tmp_path: Path, files: dict[str, str], free: int) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4096 kB\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(tmp_path, tmp_path / "meminfo") == free


def test_no_more_threads_than_cpus_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("student.core.processor.available_cpus", lambda: 2)
    torch.set_num_threads(6)
    use_threads(CONFIG)
    assert torch.get_num_threads() == 2
    use_threads(CONFIG.replace(threads=3))
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    use_threads(CONFIG)
    assert torch.get_num_threads() == 3


def test_a_busy_machine_is_worth_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(8)
    monkeypatch.setattr("student.core.processor.available_cpus", lambda: 8)
    assert processor_notes(CONFIG) == []
    monkeypatch.setattr(os, "getloadavg", lambda: (5.0, 0.0, 0.0))
    (note,) = processor_notes(CONFIG)
    assert "8 threads may be several times slower than one; --set threads=1" in note
    assert processor_notes(CONFIG.replace(threads=8)) == []


def test_bfloat16_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = CONFIG.replace(precision="bf16-mixed")
    monkeypatch.setattr("student.core.processor.cpu_has_bfloat16", lambda: True)
    assert (usable_precision(mixed), processor_notes(mixed)) == ("bf16-mixed", [])
    monkeypatch.setattr("student.core.processor.cpu_has_bfloat16", lambda: False)
    assert usable_precision(mixed) == "32-true"
    assert usable_precision(mixed.replace(accelerator="cuda")) == "bf16-mixed"
    (note,) = processor_notes(mixed)
    assert "no instructions for bfloat16" in note
    assert processor_notes(CONFIG) == []

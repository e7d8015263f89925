"""The number of threads and the precision of training on a CPU, and the memory that is free.

Threads wait for each other at every layer: where something else keeps their CPUs busy, a single one is faster. And
bfloat16 takes ten times as long as float32 where the CPU has no instructions for it.
"""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

import torch

from student.core.settings import Precision, TrainingConfig

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


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


def free_memory(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """Bytes of memory that this process may still take: of the machine, and of the limit of its container. What the
    system keeps of files counts as free."""
    amounts = [int(words[1]) << 10 for line in _lines(meminfo) if (words := line.split())[:1] == ["MemAvailable:"]]
    if not amounts:  # not on Linux
        amounts = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    v1 = cgroup / "memory"
    for limit, used, stat in (
        (cgroup / "memory.max", cgroup / "memory.current", cgroup / "memory.stat"),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", v1 / "memory.stat"),
    ):
        words = [*_words(limit), *_words(used)]
        if len(words) == 2 and all(word.isdigit() for word in words):  # "max": no limit
            files = [int(line.split()[1]) for line in _lines(stat) if line.startswith("inactive_file ")]
            amounts.append(max(0, int(words[0]) - int(words[1]) + sum(files)))
    return min(amounts)


def usable_precision(config: TrainingConfig) -> Precision:
    """The config's precision; float32 instead of bfloat16 on a CPU without instructions for it."""
    if config.precision == "bf16-mixed" and config.accelerator == "cpu" and not cpu_has_bfloat16():
        return "32-true"
    return config.precision


@cache
def cpu_has_bfloat16() -> bool:
    """Whether the CPU itself multiplies matrices of bfloat16."""
    # oneDNN's own test passes for any AVX-512, where it converts to float32 and back.
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return True


def processor_notes(config: TrainingConfig) -> list[str]:
    """Notes for the user about training on this machine's CPU."""
    notes = [] if (hint := _busy_hint(config)) is None else [hint]
    if usable_precision(config) != config.precision:
        notes.append("this CPU has no instructions for bfloat16: training computes in float32, which is faster here")
    return notes


def _busy_hint(config: TrainingConfig) -> str | None:
    """A hint where other processes keep so many CPUs busy that threads would wait for each other."""
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
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []

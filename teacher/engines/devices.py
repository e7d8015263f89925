"""Assign GPUs or CPU cores to the engine processes of a run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from teacher.engines.config import TeacherInvalid


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of a run's workers: an environment for each process, and the total number of GPUs."""

    environments: Sequence[Mapping[str, str]]
    gpus: int
    workers_per_gpu: int

    def __len__(self) -> int:
        return len(self.environments)


def share_devices(workers: int | None, gpus_per_worker: int = 1) -> Devices:
    """Return devices for `workers` processes; None means one per GPU (per `gpus_per_worker` of them), or one on the
    CPU.

    More workers than GPUs share them in turn. On a CPU they share the cores. Raises TeacherInvalid if a worker wants
    more GPUs than there are, or there are more workers than cores.
    """
    gpus = visible_gpus()
    if not gpus:
        return Devices(_share_cores(workers or 1), gpus=0, workers_per_gpu=0)
    groups = [gpus[start : start + gpus_per_worker] for start in range(0, len(gpus), gpus_per_worker)]
    groups = [group for group in groups if len(group) == gpus_per_worker]
    if not groups:
        raise TeacherInvalid(f"a teacher over {gpus_per_worker} GPUs, but only {len(gpus)} can be seen")
    workers = workers or len(groups)
    taken = [groups[worker % len(groups)] for worker in range(workers)]
    return Devices(
        [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in taken],
        gpus=gpus_per_worker * min(workers, len(groups)),
        workers_per_gpu=-(-workers // len(groups)),
    )


def visible_gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs for CUDA_VISIBLE_DEVICES, without loading CUDA into this process."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    listed = _list_gpus()
    return [str(index) for index, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


@cache
def _list_gpus() -> str:
    """Return the lines of nvidia-smi's list, empty without a GPU. With many GPUs it takes seconds."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _share_cores(workers: int) -> list[dict[str, str]]:
    if workers == 1:
        return [{}]  # chosen by the engine
    cores = len(os.sched_getaffinity(0))
    if workers > cores:
        raise TeacherInvalid(f"{workers} workers, but only {cores} cores; take at most one worker for each")
    return [{"OMP_NUM_THREADS": str(cores // workers)}] * workers

"""Load of a process: CPU time of its threads, where its Python code is, and the GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

SAMPLE_SECONDS = 0.01
SHOWN_THREADS, SHOWN_PLACES = 2, 12
LEAST, MOST = 0.03, 0.9  # shares of a thread's samples: functions outside this range are left out
_sampler: Sampler | None = None


class Sampler(threading.Thread):
    """Samples every 10 ms where each Python thread of this process is."""

    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self._stopped = threading.Event()
        self._places: dict[int, Counter[str]] = {}
        self._samples = 0
        self._before = _cpu_seconds()
        self._begun = time.perf_counter()

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self._samples += 1
            for ident, frame in sys._current_frames().items():
                if ident != self.ident:
                    self._places.setdefault(ident, Counter()).update(_functions(frame))

    def finish(self) -> dict[str, Any]:
        """CPUs that the process was busy on, and its busiest Python threads: share of a CPU, and functions by the share
        of samples in which the thread was inside them."""
        self._stopped.set()
        self.join()
        seconds = time.perf_counter() - self._begun
        after = _cpu_seconds()
        busy = {thread: (after[thread] - self._before.get(thread, 0.0)) / seconds for thread in after}
        python = {thread.native_id: thread for thread in threading.enumerate() if thread is not self}
        busiest = sorted(python, key=lambda native: busy.get(native or 0, 0.0), reverse=True)[:SHOWN_THREADS]
        return {
            "cpus": round(sum(busy.values()), 2),
            "python_threads": [
                {
                    "name": python[native].name,
                    "cpu": round(busy.get(native or 0, 0.0), 2),
                    "inside": self._inside(python[native].ident),
                }
                for native in busiest
            ],
        }

    def _inside(self, ident: int | None) -> dict[str, float]:
        shares = {place: count / max(1, self._samples) for place, count in self._places.get(ident or 0, {}).items()}
        distinctive = sorted(((share, place) for place, share in shares.items() if LEAST < share < MOST), reverse=True)
        return {place: round(share, 2) for share, place in distinctive[:SHOWN_PLACES]}


def start_sampling(_: object) -> None:
    """In the sampled process; the argument is its model, see `ModelProcess.call`."""
    global _sampler
    _sampler = Sampler()
    _sampler.start()


def finish_sampling(_: object) -> dict[str, Any]:
    assert _sampler is not None, "nothing was started"
    return _sampler.finish()


@contextmanager
def watching_gpu(found: dict[str, float]) -> Iterator[None]:
    """Puts the GPU's mean utilisation (percent of the time in which any kernel ran) and power (watts) into `found` when
    the block ends; nothing without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        yield
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,power.draw", "--format=csv,noheader,nounits", "-lms", "500"]
    watcher = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield
    finally:
        watcher.terminate()
        rows = [line.split(",") for line in (watcher.communicate()[0] or "").splitlines() if line.count(",") == 1]
        for column, name in enumerate(("gpu_percent", "gpu_watts")):
            values = [float(row[column]) for row in rows if row[column].strip().replace(".", "").isdigit()]
            if values:
                found[name] = round(sum(values) / len(values), 1)


def _cpu_seconds() -> dict[int, float]:
    """Of each thread of this process, by its number in the system."""
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}


def _functions(frame: FrameType | None) -> set[str]:
    """The functions that a thread is inside of, as file:function."""
    found = set()
    while frame is not None:
        found.add(f"{Path(frame.f_code.co_filename).stem}:{frame.f_code.co_name}")
        frame = frame.f_back
    return found

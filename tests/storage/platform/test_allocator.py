"""Freed memory is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Page faults of ten arrays of 100 MB, each freed before the next.
ARRAYS = """
import resource
import numpy as np
from storage.platform.allocator import keep_freed_memory
KEEP
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(10):
    np.empty(100_000_000, np.uint8).fill(1)
print(faults() - before)
"""


def page_faults(keep: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", ARRAYS.replace("KEEP", keep)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_memory_is_touched_for_the_first_time_only_once() -> None:
    assert page_faults("keep_freed_memory()") < page_faults("") / 3  # of ten, and large pages are not always to be had

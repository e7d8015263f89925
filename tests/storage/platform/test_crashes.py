"""A process that crashes leaves one line that says what it did; one that ends in another way leaves none."""

import signal
import subprocess
import sys

import pytest

from storage.platform.crashes import CRASHES

SCRIPT = """
import os, signal, sys
from storage.platform.crashes import reporting_crash
with reporting_crash("backbone 'x\x1b[1m' crashed"), reporting_crash("an inner block"):
    {within}
{after}
"""


def ended(within: str, after: str = "") -> tuple[int, str]:
    script = SCRIPT.format(within=within, after=after)
    # A process that the line's writer held open would run into the limit.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_leaves_one_line(name: str) -> None:
    code, said = ended(f"os.kill(os.getpid(), signal.{name})")
    assert code == -signal.Signals[name]
    assert said == "\nbackbone 'x\\x1b[1m' crashed\n"


@pytest.mark.parametrize(
    ("within", "after", "code", "said"),
    [
        ("pass", "sys.exit(3)", 3, ""),
        ("os._exit(4)", "", 4, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", "", -signal.SIGKILL, ""),
        ("os.kill(os.getpid(), signal.SIGTERM)", "", -signal.SIGTERM, ""),
        ("sys.exit('an error')", "", 1, "an error\n"),
        ("pass", "os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, ""),
    ],
)
def test_other_ends_leave_no_line(within: str, after: str, code: int, said: str) -> None:
    assert ended(within, after) == (code, said)

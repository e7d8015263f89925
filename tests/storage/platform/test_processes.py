from __future__ import annotations

import signal
import subprocess
import sys

from storage.platform.processes import ENDING, without_signals
from tests.conftest import PROJECT

CHILD = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from storage.platform.processes import serve_parent
serve_parent(os.getppid())
os.kill(os.getpid(), signal.SIGTERM)
print("still here", flush=True)
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""
# Starts the child above, waits until it is ready, and ends.
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], stderr=subprocess.PIPE)
child.stderr.readline()
os._exit(0)
"""


def test_signals_wait_until_a_process_has_been_started() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with without_signals():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= ENDING
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_process_ignores_signals_and_ends_with_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(PROJECT), CHILD], stdout=subprocess.PIPE, text=True, check=True, timeout=30
    )  # returns once the pipe is closed on the other side: the child has ended too
    assert done.stdout == "still here\n"

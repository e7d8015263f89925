"""A model's process: started from any program, silent on the terminal, and its errors are text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from teacher.engines.base import TeacherDied
from teacher.engines.config import TeacherInvalid
from teacher.engines.process import ModelProcess
from tests.conftest import PROJECT
from tests.flows.processes import alive, wait_until
from tests.teacher.loud import load_loud, load_unusable, shout

# No guard around what it does, and a warning that libraries would print: the process must not run it again.
MAIN = """
import multiprocessing, sys, warnings
print("main file", flush=True)
warnings.warn("noise")
from teacher.engines.config import TeacherInvalid
from teacher.engines.options import EngineOptions
from teacher.engines.base import TeacherDied
from teacher.engines.process import ModelProcess
from tests.teacher.loud import count, load_loud, refuse, release, shout, wait_until_released
from functools import partial
model = ModelProcess(partial(load_loud, "my-key-1"), secrets=["my-key-1"])
print(model.call(shout, 3), flush=True)
try:
    model.call(refuse, "my-key-1")
except TeacherInvalid as error:
    print(error, flush=True)
reports = []
print(model.call(count, 3, on_report=reports.append), reports, flush=True)
# One call at a time, and another that does not wait for it.
print(model.call(wait_until_released, on_report=lambda report: model.call_urgently(release)), flush=True)
words = model._log.last_words()
model.close()
assert "warning" in words, words
# As where a process that it has started keeps the pipe open.
model._connection, kept = multiprocessing.Pipe()
try:
    model.call(shout, 3)
except TeacherDied as error:
    print(error, flush=True)
try:
    ModelProcess(partial(load_loud, "my-key-1", fails=True), secrets=["my-key-1"])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_process_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert run.stderr.count("noise") == 2, run.stderr  # the warning and its line of code
    assert "warning" not in run.stderr.replace("UserWarning", "").replace("warnings.warn", "")
    first, said, refused, reported, released, closed, died = run.stdout.splitlines()
    assert (first, said) == ("main file", "3")
    assert refused == "the teacher cannot be used: no ***"
    assert (reported, released) == ("3 [0, 1, 2]", "True")
    assert closed.startswith("teacher process ended with code -9: ")
    assert died.startswith("TeacherDied teacher process ended with code 1: ")
    assert died.endswith("RuntimeError: no use with ***")
    assert not list(tmp_path.glob("aspects-teacher-*"))


def test_a_closed_model_leaves_no_process_and_a_killed_one_is_reported_as_dead() -> None:
    closed, killed = (ModelProcess(partial(load_loud, "")) for _ in range(2))
    for model in (closed, killed):
        assert model._process.pid is not None
        assert psutil.pid_exists(model._process.pid)
    closed.close()
    assert not psutil.pid_exists(closed._process.pid or 0)
    os.kill(killed._process.pid or 0, signal.SIGKILL)
    with pytest.raises(TeacherDied, match="code -9"):
        killed.call(shout, 1)
    assert not killed.alive
    killed.close()


def test_an_unusable_model_is_an_error_in_the_parent() -> None:
    with pytest.raises(TeacherInvalid, match="model bert takes no images"):
        ModelProcess(load_unusable)


OWNER = """
import sys, time
from functools import partial
from teacher.engines.process import ModelProcess
from tests.teacher.loud import load_loud
if __name__ == "__main__":
    model = ModelProcess(partial(load_loud, ""))
    print(model._process.pid, flush=True)
    time.sleep(600)
"""


def test_the_process_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    wait_until(lambda: not alive(pid), 20, f"the end of process {pid}, whose owner has ended,")

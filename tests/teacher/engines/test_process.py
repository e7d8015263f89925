"""A model's process: started from any program, silent on the terminal, and its errors are text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

# No guard around what it does, and a warning that libraries would print: the process must not run it again.
MAIN = """
import multiprocessing, sys, warnings
print("main file", flush=True)
warnings.warn("noise")
from teacher.engines.config import TeacherInvalid
from teacher.engines.options import EngineOptions
from teacher.engines.process import ModelProcess, TeacherDied
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

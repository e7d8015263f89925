"""Commands that are killed at random moments and given again: the short form of bench/chaos.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

CHAOS = PROJECT / "bench" / "chaos.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_kills_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(CHAOS), "--kills", "3", "--seed", "3", "--only", "extract,import,prune"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["kills"] >= 3
    assert (line["violations"], line["other_checks"]) == (0, 1)
    assert line["questions_needed"] <= line["questions_asked"] <= line["questions_allowed"]


def test_an_unknown_scenario_is_named() -> None:
    command = [sys.executable, str(CHAOS), "--only", "extract,nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "'nonsense' is unknown; use extract, extract-s3" in done.stderr

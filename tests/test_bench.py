"""Every benchmark starts: what it imports is there, and is ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SCRIPTS = [path for path in sorted((PROJECT / "bench").glob("*.py")) if "ArgumentParser" in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_explains_itself(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(script), "--help"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"usage: {script.name}")


def test_no_benchmark_hides_a_package() -> None:
    # Python looks into the folder of the file that it runs first.
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")}
    assert {"flows", "storage", "student", "teacher"} <= packages
    assert packages & {path.stem for path in (PROJECT / "bench").glob("*.py")} == set()

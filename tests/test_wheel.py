"""The built wheel in a folder of its own: it has what it needs without the repository, and plants nothing elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT

pytest.importorskip("hatchling", reason="hatchling is not installed; `make install` does that")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    (wheel,) = (folder / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(folder / "target"), str(wheel)], check=True, capture_output=True, timeout=120)
    return folder / "target"


def aspects(installed: Path, folder: Path, *arguments: str) -> str:
    """What the installed command prints in `folder`, with the packages of this environment but not this repository:
    without `site` no .pth file leads to it."""
    borrowed = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ASPECTS_"))}
    environment |= {"PYTHONPATH": os.pathsep.join([str(installed), *borrowed]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-m", "flows", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_version_is_printed(installed: Path, tmp_path: Path) -> None:
    assert aspects(installed, tmp_path, "--version") == f"aspects {version('aspects')}\n"


def test_it_holds_the_packages_their_data_and_nothing_that_python_runs_unasked(installed: Path) -> None:
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {
        *("bin", "flows", "storage", "student", "teacher", "view")
    }
    bundled = installed / "storage" / "bundled"
    for kind in ("questions", "experiments"):
        assert {path.name for path in (bundled / kind).iterdir()} == {path.name for path in (PROJECT / kind).iterdir()}
    assert yaml.safe_load((bundled / "prefect.yaml").read_text())["deployments"]
    assert (installed / "teacher" / "questions" / "prompts" / "generate_questions.txt").is_file()
    assert all(
        (installed / package / "py.typed").is_file() for package in ("flows", "storage", "student", "teacher", "view")
    )
    for folder in ("static", "templates"):
        files = {path.relative_to(PROJECT) for path in (PROJECT / "view" / folder).rglob("*") if path.is_file()}
        assert files
        assert all((installed / path).is_file() for path in files)
    (licence,) = installed.glob("*.dist-info/licenses/LICENSE")
    assert licence.read_bytes() == (PROJECT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_images_are_asked_about_and_a_student_is_trained(installed: Path, tmp_path: Path) -> None:
    aspects(installed, tmp_path, "scenes", "scenes", "--train", "1", "--test", "1")
    teacher = ("--teacher", "tiny", "--engine", "transformers")
    student = ("--recipe", "demo", "--epochs", "1", "--seeds", "0")
    shown = aspects(installed, tmp_path, "run", "-d", "scenes", "-q", "scenes", *teacher, *student)
    assert "recommended" in shown
    (manifest,) = tmp_path.glob("store/answers/*/*/*.json")
    assert json.loads(manifest.read_text())["runs"][0]["questions"] == 12 * 50
    assert len(list(tmp_path.glob("runs/*/seed-0/student.safetensors"))) == 3

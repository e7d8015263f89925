"""Whatever is wrong with a command's input: one line on standard error, exit code 2, at once, in little memory."""

from __future__ import annotations

import importlib.util
import resource
import time
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import Aspects
from tests.flows.wrong_files import write_project
from tests.flows.wrong_inputs import RIGHT, Case, cases

CASES = cases()
SECONDS = 10
MEGABYTES = 400  # beside what is imported, which takes about as much


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With everything imported that commands import: what is measured is the commands."""
    import student.classification.export  # noqa: F401

    folder = tmp_path_factory.mktemp("wrong")
    write_project(folder)
    return folder


def name_of(case: Case) -> str:
    return " ".join(word if len(word) < 50 else f"{word[:20]}..." for word in case[0])


def peak_megabytes() -> float:
    """The most that this process has ever taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_there_are_enough_and_every_command_is_among_them() -> None:
    assert len(CASES) >= 150
    started = [case[0][:2] if case[0][:1] in (["questions"], ["store"]) else case[0][:1] for case in CASES]
    assert all(command[: 2 if command[0] in ("questions", "store") else 1] in started for command in RIGHT.values())


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_wrong_input_is_one_line(
    aspects: Aspects, project: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, said = case
    if arguments[:2] == ["questions", "generate"] and importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed, and that is said first")
    monkeypatch.chdir(project)
    started, taken, peak = time.monotonic(), psutil.Process().memory_info().rss / 2**20, peak_megabytes()
    outcome = aspects(*arguments)
    assert time.monotonic() - started < SECONDS
    assert peak_megabytes() == peak or peak_megabytes() - taken < MEGABYTES
    assert outcome.code == 2, outcome.err
    if not arguments:  # the help
        return
    lines = outcome.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert len(lines) <= 4
    assert said in errors[0]
    assert all(line.isprintable() and len(line) < 1100 for line in lines)

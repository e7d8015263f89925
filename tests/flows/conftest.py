"""What the flow tests share: scenes to ask about, a small question set, and the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
import typer.main
import yaml

from flows.__main__ import main
from storage.datasets.scenes.classification import write_scenes
from tests.conftest import PROJECT


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo dataset with two training images and one test image a class."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, train_per_class=2, test_per_class=1, seed=7)
    return folder


@pytest.fixture(scope="session")
def few_questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first four questions about scenes, as a question set of their own."""
    document = yaml.safe_load((PROJECT / "questions" / "scenes.yaml").read_text(encoding="utf-8"))
    path = tmp_path_factory.mktemp("questions") / "few.yaml"
    path.write_text(yaml.safe_dump({"questions": document["questions"][:4]}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def environment() -> Mapping[str, str]:
    """For commands that are started as processes: no server, one thread each."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ASPECTS_"))}
    return {**inherited, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Outcome:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Aspects = Callable[..., Outcome]
# Built once for all tests: that takes as long as most commands that end with an error.
built_command = cache(typer.main.get_command)


@pytest.fixture
def aspects(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Aspects]:
    """Runs the command in `tmp_path`, in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["aspects", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    monkeypatch.setattr(typer.main, "get_command", built_command)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with mock.patch.dict(os.environ):
        yield run

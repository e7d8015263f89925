"""What an engine prints leaves no file behind; errors cross as text without secrets."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from teacher.engines.base import ImageRefused, TeacherUnreachable
from teacher.engines.config import ChatTemplateMissing, TeacherInvalid
from teacher.engines.engine_log import EngineLog, LogWriter, remove_old_logs
from teacher.engines.packed_error import LONGEST, pack
from teacher.engines.redaction import redact


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def written(folder: Path, name: str, age: float = 0.0) -> Path:
    path = folder / name
    path.write_text("x")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


@pytest.mark.parametrize(
    ("name", "age", "stays"),
    [
        ("aspects-teacher-abc_1234.log", 3600, True),  # perhaps of a running older release
        ("aspects-teacher-abc_1234.log", 100_000, False),
        ("aspects-teacher-notes.md.log", 100_000, True),
        ("another.log", 100_000, True),
    ],
)
def test_logs_of_the_first_release_are_removed(folder: Path, name: str, age: float, stays: bool) -> None:
    path = written(folder, name, age)
    remove_old_logs()
    assert path.exists() == stays


def test_old_logs_are_removed_also_beside_one_that_another_run_removes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is listed first: the other run is faster with it."""
    paths = [written(folder, f"aspects-teacher-{name}.log", 100_000) for name in "abc"]
    real = Path.unlink
    faster: list[Path] = []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if not faster:
            faster.append(path)
            real(path)
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    remove_old_logs()
    assert not any(path.exists() for path in paths)


def test_a_log_is_closed_with_its_object_without_a_warning() -> None:
    log = EngineLog()
    handle = log._handle
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del log
        gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def print_and_end(log: LogWriter) -> None:
    log.take_output()
    subprocess.run(["sh", "-c", "echo of a child"], check=True)
    print("of the process", file=sys.stderr)


def test_a_process_and_its_children_print_into_a_file_without_a_name(folder: Path) -> None:
    log = EngineLog()
    process = multiprocessing.get_context("spawn").Process(target=print_and_end, args=(log,))
    process.start()
    process.join()
    assert log.last_words() == "of a child | of the process"
    assert list(folder.iterdir()) == []


def test_the_last_words_are_printable_and_without_secrets() -> None:
    log = EngineLog()
    os.write(log._handle, b"x" * 100_000 + b"\nfirst\nBearer my-key-1 \x1b[2J\xff\n\nlast " + b"y" * 1000)
    words = log.last_words(["my-key-1"])
    assert words.isprintable()
    assert len(words) <= 400
    assert words.startswith("first | Bearer *** \\x1b[2J")
    assert EngineLog().last_words() == ""


@pytest.mark.parametrize(
    "error", [TeacherInvalid("a"), ChatTemplateMissing("b"), TeacherUnreachable("c"), ImageRefused(3, "d")]
)
def test_an_error_crosses_as_text(error: Exception) -> None:
    crossed = pickle.loads(pickle.dumps(pack(error))).unpack()
    assert type(crossed) is type(error)
    assert str(crossed) == str(error)


class Foreign(ValueError):
    """As libraries have them: nobody else can read it."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("\x1b[31m" + "my-key-1 " * 1000)


def test_a_librarys_error_crosses_within_limits() -> None:
    crossed = pickle.loads(pickle.dumps(pack(Foreign(1, 2), ["my-key-1"]))).unpack()
    assert type(crossed) is TeacherInvalid
    assert str(crossed).isprintable()
    assert len(str(crossed)) < LONGEST + 50
    assert "my-key" not in str(crossed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:pw@host/v1 failed", "http://***@host/v1 failed"),
        ("GET https://host/v1?api_key=abc&x=1", "GET https://host/v1?api_key=***&x=1"),
        ("Authorization: Bearer abcdef12345", "Authorization: Bearer ***"),
        ("a bearer of news, basic manners", "a bearer of news, basic manners"),
        ("key sk-1 and sk-12", "key *** and ***"),
        ("ab", "ab"),
    ],
)
def test_secrets_are_hidden(text: str, expected: str) -> None:
    assert redact(text, ["sk-1", "sk-12", "ab"]) == expected

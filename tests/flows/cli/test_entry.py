"""Starting and ending the command: version, pipes that close, encodings, closed streams, no terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.flows.conftest import Aspects

COMMAND = f"{sys.executable} -m flows"


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", script], cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, check=False
    )


def test_version(aspects: Aspects) -> None:
    outcome = aspects("--version")
    assert (outcome.code, outcome.out) == (0, f"aspects {version('aspects')}\n")


def test_a_reader_that_stops_reading_is_no_error() -> None:
    # More than a pipe holds, so that writing really fails; and what is flushed only at the end.
    for script in (f"{COMMAND} --help | true", f"{COMMAND} teachers | (exec <&-; sleep 0)"):
        ended = shell(script)
        assert (ended.stdout, ended.stderr) == (b"", b"")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-", "<&-"])
def test_closed_streams_are_no_error(redirection: str) -> None:
    ended = shell(f"{COMMAND} --version {redirection}; echo $?")
    assert ended.stdout.splitlines()[-1] == b"0"
    assert b"Error" not in ended.stderr


def test_a_full_disk_is_one_line_and_exit_code_1() -> None:
    ended = shell(f"{COMMAND} --version > /dev/full; echo $?")
    assert ended.stdout == b"1\n"
    assert ended.stderr.startswith(b"error: ")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_other_encodings_spell_what_they_lack(environment: dict[str, str]) -> None:
    code = "from flows.cli import entry; from rich.console import Console; entry._prepare_streams()\n"
    code += "Console().print('1 \\xb1 2 \\u2192 x\\u2026 \\u2603 \\udcff')"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert (process.returncode, process.stderr) == (0, b"")
    if "PYTHONIOENCODING" in environment:
        assert process.stdout == b"1 +- 2 -> x... \\u2603 \\udcff\n"


def test_errors_about_foreign_arguments_are_printable(aspects: Aspects) -> None:
    outcome = aspects("sh\x1b[31m\now\u202e")
    assert outcome.code == 2
    assert "\x1b" not in outcome.err
    assert outcome.err.count("\n") == 1


def test_pruning_without_a_terminal_names_the_option(
    aspects: Aspects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "store" / "answers" / "dataset=a" / "teacher=b" / "questions=c"
    folder.mkdir(parents=True)
    (folder / "part-00000.parquet").write_bytes(b"")
    (tmp_path / "set.yaml").write_text("questions: [{key: is_red, text: 'Is it red?'}]")
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        outcome = aspects("store", "prune", "-q", "set.yaml")
    assert outcome.code == 2
    assert "add --yes" in outcome.err
    assert folder.exists()

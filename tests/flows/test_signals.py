"""Signals end a command soon, with one line, the signal's exit code and nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bench.chaos_servers import CountingTeacher, serving
from flows import signals
from tests.conftest import PROJECT
from tests.flows.processes import alive, descendants, is_engine, started, wait_until

SOON = 5.0  # seconds
LINE = signals.LINE + "\n"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")


def script(body: str) -> list[str]:
    """A process that listens, says so and runs `body`; a signal ends it as it ends a command."""
    code = (
        "import hashlib, os, signal, subprocess, sys, threading, time\n"
        "from flows import signals\n"
        "with signals.listening():\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        f"        {body}\n"
        "    except signals.Ended as ended:\n"
        "        signals.print_line()\n"
        "        signals.leave(ended.code)\n"
    )
    return [sys.executable, "-c", code]


def end_script(body: str, *numbers: signal.Signals) -> tuple[int, str, float]:
    """Exit code, standard error, and the seconds from the last signal to the end."""
    process = subprocess.Popen(
        script(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in numbers:
        time.sleep(0.3)
        process.send_signal(number)
    begun = time.monotonic()
    _, err = process.communicate(timeout=30)
    return process.returncode, err, time.monotonic() - begun


@pytest.mark.parametrize("number", CODES)
def test_a_signal_is_one_line_and_its_exit_code(number: signal.Signals) -> None:
    code, err, seconds = end_script("time.sleep(60)", number)
    assert (code, err) == (CODES[number], LINE)
    assert seconds < SOON


# Key derivation does not look at signals, as a matrix product does not.
BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"


def test_a_library_call_that_never_returns_is_not_waited_for() -> None:
    code, err, seconds = end_script(BUSY, signal.SIGTERM)
    assert (code, err) == (143, LINE)
    assert seconds < SOON


def test_a_second_signal_ends_it_at_once() -> None:
    code, err, seconds = end_script(BUSY, signal.SIGINT, signal.SIGINT)
    assert (code, err) == (130, LINE)
    assert seconds < 2


@pytest.mark.parametrize("busy", [BUSY, "time.sleep(60)"])
def test_callbacks_are_called_at_once(busy: str) -> None:
    body = f"with signals.notifying(lambda: os.write(2, b'told\\n')): {busy}"
    code, err, seconds = end_script(body, signal.SIGTERM)
    assert (code, err) == (143, "told\n" + LINE)
    assert seconds < SOON


def test_no_callback_is_called_without_a_signal() -> None:
    told: list[str] = []
    with signals.listening(), signals.notifying(lambda: told.append("told")):
        pass
    assert not told


def test_threads_that_fail_while_ending_print_nothing() -> None:
    body = "threading.Thread(target=lambda: (time.sleep(0.6), 1 / 0)).start(); time.sleep(60)"
    code, err, _ = end_script(body, signal.SIGINT)
    assert (code, err) == (130, LINE)


def test_children_end_too() -> None:
    body = "print(subprocess.Popen(['sleep', '60']).pid, file=sys.stderr, flush=True); time.sleep(60)"
    code, err, _ = end_script(body, signal.SIGTERM)
    child, line = err.splitlines()
    assert (code, f"{line}\n") == (143, LINE)
    wait_until(lambda: not alive(int(child)), SOON, "the child's end")


def test_an_ignored_signal_stays_ignored() -> None:
    signal_before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.exit_code() is None
    finally:
        signal.signal(signal.SIGHUP, signal_before)


def test_handlers_are_those_of_before_at_the_end() -> None:
    before = [signal.getsignal(number) for number in signals.ENDING]
    with signals.listening():
        with pytest.raises(signals.Ended):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.exit_code() == 143
    assert [signal.getsignal(number) for number in signals.ENDING] == before


def ended_command(
    command: list[object],
    reached: Callable[[int], bool],
    number: signal.Signals,
    folder: Path,
    environment: Mapping[str, str],
    *,
    group: bool,
) -> None:
    """Start the command, send the signal once its process has `reached` a phase, and look at what is left."""
    temporary = folder / "temporary"
    temporary.mkdir()
    log = folder / "log"
    words = [sys.executable, "-m", "flows", *map(str, command)]
    with started(words, log, {**environment, "TMPDIR": str(temporary)}, PROJECT) as process:
        wait_until(lambda: reached(process.pid), 240, "the phase", process)
        family = descendants(process.pid)
        begun = time.monotonic()
        (os.killpg if group else os.kill)(process.pid, number)
        assert process.wait(timeout=30) == CODES[number]
        assert time.monotonic() - begun < SOON
        wait_until(lambda: not any(map(alive, family)), SOON, "the children's end")
    said = log.read_text(encoding="utf-8")
    assert said.endswith(LINE)
    assert said.count("error") == 1
    assert "Traceback" not in said
    # torch keeps a folder of compiled code there, which outlives its processes on purpose.
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor_")] == []


@pytest.fixture
def extraction(scenes: Path, few_questions: Path, tmp_path: Path) -> list[object]:
    options = ["--engine", "transformers", "--shard-size", 1, "--teacher", "tiny"]
    return ["extract", "-d", scenes, "-q", few_questions, "--store", tmp_path / "store", *options]


def test_while_the_command_is_imported(
    extraction: list[object], tmp_path: Path, environment: Mapping[str, str]
) -> None:
    def listening(pid: int) -> bool:
        caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
        return bool(int(caught, 16) & 1 << signal.SIGTERM - 1)

    ended_command(extraction, listening, signal.SIGTERM, tmp_path, environment, group=False)


def test_while_the_teacher_loads(extraction: list[object], tmp_path: Path, environment: Mapping[str, str]) -> None:
    def loading(pid: int) -> bool:
        return any(is_engine(child) for child in descendants(pid))

    ended_command(extraction, loading, signal.SIGINT, tmp_path, environment, group=True)


@pytest.fixture
def served() -> Iterator[list[object]]:
    """Options of a teacher that takes no time to load."""
    with serving(teacher := CountingTeacher()):
        yield ["--engine", "openai", "--teacher", "counting", "--base-url", teacher.url, "--concurrency", 1]


def test_while_it_asks(
    scenes: Path, few_questions: Path, served: list[object], tmp_path: Path, environment: Mapping[str, str]
) -> None:
    def asking(pid: int) -> bool:
        return any((tmp_path / "store").rglob("part-*.parquet"))

    command = ["extract", "-d", scenes, "-q", few_questions, "--store", tmp_path / "store", "--shard-size", 1, *served]
    ended_command(command, asking, signal.SIGHUP, tmp_path, environment, group=False)
    left = [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert all(name.startswith("part-") for name in left), left


def test_while_it_trains(
    scenes: Path, few_questions: Path, served: list[object], tmp_path: Path, environment: Mapping[str, str]
) -> None:
    asked = ["-d", scenes, "-q", few_questions, "--store", tmp_path / "store"]
    student = ["--recipe", "demo", "--epochs", 500, "--seeds", 0, "--runs", tmp_path / "runs"]

    def training(pid: int) -> bool:
        return any((tmp_path / "runs").rglob("events.out.tfevents.*"))

    ended_command(["run", *asked, *served, *student], training, signal.SIGTERM, tmp_path, environment, group=True)


def test_while_handlers_are_installed() -> None:
    program = (
        "import os, signal, sys\n"
        "from flows import signals, __main__\n"
        "signals._silence_when_ended = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "__main__.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (CODES[signal.SIGTERM], LINE)

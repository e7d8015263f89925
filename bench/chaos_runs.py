"""Run commands for bench/chaos.py: start, kill at a given moment, and look for what is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.signals import LINE, descendants

MARK = "ASPECTS_CHAOS"  # an environment variable by which a run's processes are known, whoever their parent is
SOON = 5.0  # seconds within which a signal ends a command
TARGETS = ("main", "engine", "both", "group")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KEPT = ("torchinductor_", ".ses")  # of torch and onnxruntime, which keep them on purpose


@dataclass(frozen=True)
class Kill:
    """`seconds` after the start, `number` is sent to `target`."""

    seconds: float
    target: str
    number: signal.Signals


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    err: str
    killed: bool
    seconds: float = 0.0  # from its start to its end
    seconds_to_end: float = 0.0  # from the kill
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where commands run: a folder of their own for temporary files, and an environment."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    def left_over(self) -> list[str]:
        """Temporary files that a finished command should have removed."""
        return [path.name for path in self.temporary.iterdir() if not path.name.startswith(KEPT)]


def draw_kill(chance: random.Random, longest: float, targets: Sequence[str] = TARGETS) -> Kill:
    target = chance.choice(targets)
    # An engine is killed by the system (out of memory), not by a user's signal.
    number = signal.SIGKILL if target == "engine" else chance.choice(SIGNALS)
    return Kill(chance.uniform(0.05, 0.95 * longest), target, number)


def run(command: Sequence[object], place: Place, kill: Kill | None = None, timeout: float = 300) -> Outcome:
    """Run `aspects` with these words and, where it still runs at that moment, kill it."""
    place.temporary.mkdir(exist_ok=True)
    mark = uuid.uuid4().hex
    log = place.folder / f"log-{mark}"
    environment = {**os.environ, **place.environment, MARK: mark, "TMPDIR": str(place.temporary)}
    words = [sys.executable, "-m", "flows", *map(str, command)]
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=output, env=environment, start_new_session=True
        )
    killed = False
    try:
        if kill is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(kill.seconds)
            killed = process.poll() is None and _send(kill, process.pid)
        begun = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
    finally:
        if process.poll() is None:  # it hangs, or this bench is ended itself
            os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    ended = time.monotonic()
    outcome = Outcome(code, log.read_text(errors="replace"), killed, ended - started, ended - begun)
    log.unlink()
    outcome.faults += _survivors(mark)
    if killed and kill is not None:
        outcome.faults += _bad_end(outcome, kill) if kill.target != "engine" else _bad_loss(outcome)
    return outcome


def _send(kill: Kill, pid: int) -> bool:
    """Whether there was a process to send it to."""
    engines = [child for child in descendants(pid) if is_engine(child)]
    if kill.target == "engine" and not engines:
        return False
    with suppress(ProcessLookupError):
        if kill.target == "group":
            os.killpg(pid, kill.number)
        if kill.target in ("engine", "both"):
            for engine in engines:
                os.kill(engine, kill.number)
        if kill.target in ("main", "both"):
            os.kill(pid, kill.number)
    return True


def _bad_end(outcome: Outcome, kill: Kill) -> list[str]:
    """What is wrong with how a signalled command ended. One that was done a moment before ends as it would have."""
    # Python takes a moment to start, in which a signal does what it does to any program.
    starting = outcome.code == -kill.number or "init_import_site" in outcome.err
    if kill.number == signal.SIGKILL or starting:
        return []
    faults = [f"{outcome.seconds_to_end:.1f} s until its end"] if outcome.seconds_to_end > SOON else []
    if outcome.code not in (128 + kill.number, 0):
        faults.append(f"exit code {outcome.code} after {kill.number.name}")
    if outcome.code == 128 + kill.number and not (
        outcome.err.endswith(f"{LINE}\n") and outcome.err.count("error") == 1
    ):
        faults.append(f"not one line after {kill.number.name}: {outcome.err[-300:]!r}")
    if "Traceback" in outcome.err:
        faults.append(f"a traceback after {kill.number.name}")
    return faults


def _bad_loss(outcome: Outcome) -> list[str]:
    """What is wrong with how a command goes on, or ends, that has lost its engine."""
    faults = [] if outcome.code in (0, 1) else [f"exit code {outcome.code} without its engine"]
    return [*faults, *(["a traceback without its engine"] if "Traceback" in outcome.err else [])]


def _survivors(mark: str) -> list[str]:
    """Processes of the run that are there some seconds after its end; they are ended."""
    deadline = time.monotonic() + SOON
    while found := _marked(mark):
        if time.monotonic() > deadline:
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return [f"{len(found)} processes outlived their run"]
        time.sleep(0.1)
    return []


def _marked(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def is_engine(pid: int) -> bool:
    """Whether it is a process that one of ours has started to hold a model."""
    with suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def shared_memory() -> set[str]:
    """Names of shared memory that no process uses. Semaphores of multiprocessing and joblib are left out: a resource
    tracker removes them unless it is killed too, and other programs of this machine have some."""
    folder = Path("/dev/shm")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = {name for name in names if not name.startswith("sem.")}
    for path in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            maps = path.read_text(errors="replace")
            names -= {name for name in names if f"/dev/shm/{name}" in maps}
    return names

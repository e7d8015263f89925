"""Kill commands at random moments, run each again until it is done, and check the result. One JSON line.

python bench/chaos.py --kills 100 --seed 0

Extraction (a server that counts questions, the engines transformers and vllm; images and store on disk, or on S3 behind
a proxy that fails), training, import, audit, export and prune are killed by SIGKILL, SIGTERM, SIGINT and SIGHUP: the
main process, its engine, both, or the group. In the end answers and weights are those of an undisturbed run bit for
bit, nothing is left over, and no more was asked than what was missing and what was on its way. Also tried: two runs at
once, and a store that refuses what is written. Exits with 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.arguments import natural, one_of, positive, run_benchmark, several
from bench.chaos_checks import refused_writes, two_at_once
from bench.chaos_runs import Kill, Outcome, Place, draw_kill, run, shared_memory
from bench.chaos_scenarios import NAMES, Inputs, Scenario, State, import_words, scenarios, train_words
from bench.chaos_servers import CountingTeacher, FaultyProxy, s3_server, serving

KILLS_A_ROUND = 4  # of one command before it may finish
TRIES = 8  # until a command that is not killed has to be done; its store may go on failing
FAULTS = 0.1  # of the requests to the object store
# How often a scenario is drawn after its first time; vLLM takes long to start.
WEIGHTS = {"extract": 4, "extract-s3": 4, "train": 2, "extract-transformers": 2, "extract-vllm": 0.2, "import": 2}


@dataclass
class Account:
    """Counts of kills, checks and questions, and the violations."""

    kills: Counter[str] = field(default_factory=Counter)
    by_signal: Counter[str] = field(default_factory=Counter)
    by_target: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    checks: int = 0
    needed: int = 0
    asked: int = 0
    allowed: int = 0
    slowest_end: float = 0.0
    violations: list[str] = field(default_factory=list)

    def add(self, scenario: Scenario, kill: Kill, outcome: Outcome) -> None:
        if not outcome.killed:
            return
        self.kills[scenario.name] += 1
        self.by_signal[kill.number.name] += 1
        self.by_target[kill.target] += 1
        if kill.target != "engine":  # without it the command goes on
            self.slowest_end = max(self.slowest_end, outcome.seconds_to_end)

    def to_json(self) -> dict[str, object]:
        return {
            "kills": self.kills.total(),
            "by_phase": dict(self.kills),
            "by_signal": dict(self.by_signal),
            "by_target": dict(self.by_target),
            "resumes": self.resumes,
            "other_checks": self.checks,
            "questions_needed": self.needed,
            "questions_asked": self.asked,
            "questions_allowed": self.allowed,
            "slowest_end_seconds": round(self.slowest_end, 1),
            "violations": len(self.violations),
        }


class Chaos:
    """Scenarios with their undisturbed ends, and the servers that they use."""

    def __init__(self, folder: Path, teacher: CountingTeacher, proxy: FaultyProxy, chance: random.Random) -> None:
        self.folder = folder
        self.teacher = teacher
        self.proxy = proxy
        self.chance = chance
        self.account = Account()
        self._places = 0
        self._undisturbed: dict[str, tuple[State, int]] = {}
        self._seconds: dict[str, float] = {}  # that a command takes: the last time, since loads change

    def place(self, scenario: Scenario) -> Place:
        self._places += 1
        folder = self.folder / f"{scenario.name}-{self._places}"
        folder.mkdir()
        place = Place(folder, {"OPENAI_API_KEY": "none", "OMP_NUM_THREADS": "1", **scenario.environment})
        scenario.prepare(place)
        return place

    def undisturbed(self, scenario: Scenario) -> tuple[State, int]:
        """The state after the command alone, and the questions that it asks."""
        if scenario.name not in self._undisturbed:
            place, before = self.place(scenario), self.teacher.total
            done = run(scenario.words(place), place)
            if done.code != 0:
                sys.exit(f"error: {scenario.name} fails by itself: {done.err[-2000:]}")
            self._seconds[scenario.name] = done.seconds
            self._undisturbed[scenario.name] = (scenario.state(place), self.teacher.total - before)
        return self._undisturbed[scenario.name]

    def disturb(self, scenario: Scenario, kills: int) -> None:
        """Kill the scenario's command up to `kills` times, let it finish, and compare."""
        _, needed = self.undisturbed(scenario)
        place, before, stops = self.place(scenario), self.teacher.total, 0
        self.proxy.faults = FAULTS if scenario.faulty_store else 0.0
        for number in range(kills):
            kill = draw_kill(self.chance, self._seconds[scenario.name])
            outcome = run(scenario.words(place), place, kill)
            self.account.add(scenario, kill, outcome)
            self.note(place.folder, outcome.faults, kill)
            stops += 1
            if outcome.code == 0:
                if number == 0 and not outcome.killed:
                    self._seconds[scenario.name] = outcome.seconds
                break
        for attempt in range(TRIES):
            if attempt == TRIES // 2:
                self.proxy.faults = 0.0
            outcome = run(scenario.words(place), place)
            self.account.resumes += 1
            self.note(place.folder, outcome.faults)
            if outcome.code == 0:
                break
            stops += 1
        self.proxy.faults = 0.0
        self.compare(scenario, place, outcome)
        self.count(place, needed, before, stops, scenario.lost)

    def compare(self, scenario: Scenario, place: Place, outcome: Outcome) -> None:
        """Check that the last run has left the same as an undisturbed one."""
        if outcome.code != 0:
            self.note(place.folder, [f"not done in the end: {outcome.err[-500:]!r}"])
            return
        expected, found = self.undisturbed(scenario)[0], scenario.state(place)
        different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        faults = [f"{name} is {found.get(name)}, undisturbed {expected.get(name)}" for name in different]
        self.note(place.folder, [*faults, *(f"left in the temporary folder: {name}" for name in place.left_over())])

    def count(self, place: Place, needed: int, before: int, stops: int, lost: int) -> None:
        """Whether runs that ended `stops` times too early asked no more than `needed` and `lost` for each of these."""
        asked, allowed = self.teacher.total - before, needed + stops * lost
        if not needed <= asked <= allowed:
            self.note(place.folder, [f"{asked} questions asked, {needed} needed, {allowed} allowed"])
        self.account.needed += needed
        self.account.asked += asked
        self.account.allowed += allowed

    def note(self, where: Path, faults: list[str], kill: Kill | None = None) -> None:
        when = f" ({kill.number.name} to {kill.target} after {kill.seconds:.2f} s)" if kill else ""
        for fault in faults:
            self.account.violations.append(fault)
            print(f"VIOLATION in {where.name}{when}: {fault}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=positive, default=100, help="at least so many")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument(
        "--only", type=several(one_of(NAMES)), default=list(NAMES), help="names of scenarios, separated by commas"
    )
    options = parser.parse_args()
    chosen = options.only
    if importlib.util.find_spec("vllm") is None:
        chosen = [name for name in chosen if name != "extract-vllm"]
    # Ended from outside it leaves no server and no files either.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # `nohup` has it ignored, and commands would inherit that.
    signal.signal(signal.SIGHUP, lambda number, frame: None)
    started, memory = time.monotonic(), shared_memory()
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        s3_server() if "extract-s3" in chosen else nullcontext("127.0.0.1:9") as s3,
    ):
        teacher, proxy = CountingTeacher(), FaultyProxy(s3, options.seed)
        with serving(teacher), serving(proxy):
            chaos = Chaos(Path(folder), teacher, proxy, random.Random(options.seed))
            inputs = Inputs(Path(folder) / "inputs")
            found = [each for each in scenarios(inputs, teacher.url, proxy.url, s3) if each.name in chosen]
            write_inputs(inputs, chosen)
            disturb_all(chaos, found, options.kills)
    account = chaos.account
    chaos.note(Path("/dev/shm"), [f"left in shared memory: {name}" for name in shared_memory() - memory])
    line = {"bench": "chaos", "seed": options.seed, **account.to_json(), "store_faults": proxy.failed}
    print(json.dumps({**line, "seconds": round(time.monotonic() - started)}))
    sys.exit(1 if account.violations else 0)


def disturb_all(chaos: Chaos, found: Sequence[Scenario], kills: int) -> None:
    """Each scenario once, then by chance until there were so many kills."""
    account, started, fresh = chaos.account, time.monotonic(), list(found)
    unchecked = list(found)
    share = max(1, min(KILLS_A_ROUND, kills // len(found)))
    while fresh or account.kills.total() < kills:
        scenario = fresh.pop(0) if fresh else chaos.chance.choices(found, [WEIGHTS.get(s.name, 1) for s in found])[0]
        chaos.disturb(scenario, share)
        if scenario in unchecked:
            unchecked.remove(scenario)
            check(chaos, scenario)
        done = f"{account.kills.total()} kills, {len(account.violations)} violations"
        print(f"{scenario.name}: {done}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def check(chaos: Chaos, scenario: Scenario) -> None:
    """The checks that are made once, with the teacher that counts."""
    if scenario.lost:
        two_at_once(chaos, scenario)
    if scenario.faulty_store:
        refused_writes(chaos, scenario)
    chaos.account.checks += bool(scenario.lost) + scenario.faulty_store


def write_inputs(inputs: Inputs, names: list[str]) -> None:
    """Data that is not disturbed, as far as the scenarios of these names need it."""
    inputs.folder.mkdir()
    inputs.write()
    place = Place(inputs.folder, {"OMP_NUM_THREADS": "1"})
    commands: list[list[object]] = []
    if {"train", "export", "prune"} & set(names):
        commands.append([*import_words(inputs), "-s", inputs.store])
    if "prune" in names:
        fewer = ["import-answers", inputs.table, "--format", "attributes", "-d", inputs.scenes, "-q", inputs.fewer]
        commands.append([*fewer, "-s", inputs.store])
    if "export" in names:
        commands.append([*train_words(inputs), "--runs", inputs.folder / "runs"])
    for command in commands:
        if (done := run(command, place)).code != 0:
            sys.exit(f"error: {command[0]} fails by itself: {done.err[-2000:]}")


if __name__ == "__main__":
    run_benchmark(main)

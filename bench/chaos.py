"""Kill commands at random moments, give each again until it is done, and look at what is there then. One JSON line.

python bench/chaos.py --kills 100 --seed 0

Extraction (a server that counts questions, the transformers engine; a store on disk, one on S3 behind a proxy that
fails), training, import, audit, export and prune are killed by SIGKILL, SIGTERM, SIGINT and SIGHUP: the main process,
its engine, both, or the group. In the end answers and weights are those of an undisturbed run bit for bit, nothing is
left over, and no more was asked than what was missing and what was on its way. Exits with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # not this folder: `bench` is imported as a package

from bench.chaos_runs import Kill, Outcome, Place, draw_kill, run, shared_memory
from bench.chaos_scenarios import Inputs, Scenario, State, import_words, scenarios, train_words
from bench.chaos_servers import CountingTeacher, FaultyProxy, s3_server, serving

KILLS_A_ROUND = 4  # of one command before it is left alone
TRIES = 8  # until a command that is left alone has to be done; its store may go on failing
FAULTS = 0.1  # of the requests to the object store
WEIGHTS = {"extract": 4, "extract-s3": 4, "train": 3, "extract-transformers": 2, "import": 2, "audit": 2, "export": 1}


@dataclass
class Account:
    """What has happened."""

    kills: Counter[str] = field(default_factory=Counter)
    by_signal: Counter[str] = field(default_factory=Counter)
    by_target: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
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
        if kill.target != "engine":
            self.slowest_end = max(self.slowest_end, outcome.seconds_to_end)

    def to_json(self) -> dict[str, object]:
        return {
            "kills": self.kills.total(),
            "by_phase": dict(self.kills),
            "by_signal": dict(self.by_signal),
            "by_target": dict(self.by_target),
            "resumes": self.resumes,
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
        self._undisturbed: dict[str, tuple[State, int, float]] = {}

    def place(self, scenario: Scenario) -> Place:
        self._places += 1
        folder = self.folder / f"{scenario.name}-{self._places}"
        folder.mkdir()
        place = Place(folder, {"OPENAI_API_KEY": "none", "OMP_NUM_THREADS": "1", **scenario.environment})
        scenario.prepare(place)
        return place

    def undisturbed(self, scenario: Scenario) -> tuple[State, int, float]:
        """The state after the command alone, the questions that it asks, and its seconds."""
        if scenario.name not in self._undisturbed:
            place, before, started = self.place(scenario), self.teacher.total, time.monotonic()
            done = run(scenario.words(place), place)
            if done.code != 0:
                sys.exit(f"error: {scenario.name} fails by itself: {done.err[-2000:]}")
            seconds = time.monotonic() - started
            self._undisturbed[scenario.name] = (scenario.state(place), self.teacher.total - before, seconds)
        return self._undisturbed[scenario.name]

    def disturb(self, scenario: Scenario, kills: int) -> None:
        """Kill the scenario's command up to `kills` times, let it finish, and compare."""
        expected, needed, seconds = self.undisturbed(scenario)
        place, before, stops = self.place(scenario), self.teacher.total, 0
        self.proxy.faults = FAULTS if scenario.faulty_store else 0.0
        for _ in range(kills):
            kill = draw_kill(self.chance, seconds)
            outcome = run(scenario.words(place), place, kill)
            self.account.add(scenario, kill, outcome)
            self._note(place, kill, outcome.faults)
            stops += 1
            if outcome.code == 0:
                break
        for attempt in range(TRIES):
            if attempt == TRIES // 2:
                self.proxy.faults = 0.0
            outcome = run(scenario.words(place), place)
            self.account.resumes += 1
            self._note(place, None, outcome.faults)
            if outcome.code == 0:
                break
            stops += 1
        self.proxy.faults = 0.0
        self._compare(scenario, place, outcome, expected)
        asked, allowed = self.teacher.total - before, needed + stops * scenario.lost
        if asked > allowed:
            self._note(place, None, [f"{asked} questions asked, {needed} needed, {allowed} allowed"])
        self.account.needed += needed
        self.account.asked += asked
        self.account.allowed += min(allowed, (1 + stops) * needed)

    def _compare(self, scenario: Scenario, place: Place, outcome: Outcome, expected: State) -> None:
        if outcome.code != 0:
            self._note(place, None, [f"not done in {TRIES} tries: {outcome.err[-500:]!r}"])
            return
        found = scenario.state(place)
        different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        for name in different:
            self._note(place, None, [f"{name} is {found.get(name)}, undisturbed {expected.get(name)}"])
        self._note(place, None, [f"left in the temporary folder: {name}" for name in place.left_over()])

    def _note(self, place: Place, kill: Kill | None, faults: list[str]) -> None:
        when = f" ({kill.number.name} to {kill.target} after {kill.seconds:.2f} s)" if kill else ""
        for fault in faults:
            self.account.violations.append(fault)
            print(f"VIOLATION in {place.folder.name}{when}: {fault}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="at least so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of scenarios, separated by commas")
    options = parser.parse_args()
    started = time.monotonic()
    memory = shared_memory()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, s3_server() as s3:
        teacher, proxy = CountingTeacher(), FaultyProxy(s3, options.seed)
        with serving(teacher), serving(proxy):
            chance = random.Random(options.seed)
            chaos = Chaos(Path(folder), teacher, proxy, chance)
            inputs = Inputs(Path(folder) / "inputs")
            found = scenarios(inputs, teacher.url, proxy.url, s3)
            if options.only:
                found = [scenario for scenario in found if scenario.name in options.only.split(",")]
            write_inputs(inputs, [scenario.name for scenario in found])
            account = chaos.account
            while account.kills.total() < options.kills:
                missing = options.kills - account.kills.total()
                # First each of them once, then by chance.
                fresh = [scenario for scenario in found if scenario.name not in chaos._undisturbed]
                weights = [WEIGHTS.get(scenario.name, 1) for scenario in found]
                scenario = fresh[0] if fresh else chance.choices(found, weights)[0]
                chaos.disturb(scenario, min(KILLS_A_ROUND, missing))
                done = f"{account.kills.total()} kills, {len(account.violations)} violations"
                print(f"{scenario.name}: {done}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    account.violations += [f"left in shared memory: {name}" for name in shared_memory() - memory]
    line = {"bench": "chaos", "seed": options.seed, **account.to_json(), "store_faults": proxy.failed}
    print(json.dumps({**line, "seconds": round(time.monotonic() - started)}))
    sys.exit(1 if account.violations else 0)


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
    main()

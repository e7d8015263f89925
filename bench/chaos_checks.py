"""Checks that bench/chaos.py makes once beside the kills: two runs at once, and a store that refuses writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.chaos_runs import Outcome, run
from bench.chaos_scenarios import Scenario

if TYPE_CHECKING:
    from bench.chaos import Chaos

BUSY = "another run (process "
LINES = 4  # of an error, at most


def two_at_once(chaos: Chaos, scenario: Scenario) -> None:
    """While a run waits for its teacher, a second one stops at once and disturbs nothing."""
    _, needed = chaos.undisturbed(scenario)
    place, before = chaos.place(scenario), chaos.teacher.total
    chaos.teacher.answering.clear()
    with ThreadPoolExecutor(1) as threads:
        try:
            first = threads.submit(run, scenario.words(place), place)
            _wait_until(lambda: chaos.teacher.total > before or first.done())
            second = run(scenario.words(place), place)
        finally:
            chaos.teacher.answering.set()
        outcome = first.result()
    chaos.note(place.folder, [f"a second run beside the first one: {fault}" for fault in _not_refused(second)])
    if BUSY not in second.err:
        chaos.note(place.folder, [f"a second run does not say that the first one is running: {second.err[-300:]!r}"])
    chaos.compare(scenario, place, outcome)
    chaos.count(place, needed, before, stops=0, lost=0)


def refused_writes(chaos: Chaos, scenario: Scenario) -> None:
    """A store takes one shard and refuses every other: the command stops, and what is stored is not asked again."""
    _, needed = chaos.undisturbed(scenario)
    place, before = chaos.place(scenario), chaos.teacher.total
    with chaos.proxy.refusing(after=1):
        outcome = run(scenario.words(place), place)
    chaos.note(place.folder, [f"a store that refuses writes: {fault}" for fault in _not_refused(outcome)])
    chaos.compare(scenario, place, run(scenario.words(place), place))
    chaos.count(place, needed, before, stops=1, lost=scenario.lost)


def _not_refused(outcome: Outcome) -> list[str]:
    """What is wrong with the end of a command that cannot go on now, but may later."""
    faults = list(outcome.faults)
    if outcome.code != 1:
        faults.append(f"exit code {outcome.code} instead of 1")
    message = outcome.err.partition("error: ")[2].rstrip("\n")
    if not message or message.count("\n") >= LINES or "Traceback" in outcome.err:
        faults.append(f"no short error: {outcome.err[-300:]!r}")
    return faults


def _wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)

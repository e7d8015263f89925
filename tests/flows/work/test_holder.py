from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from flows.work.holder import STARTS, EngineHolder, EnginePool, LivingEngine, TeacherGivenUp
from teacher.engines.base import EngineUsage
from teacher.engines.config import TeacherInvalid
from teacher.engines.process import TeacherDied


class Engine:
    alive = True
    calls_at_once = 1
    slow_because = None

    def __init__(self) -> None:
        self.usage = EngineUsage()

    def answer(self, images: object, questions: object) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)

    def close(self) -> None:
        self.alive = False


Start = Callable[[threading.Event], LivingEngine]


def counted(outcomes: list[LivingEngine | Exception]) -> tuple[Start, list[int]]:
    """A start that goes through `outcomes`, the last one for ever, and how often it was called."""
    calls: list[int] = []

    def start(cancelled: threading.Event) -> LivingEngine:
        outcome = outcomes[min(len(calls), len(outcomes) - 1)]
        calls.append(1)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return start, calls


def test_one_engine_serves_all_calls() -> None:
    start, calls = counted([Engine()])
    holder = EngineHolder(start)
    assert holder.engine() is holder.engine()
    assert len(calls) == 1


def test_nothing_is_started_before_it_is_needed() -> None:
    start, calls = counted([Engine()])
    EngineHolder(start).close()
    assert calls == []


def test_a_dead_engine_is_replaced() -> None:
    first, second = Engine(), Engine()
    holder = EngineHolder(counted([first, second])[0])
    assert holder.engine() is first
    first.alive = False
    assert holder.engine() is second


def test_an_unusable_model_is_not_loaded_again() -> None:
    start, calls = counted([TeacherInvalid("no chat template")])
    holder = EngineHolder(start)
    for _ in range(3):
        with pytest.raises(TeacherInvalid, match="no chat template"):
            holder.engine()
    assert len(calls) == 1


def test_starting_is_given_up_after_several_deaths() -> None:
    start, calls = counted([TeacherDied("out of memory")])
    holder = EngineHolder(start)
    for _ in range(STARTS - 1):
        with pytest.raises(TeacherDied, match="out of memory"):
            holder.engine()
    for _ in range(3):
        with pytest.raises(TeacherGivenUp, match="out of memory"):
            holder.engine()
    assert len(calls) == STARTS


def test_a_closed_holder_ends_its_engine_and_starts_no_other() -> None:
    engine = Engine()
    start, calls = counted([engine])
    holder = EngineHolder(start)
    holder.engine()
    holder.close()
    assert not engine.alive
    with pytest.raises(TeacherGivenUp, match="over"):
        holder.engine()
    assert len(calls) == 1


def test_closing_stops_an_engine_that_is_still_loading() -> None:
    loading = threading.Event()

    def start(cancelled: threading.Event) -> LivingEngine:
        loading.set()
        assert cancelled.wait(timeout=30)
        raise TeacherDied("ended before it had loaded")

    holder = EngineHolder(start)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            holder.engine()
        except TeacherGivenUp as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert loading.wait(timeout=30)
    holder.close()
    thread.join(timeout=30)
    assert [str(error) for error in errors] == ["the run is over; no engine is started any more"]


def pool_of(engines: list[LivingEngine | Exception]) -> EnginePool:
    """Worker number n starts engine number n, and no other once that has died."""

    def start(worker: int, cancelled: threading.Event) -> LivingEngine:
        engine = engines[worker]
        if isinstance(engine, Exception):
            raise engine
        return engine

    return EnginePool(start, len(engines))


def test_shards_are_handed_to_the_worker_that_has_the_fewest() -> None:
    engines = [Engine(), Engine()]
    pool = pool_of(list(engines))
    with pool.lease() as first, pool.lease() as second:
        assert [first.engine(), second.engine()] == engines
        with pool.lease() as third, pool.lease() as fourth:
            assert [third.engine(), fourth.engine()] == engines
    with pool.lease() as again:
        assert again.engine() is engines[0]
    pool.close()
    assert not any(engine.alive for engine in engines)


def test_a_worker_that_has_given_up_gets_no_more_shards() -> None:
    good = Engine()
    pool = pool_of([TeacherInvalid("no memory"), good])
    with pool.lease() as holder, pytest.raises(TeacherInvalid):
        holder.engine()
    for _ in range(3):
        with pool.lease() as holder:
            assert holder.engine() is good


def test_what_dead_engines_did_still_counts() -> None:
    first, second = Engine(), Engine()
    holder = EngineHolder(counted([first, second])[0])
    holder.engine()
    first.usage.questions = 3
    first.alive = False
    holder.engine()
    second.usage.questions = 4
    assert sum(usage.questions for usage in holder.usages) == 7

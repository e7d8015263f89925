"""An engine without a process, which counts what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flows.work import asking
from teacher.engines.base import EngineUsage

Scores = tuple[NDArray[np.float32], NDArray[np.float32]]


class CountingEngine:
    """Answers at random; `before` is called with each batch and may raise or return other answers."""

    alive = True
    calls_at_once = 1
    slow_because = None

    def __init__(self, before: Callable[[int, Sequence[str]], Scores | None]) -> None:
        self.usage = EngineUsage()
        self.asked = 0
        self.random = np.random.default_rng(0)
        self.before = before

    def answer(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Scores:
        self.asked += len(images) * len(questions)
        given = self.before(len(images), questions)
        if given is not None:
            return given
        log_odds = self.random.standard_normal((len(images), len(questions)), np.float32)
        return -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)

    def close(self) -> None:
        pass


def use_engine(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[int, Sequence[str]], Scores | None] = lambda images, texts: None
) -> CountingEngine:
    """The only engine of every run from now on."""
    engine = CountingEngine(before)
    monkeypatch.setattr(asking, "EngineProcess", lambda *arguments: engine)
    return engine

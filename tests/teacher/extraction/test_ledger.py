"""A run's account, checked against numbers worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teacher.engines.base import EngineUsage
from teacher.extraction.extract import ShardSummary
from teacher.extraction.ledger import add_up


def shard(index: int, asked: int, reused: int) -> ShardSummary:
    return ShardSummary(
        index=index,
        images=4,
        images_asked=asked // 10,
        errors=0,
        asked=asked,
        reused=reused,
        decode_seconds=0.5,
        write_seconds=0.25,
    )


def usage() -> EngineUsage:
    return EngineUsage(
        images=3,
        questions=30,
        bounded=1,
        answer_mass=27.0,
        prefix_tokens=600,
        suffix_tokens=300,
        prompt_tokens=6300,
        cached_tokens=3150,
        render_seconds=1.0,
        engine_seconds=8.0,
    )


def test_shards_and_engines_add_up() -> None:
    ledger = add_up(
        [shard(0, 40, 0), shard(1, 20, 20)],
        [usage(), usage()],
        seconds=30.0,
        start_seconds=10.0,
        workers=2,
        gpus=2,
        price_per_gpu_hour=3.6,
    )
    assert (ledger.images, ledger.questions, ledger.reused) == (6, 60, 20)
    assert (ledger.prefix_tokens, ledger.suffix_tokens) == (1200, 600)
    assert ledger.cache_hit_rate == 0.5
    assert ledger.answer_mass == pytest.approx(0.9)
    assert "probability of 0.9 on average" in ledger.lines()[1]
    assert ledger.questions_per_second == 3.0
    assert ledger.images_per_second == pytest.approx(0.3)
    assert (ledger.decode_seconds, ledger.write_seconds) == (1.0, 0.5)
    assert ledger.gpu_seconds == 60.0
    assert ledger.cost == pytest.approx(0.06)
    assert json.loads(json.dumps(ledger.to_json()))["cost"] == 0.06
    assert "cost 0.06" in ledger.lines()[-2]
    assert ledger.lines()[-1].startswith("2 answers are bounds")


def test_tokens_have_a_price_too() -> None:
    account: dict[str, Any] = {"seconds": 2.0, "start_seconds": 0.0, "workers": 1, "gpus": 0}
    assert add_up([], [usage()], **account).cost is None
    assert add_up([], [usage()], **account, price_per_million_tokens=10.0).cost == pytest.approx(0.063)

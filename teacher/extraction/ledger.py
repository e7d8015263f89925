"""The cost of a run: images, questions, tokens, seconds by stage, and money if a price is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from teacher.engines.base import EngineUsage
from teacher.extraction.jobs import ShardSummary

BY_ENGINES = (
    "bounded",
    "prefix_tokens",
    "suffix_tokens",
    "prompt_tokens",
    "cached_tokens",
    "render_seconds",
    "engine_seconds",
)

# Of the rounds of a run, with those of BY_ENGINES.
SUMMED = (
    *BY_ENGINES,
    *("images", "questions", "reused", "seconds", "start_seconds", "decode_seconds", "write_seconds"),
)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The costs of one run.

    `images` and `questions` were asked of the teacher, `reused` answers came from the store. `bounded` and tokens as in
    `EngineUsage`; `answer_mass` is the mean probability of yes and no together. Seconds of decoding, rendering, the
    engine and writing are summed over threads and workers; they overlap, so their sum exceeds `seconds`, the wall clock
    from the first shard to the last. That includes `start_seconds`, the loading of the teacher. `gpu_seconds` are those
    for which GPUs were held, busy or not. Prices are per GPU hour and per million prompt tokens.
    """

    images: int
    questions: int
    reused: int
    bounded: int
    answer_mass: float
    prefix_tokens: int
    suffix_tokens: int
    prompt_tokens: int
    cached_tokens: int
    seconds: float
    start_seconds: float
    decode_seconds: float
    render_seconds: float
    engine_seconds: float
    write_seconds: float
    workers: int
    gpus: int
    price_per_gpu_hour: float | None = None
    price_per_million_tokens: float | None = None

    @property
    def asking_seconds(self) -> float:
        return max(self.seconds - self.start_seconds, 1e-9)

    @property
    def images_per_second(self) -> float:
        return self.images / self.asking_seconds

    @property
    def questions_per_second(self) -> float:
        return self.questions / self.asking_seconds

    @property
    def cache_hit_rate(self) -> float:
        return self.cached_tokens / max(1, self.prompt_tokens)

    @property
    def gpu_seconds(self) -> float:
        return self.seconds * self.gpus

    @property
    def cost(self) -> float | None:
        """The cost of the run; None without a price."""
        if self.price_per_gpu_hour is None and self.price_per_million_tokens is None:
            return None
        by_time = self.gpu_seconds / 3600 * (self.price_per_gpu_hour or 0)
        return by_time + self.prompt_tokens / 1e6 * (self.price_per_million_tokens or 0)

    def to_json(self) -> dict[str, Any]:
        """Return the values, rounded to the measured precision."""
        derived = {
            "images_per_second": self.images_per_second,
            "questions_per_second": self.questions_per_second,
            "cache_hit_rate": self.cache_hit_rate,
            "gpu_seconds": self.gpu_seconds,
            "cost": self.cost,
        }
        values = {**asdict(self), **derived}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}

    def markdown(self) -> str:
        """Return a Markdown table with one row per value."""
        rows = [
            f"| {name.replace('_', ' ')} | {'-' if value is None else value} |"
            for name, value in self.to_json().items()
        ]
        return "\n".join(["| | |", "| --- | ---: |", *rows, ""])

    def lines(self, about: str = "images") -> list[str]:
        """Return lines for display; `about` is the noun for what was asked about."""
        answered = "yes and no" if about != "classes" else "the possible answers"
        cost = "" if self.cost is None else f", cost {self.cost:,.2f}"
        bounded = [f"{self.bounded:,} answers are bounds: the server listed no log-probability of yes or of no"]
        mass = [f"{answered} together have a probability of {self.answer_mass:.3g} on average"]
        return [
            f"{self.images:,} {about} and {self.questions:,} answers in {self.asking_seconds:,.0f} s, after "
            f"{self.start_seconds:,.0f} s of starting: {self.images_per_second:,.1f} {about}/s, "
            f"{self.questions_per_second:,.0f} questions/s",
            *(mass if self.questions else []),
            f"tokens: {self.prefix_tokens:,} of {about} and shared text, {self.suffix_tokens:,} of questions; "
            f"{self.cache_hit_rate:.0%} of {self.prompt_tokens:,} prompt tokens came from the cache",
            f"seconds: decoding {self.decode_seconds:,.1f}, rendering {self.render_seconds:,.1f}, engine "
            f"{self.engine_seconds:,.1f}, writing {self.write_seconds:,.1f} (they overlap); workers {self.workers}, "
            f"GPU-seconds {self.gpu_seconds:,.0f}{cost}",
            *(bounded if self.bounded else []),
        ]


def sum_up(ledgers: Sequence[Ledger]) -> Ledger:
    """Return the ledger of several rounds of one run."""
    total = ledgers[0]
    for ledger in ledgers[1:]:
        sums = {name: getattr(total, name) + getattr(ledger, name) for name in SUMMED}
        mass = total.answer_mass * total.questions + ledger.answer_mass * ledger.questions
        total = replace(total, **sums, answer_mass=mass / max(1, sums["questions"]))
    return total


def add_up(
    shards: Iterable[ShardSummary],
    usages: Iterable[EngineUsage],
    *,
    before: Iterable[EngineUsage] = (),
    seconds: float,
    start_seconds: float,
    workers: int,
    gpus: int,
    price_per_gpu_hour: float | None = None,
    price_per_million_tokens: float | None = None,
) -> Ledger:
    """Return the ledger of a run from its shards and its engines, less the engines' counts `before`."""
    shards, usages, before = list(shards), list(usages), list(before)

    def used(name: str) -> Any:
        return sum(getattr(usage, name) for usage in usages) - sum(getattr(usage, name) for usage in before)

    return Ledger(
        images=sum(shard.images_asked for shard in shards),
        questions=sum(shard.asked for shard in shards),
        reused=sum(shard.reused for shard in shards),
        decode_seconds=sum(shard.decode_seconds for shard in shards),
        write_seconds=sum(shard.write_seconds for shard in shards),
        seconds=seconds,
        start_seconds=start_seconds,
        workers=workers,
        gpus=gpus,
        price_per_gpu_hour=price_per_gpu_hour,
        price_per_million_tokens=price_per_million_tokens,
        answer_mass=used("answer_mass") / max(1, used("questions")),
        **{name: used(name) for name in BY_ENGINES},
    )

"""Base and distilled students side by side, in pairs of one seed: same start, same images, same order, same budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from storage.answers import Answers
from storage.datasets.base import ImageDataset, select
from student.config import ConfigInvalid, StudentConfig
from student.evaluate import evaluate, read_evaluation
from student.examples import digest_of
from student.images import evaluation_cache, training_cache
from student.runs import EpochLog, write_json
from student.training import train

Kind = Literal["base", "distilled"]
KINDS: tuple[Kind, ...] = ("base", "distilled")
METRICS = ("top1", "top5", "macro_accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One student. Shares in 0..1; the aspect scores are the distilled student's alone, where the split has answers."""

    seed: int
    student: Kind
    best_epoch: int
    val_top1: float | None
    top1: float
    top5: float
    macro_accuracy: float
    aspect_auroc: float | None
    aspect_ece: float | None
    seconds: float  # of training


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """Mean and standard deviation (n - 1; None for one seed) over the seeds; `gains` are distilled - base per seed."""

    metric: str
    base_mean: float
    base_std: float | None
    distilled_mean: float
    distilled_std: float | None
    gains: tuple[float, ...]
    gain_mean: float
    gain_std: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All students of a comparison, seed by seed, base before distilled, and the summary of each metric."""

    dataset: str
    split: str
    images: int
    train_images: int
    val_images: int
    config: StudentConfig
    rows: tuple[ComparisonRow, ...]
    summary: tuple[MetricSummary, ...]

    def metric(self, name: str) -> MetricSummary:
        """The summary of "top1", "top5" or "macro_accuracy"."""
        return next(summary for summary in self.summary if summary.metric == name)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"config": self.config.to_dict()}


def compare(
    config: StudentConfig,
    dataset: ImageDataset,
    answers: Answers,
    seeds: Sequence[int],
    run_dir: Path,
    *,
    split: str = "test",
    progress: bool = True,
    on_epoch: Callable[[Kind, int, EpochLog], None] | None = None,
) -> Comparison:
    """Train and evaluate a base and a distilled student for every seed in `run_dir/seed-N/{base,distilled}`.

    Both see the images that have answers. Finished runs are not trained again, so a comparison that was stopped goes
    on where it stopped. Writes comparison.json and comparison.parquet. Raises what `train` and `evaluate` raise.
    """
    if config.alpha == 0:
        raise ConfigInvalid("alpha is 0, so there is no distilled student to compare; set it, e.g. to 4")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigInvalid(f"seeds are {list(seeds)}; give at least one, each once")
    records, shown = select(dataset, ("train",)), select(dataset, (split,))
    shown_digest = digest_of(dataset, shown, answers)
    rows: list[ComparisonRow] = []
    with ExitStack() as stack:
        photos = stack.enter_context(training_cache(config, dataset, records, run_dir, progress=progress))
        split_photos = stack.enter_context(evaluation_cache(config, dataset, shown, run_dir, progress=progress))
        for seed in seeds:
            for kind in KINDS:
                alpha = config.alpha if kind == "distilled" else 0.0
                run = train(
                    config.replace(seed=seed, alpha=alpha),
                    dataset,
                    answers,
                    run_dir / f"seed-{seed}" / kind,
                    progress=progress,
                    on_epoch=_tell(on_epoch, kind, seed),
                    photos=photos,
                )
                scores = read_evaluation(run.run_dir, split)
                if scores is None or scores.digest != shown_digest:
                    scores = evaluate(
                        run.run_dir, dataset, answers, split, photos=split_photos, accelerator=config.accelerator
                    )
                rows.append(
                    ComparisonRow(
                        seed=seed,
                        student=kind,
                        best_epoch=run.best_epoch,
                        val_top1=run.val_top1,
                        seconds=sum(log.seconds for log in run.epochs),
                        **{name: getattr(scores, name) for name in (*METRICS, "aspect_auroc", "aspect_ece")},
                    )
                )
        comparison = Comparison(
            dataset=dataset.name,
            split=split,
            images=len(split_photos),
            train_images=run.train_images,
            val_images=run.val_images,
            config=config,
            rows=tuple(rows),
            summary=tuple(summarise(rows, metric) for metric in METRICS),
        )
    write_json(run_dir / "comparison.json", comparison.to_dict())
    pl.DataFrame([dataclasses.asdict(row) for row in rows]).write_parquet(run_dir / "comparison.parquet")
    return comparison


def summarise(rows: Sequence[ComparisonRow], metric: str) -> MetricSummary:
    """Mean, standard deviation and paired gain of one metric."""
    base = {row.seed: getattr(row, metric) for row in rows if row.student == "base"}
    distilled = {row.seed: getattr(row, metric) for row in rows if row.student == "distilled"}
    gains = [distilled[seed] - base[seed] for seed in base]
    return MetricSummary(
        metric=metric,
        base_mean=float(np.mean(list(base.values()))),
        base_std=_std(list(base.values())),
        distilled_mean=float(np.mean(list(distilled.values()))),
        distilled_std=_std(list(distilled.values())),
        gains=tuple(gains),
        gain_mean=float(np.mean(gains)),
        gain_std=_std(gains),
    )


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _tell(
    on_epoch: Callable[[Kind, int, EpochLog], None] | None, kind: Kind, seed: int
) -> Callable[[EpochLog], None] | None:
    return None if on_epoch is None else lambda log: on_epoch(kind, seed, log)

"""Results for people: tables on the terminal, rows and Markdown for Prefect's pages."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from flows.parameters import TINY
from teacher.known import KNOWN

if TYPE_CHECKING:  # torch takes seconds, and only who has trained prints these
    from student.compare import Comparison, MetricSummary
    from student.evaluate import Evaluation
    from teacher.precomputed import ImportSummary

METRIC_NAMES = {"top1": "top-1", "top5": "top-5", "macro_accuracy": "macro accuracy"}
WORST_CLASSES = 5
REASONS_SHOWN = 3


def comparison_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Per cent: one row for each seed and metric, then mean +- standard deviation over the seeds."""
    rows = []
    for summary in comparison.summary:
        name = METRIC_NAMES.get(summary.metric, summary.metric)
        by_student = {(row.seed, row.student): getattr(row, summary.metric) for row in comparison.rows}
        seeds = dict.fromkeys(row.seed for row in comparison.rows)
        for seed, gain in zip(seeds, summary.gains, strict=True):
            base, distilled = by_student[seed, "base"], by_student[seed, "distilled"]
            rows.append(_row(name, str(seed), _percent(base), _percent(distilled), f"{100 * gain:+.2f}"))
        if len(seeds) > 1:
            rows.append(_mean_row(name, summary))
    return rows


def comparison_title(comparison: Comparison) -> str:
    config = comparison.config
    return (
        f"{comparison.dataset}: {config.backbone}, {config.epochs} epochs, {comparison.train_images} training images, "
        f"% of {comparison.images} {comparison.split} images"
    )


def comparison_markdown(comparison: Comparison) -> str:
    """The whole comparison as a page: settings, table, and what the distilled students know about the questions."""
    rows = comparison_rows(comparison)
    header = list(rows[0])
    table = [" | ".join(header), " | ".join("---" for _ in header), *(" | ".join(row.values()) for row in rows)]
    lines = [f"# {comparison_title(comparison)}", "", *(f"| {line} |" for line in table), ""]
    aspects = [row for row in comparison.rows if row.aspect_auroc is not None]
    for row in aspects:
        lines.append(f"- seed {row.seed}: aspect AUROC {row.aspect_auroc:.3f}, ECE {row.aspect_ece:.3f}")
    settings = ", ".join(f"{name} {value}" for name, value in comparison.config.to_dict().items())
    return "\n".join([*lines, "", f"Settings: {settings}", ""])


def print_comparison(comparison: Comparison) -> None:
    rows = comparison_rows(comparison)
    table = Table(title=comparison_title(comparison), title_justify="left", box=box.SIMPLE_HEAD)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "metric" else "right")
    for row in rows:
        table.add_row(*row.values(), style="bold" if row["seed"] == "mean" else None, end_section=row["seed"] == "mean")
    Console().print(table)


def print_evaluation(evaluation: Evaluation) -> None:
    console = Console(highlight=False)
    console.print(f"{evaluation.dataset}, split {evaluation.split}: {evaluation.images} images", end="")
    console.print(f", {evaluation.dropped_images} dropped" if evaluation.dropped_images else "")
    for metric, name in METRIC_NAMES.items():
        console.print(f"{name:>16}: {_percent(getattr(evaluation, metric))} %")
    if evaluation.aspect_auroc is not None:
        console.print(f"{'aspect AUROC':>16}: {evaluation.aspect_auroc:.3f} over {len(evaluation.aspects)} questions")
    if evaluation.aspect_ece is not None:
        console.print(f"{'aspect ECE':>16}: {evaluation.aspect_ece:.3f}")
    scored = [(score.top1, score) for score in evaluation.per_class if score.top1 is not None]
    worst = sorted(scored, key=lambda pair: (pair[0], pair[1].class_name))[:WORST_CLASSES]
    table = Table("class", "images", "top-1 %", title="hardest classes", title_justify="left", box=box.SIMPLE_HEAD)
    for top1, score in worst:
        table.add_row(score.class_name, str(score.images), _percent(top1))
    console.print(table)


def print_teachers() -> None:
    """The known teachers with what differs from the defaults."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "model", "settings"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for name, config in KNOWN.items():
        model = "bundled; knows rendered scenes only" if name == TINY else config.model
        settings = {**({"max_pixels": config.max_pixels} if config.max_pixels else {}), **config.processor}
        table.add_row(name, model, ", ".join(f"{setting} {value}" for setting, value in settings.items()))
    Console().print(table)


def import_lines(summary: ImportSummary) -> list[str]:
    lines = [f"{summary.images} images with answers", f"answers: {summary.directory}"]
    lines += listed("images without answers", dict(summary.without_answers))
    if summary.unused_entries:
        shown = ", ".join(summary.unused_entries[:REASONS_SHOWN])
        lines.append(f"entries of the file that no image asks for: {len(summary.unused_entries)} ({shown}, ...)")
    return lines


def listed(what: str, reasons: dict[str, str]) -> list[str]:
    """How many there are, and the first few with their reasons."""
    if not reasons:
        return []
    shown = [f"  {image_id}: {reason}" for image_id, reason in itertools.islice(reasons.items(), REASONS_SHOWN)]
    more = [f"  and {len(reasons) - REASONS_SHOWN} more"] if len(reasons) > REASONS_SHOWN else []
    return [f"{what}: {len(reasons)} (each has its reason in the column 'error')", *shown, *more]


def _row(metric: str, seed: str, base: str, distilled: str, gain: str) -> dict[str, str]:
    return {"metric": metric, "seed": seed, "base": base, "distilled": distilled, "gain": gain}


def _mean_row(name: str, summary: MetricSummary) -> dict[str, str]:
    return _row(
        name,
        "mean",
        f"{_percent(summary.base_mean)} ± {_percent(summary.base_std)}",
        f"{_percent(summary.distilled_mean)} ± {_percent(summary.distilled_std)}",
        f"{100 * summary.gain_mean:+.2f} ± {_percent(summary.gain_std)}",
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"

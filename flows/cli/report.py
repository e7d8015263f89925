"""Format results: tables for the terminal, rows and Markdown for Prefect's pages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.cli.markup import TextTable, markdown_table, markdown_text, plain
from storage.text import printable
from teacher.engines.presets import PRESETS, TINY
from teacher.questions.candidates import Rejection

if TYPE_CHECKING:  # torch takes seconds to import
    import polars as pl

    from student.classification.evaluate import Evaluation
    from student.core.results import CellSummary, Difference, Results
    from student.detection.evaluate import DetectionEvaluation
    from teacher.extraction.precomputed import ImportSummary
    from teacher.questions.audit import Audit, QuestionAudit
    from teacher.questions.changes import Change

METRIC_NAMES = {"top1": "top-1", "top5": "top-5", "macro_accuracy": "macro accuracy"}
# Headings of a table's columns, by metric.
HEADINGS = {
    **METRIC_NAMES,
    "macro_accuracy": "macro",
    "val_top1": "val top-1",
    "worst_group": "worst group",
    "map": "mAP",
    "map50": "AP50",
    "map75": "AP75",
    "small": "small",
    "medium": "medium",
    "large": "large",
}
# Notes about confidence intervals, by what varies.
INTERVALS = {
    "seeds and images": "in parentheses: 95 % confidence interval over seeds and {split} images (bootstrap)",
    "images": "in parentheses: 95 % confidence interval over {split} images alone (bootstrap); how much results vary "
    "between seeds is not known from one seed",
    "seeds": "in parentheses: 95 % confidence interval over the seeds (Student's t)",
}
# Names of a student's scores against the teacher's answers, by column.
ASPECT_SCORES = {
    "aspect_auroc": "aspect AUROC",
    "aspect_ece": "ECE",
    "box_auroc": "AUROC of boxes' aspects",
    "image_auroc": "AUROC of images' aspects",
}
USES_NOTE = (
    "Information of each question's answers about the class, in bits an image. alone: of this question only; missed: "
    "what all questions together lose without it (below 0: they are better without it)."
)
AUDIT_NOTE = (
    "yes: mean p(yes); decided: how much the answer depends on the image; bits: information about the class beyond "
    "chance, alone or in addition to another question. The files have all measurements."
)
WIDE = 130  # columns of a terminal
REPORT_ONLY = ("top-5", "macro", "AP75", "small", "medium", "large", "gain by seed", "answers by seed")
WORST_CLASSES = 5
REASONS_SHOWN = 3


def results_rows(results: Results) -> list[dict[str, str]]:
    """Return one row for each cell, in per cent: mean ± standard deviation over the seeds, the gain over its baseline,
    and the gain over its twin, which is the gain of the answers."""
    rows = []
    for index, cell in enumerate(results.metric(results.metrics[0])):
        varied = {name: "-" if value is None else str(value) for name, value in cell.varied.items()}
        rows.append(
            {
                **varied,
                **{HEADINGS.get(name, name): _mean(results.metric(name)[index]) for name in results.metrics},
                "gain (95 %)": _interval(cell.gain),
                "of the answers (95 %)": _interval(cell.answers_gain),
                "gain by seed": _by_seed(cell.gain),
                "answers by seed": _by_seed(cell.answers_gain),
            }
        )
    return rows


def results_title(results: Results) -> str:
    settings = results.settings
    units = {"detector": "", "backbone": "", "epochs": " epochs"}
    named = [f"{settings[name]}{unit}" for name, unit in units.items() if name in settings]
    return (
        f"{results.dataset}: {', '.join([*named, f'{results.train_images} training images'])}; "
        f"% of {results.images} {results.split} images; seeds: {len(results.summary[0].values)}"
    )


def results_markdown(results: Results, uses: pl.DataFrame | None) -> str:
    """Return the page about an experiment: the table, the students' scores on aspects, the usefulness of the questions
    (see student/classification/usefulness.py), and the shared settings."""
    title = f"# {markdown_text(results_title(results))}"
    lines = [title, "", *markdown_table(results_rows(results)), ""]
    lines += [*(f"- {markdown_text(note)}" for note in gain_notes(results)), ""]
    for row in results.table.iter_rows(named=True):
        scores = [f"{text} {row[name]:.3f}" for name, text in ASPECT_SCORES.items() if row.get(name) is not None]
        if scores:
            lines.append(f"- {markdown_text(row['cell'])}, seed {row['seed']}: {', '.join(scores)}")
    if uses is not None:
        helped = [
            {
                "question": use["text"],
                "group": use["group"] or "-",
                "alone": f"{use['alone']:.3f}",
                "missed": f"{use['missed']:+.3f}",
            }
            for use in uses.sort("missed", descending=True).iter_rows(named=True)
        ]
        lines += ["", "## Questions", "", USES_NOTE, "", *markdown_table(helped)]
    settings = ", ".join(f"{name} {value}" for name, value in results.settings.items())
    return "\n".join([*lines, "", f"Settings: {markdown_text(settings)}", ""])


def print_results(results: Results) -> None:
    """Print the table with as many columns as fit the terminal; the report has all of them."""
    rows = results_rows(results)
    console = Console()
    shown = [name for name in rows[0] if console.width >= WIDE or name not in REPORT_ONLY]
    table = TextTable(results_title(results))
    for name in shown:
        is_number = name not in results.summary[0].varied
        table.column(name, number=is_number, no_wrap=is_number)
    for row in rows:
        table.row(*(row[name] for name in shown))
    console.print(table)
    for note in gain_notes(results):
        console.print(Text(printable(note), style="dim"))


def print_evaluation(evaluation: Evaluation) -> None:
    console = Console(highlight=False)
    dropped = f", {evaluation.dropped_images} dropped" if evaluation.dropped_images else ""
    console.print(plain(f"{evaluation.dataset}, split {evaluation.split}: {evaluation.images} images{dropped}"))
    for metric, name in METRIC_NAMES.items():
        console.print(f"{name:>16}: {_percent(getattr(evaluation, metric))} %")
    for name, value in evaluation.others.items():
        console.print(f"{name:>16}: {value:.4g}")
    if evaluation.aspect_auroc is not None:
        console.print(f"{'aspect AUROC':>16}: {evaluation.aspect_auroc:.3f} over {len(evaluation.aspects)} questions")
    if evaluation.aspect_ece is not None:
        console.print(f"{'aspect ECE':>16}: {evaluation.aspect_ece:.3f}")
    scored = [(score.top1, score) for score in evaluation.per_class if score.top1 is not None]
    worst = sorted(scored, key=lambda pair: (pair[0], pair[1].class_name))[:WORST_CLASSES]
    console.print(_hardest([(score.class_name, str(score.images), _percent(top1)) for top1, score in worst], "images"))


def _hardest(rows: Sequence[tuple[str, str, str]], counted: str, metric: str = "top-1 %") -> TextTable:
    table = TextTable("hardest classes")
    table.column("class")
    table.column(counted, number=True)
    table.column(metric, number=True)
    for row in rows:
        table.row(*row)
    return table


def print_audit(audit: Audit) -> None:
    """Print every question with its verdict, and the reason for those not to be kept."""
    console = Console()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in audit.verdicts.items())
    title = f"{len(audit.questions)} questions on {audit.images} images of {audit.dataset}: {counts}"
    table = TextTable(title)
    for column in ("question", "verdict", "yes", "decided", "bits"):
        table.column(column, number=column not in ("question", "verdict"))
    order = sorted(audit.questions, key=lambda found: (found.verdict != "keep", found.verdict, -_bits(found)))
    for found in order:
        verdict = Text(found.verdict)
        if found.verdict != "keep":
            verdict = Text.assemble((found.verdict, "red"), ": ", plain(found.reason))
        table.row(found.text, verdict, f"{found.yes:.0%}", f"{found.decided:.0%}", f"{_bits(found):.3f}")
    console.print(table)
    console.print(Text(AUDIT_NOTE, style="dim"))


def _bits(found: QuestionAudit) -> float:
    return max(found.information, found.with_partner)


def print_teachers() -> None:
    """Print the named teachers with their settings other than the defaults."""
    table = TextTable()
    for column in ("name", "model", "settings"):
        table.column(column, no_wrap=column == "name")
    for name, config in PRESETS.items():
        model = "bundled; knows rendered scenes only" if name == TINY else config.model
        settings = {**({"max_pixels": config.max_pixels} if config.max_pixels else {}), **config.processor}
        table.row(name, model, ", ".join(f"{setting} {value}" for setting, value in settings.items()))
    Console().print(table)


def rejections_rows(rejections: Sequence[Rejection]) -> list[dict[str, str]]:
    """Return one row for each, with the columns `group`, `question`, `reason`."""
    return [{"group": one.group, "question": one.text, "reason": one.reason} for one in rejections]


def rejections_table(rejections: Sequence[Rejection]) -> TextTable:
    """Return the same rows as a table for the terminal."""
    table = TextTable(f"rejected: {len(rejections)}")
    for column in ("group", "question", "reason"):
        table.column(column)
    for row in rejections_rows(rejections):
        table.row(*row.values())
    return table


def change_line(change: Change) -> str:
    """Describe how a question set differs from the one that a teacher has answered about a dataset."""
    about = f"{change.dataset} by teacher {change.teacher}"
    if change.complete:
        return f"{about}: answered completely, nothing is new"
    named = (("new", change.new), ("reworded", change.reworded), ("gone", change.gone))
    parts = [f"{len(keys)} {name} ({', '.join(keys)})" for name, keys in named if keys]
    return f"{about}: {'; '.join(parts) or 'the same questions in another order'}"


def import_lines(summary: ImportSummary) -> list[str]:
    from storage.datasets.files import listing

    lines = [f"{summary.images} images with answers", f"answers: {summary.directory}"]
    lines += listed("images without answers", dict(summary.without_answers))
    if summary.unused_entries:
        shown = listing(summary.unused_entries)
        lines.append(f"entries of the file that no image asks for: {len(summary.unused_entries)} ({shown})")
    return lines


def listed(what: str, reasons: dict[str, str]) -> list[str]:
    """Return the number of `reasons`, and the first few of them."""
    if not reasons:
        return []
    first = itertools.islice(reasons.items(), REASONS_SHOWN)
    shown = [f"  {printable(image_id)}: {printable(reason)}" for image_id, reason in first]
    more = [f"  and {len(reasons) - REASONS_SHOWN} more"] if len(reasons) > REASONS_SHOWN else []
    return [f"{what}: {len(reasons)} (each has its reason in the column 'error')", *shown, *more]


def gain_notes(results: Results) -> list[str]:
    """Explain the table's gains: their baselines, their intervals, and which twins are missing."""
    cells = results.metric(results.metrics[0])
    gains = [gain for cell in cells for gain in (cell.gain, cell.answers_gain) if gain is not None]
    if not gains:
        return []
    baselines = list(dict.fromkeys(cell.baseline for cell in cells))
    baseline = baselines[0] if len(baselines) == 1 else "the baseline of the same settings"
    notes = [f"gain: {HEADINGS[results.metrics[0]]} over {baseline}, in pairs of one seed"]
    twins = {cell.varied.get("method", cell.cell): cell.twin for cell in cells if cell.twin is not None}
    if any(cell.answers_gain for cell in cells):
        named = ", ".join(dict.fromkeys(cell.twin for cell in cells if cell.twin and cell.answers_gain))
        notes.append(f"of the answers: over the same training without answers ({named})")
    missing = {cell.twin for cell in cells if cell.twin is not None and cell.answers_gain is None}
    if missing:
        of = ", ".join(f"{twin} (for {method})" for method, twin in twins.items() if twin in missing)
        notes.append(f"the gain of the answers needs these methods in the grid too: {of}")
    if intervals := {gain.over for gain in gains if gain.over is not None}:
        notes += [INTERVALS[over].format(split=results.split) for over in sorted(intervals)]
    return notes


def print_detection_evaluation(evaluation: DetectionEvaluation) -> None:
    console = Console(highlight=False)
    dropped = f", {evaluation.dropped_images} dropped" if evaluation.dropped_images else ""
    counts = f"{evaluation.images} images with {evaluation.boxes} boxes{dropped}"
    console.print(plain(f"{evaluation.dataset}, split {evaluation.split}: {counts}"))
    for metric in ("map", "map50", "map75", "small", "medium", "large"):
        console.print(f"{HEADINGS[metric]:>16}: {_percent(getattr(evaluation.scores, metric))} %")
    for name in ("box_auroc", "image_auroc"):
        if (auroc := getattr(evaluation, name)) is not None:
            console.print(f"{ASPECT_SCORES[name]:>16}: {auroc:.3f}")
    scored = [(score.map, score) for score in evaluation.scores.per_class if score.map is not None]
    worst = sorted(scored, key=lambda pair: (pair[0], pair[1].class_name))[:WORST_CLASSES]
    rows = [(score.class_name, str(score.boxes), _percent(precision)) for precision, score in worst]
    console.print(_hardest(rows, "boxes", "mAP %"))


def _mean(summary: CellSummary) -> str:
    return _percent(summary.mean) + ("" if summary.std is None else f" ± {_percent(summary.std)}")


def _interval(gain: Difference | None) -> str:
    if gain is None:
        return "-"
    mean = f"{100 * gain.mean:+.2f}"
    return mean if gain.low is None or gain.high is None else f"{mean} ({100 * gain.low:+.2f}, {100 * gain.high:+.2f})"


def _by_seed(gain: Difference | None) -> str:
    return "-" if gain is None else " ".join(f"{100 * value:+.2f}" for value in gain.values)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"

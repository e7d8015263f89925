from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from flows.cli.report import gain_notes, import_lines, print_results, results_markdown, results_rows
from student.classification.grid import StudentGrid
from student.classification.recipes import recipe
from student.core.bootstrap import Bootstrap
from student.core.results import Results, summarise
from teacher.extraction.precomputed import ImportSummary

SEEDS = (0, 1)


def results_of(right: Mapping[str, float], *, metric: str = "top1", bootstrapped: bool = True) -> Results:
    """Of students that are right about these shares of 100 test images, by their methods."""
    grid = StudentGrid(settings=recipe("small").to_dict(), axes={"method": list(right)}, seeds=SEEDS)
    cells = grid.cells(Path())
    shares = {(cell.name, seed): right[cell.name] + seed / 100 for cell in cells for seed in SEEDS}
    table = pl.DataFrame(
        [{"cell": cell, "seed": seed, metric: share, "run": cell} for (cell, seed), share in shares.items()]
    )
    images = {
        student: pl.DataFrame({"image_id": list(map(str, range(100))), metric: [n < 100 * share for n in range(100)]})
        for student, share in shares.items()
    }
    bootstrap = Bootstrap.of(images) if bootstrapped else None
    return Results(
        dataset="colours",
        split="test" if bootstrapped else "validation",
        images=100,
        train_images=24,
        val_images=0,
        settings={"epochs": 3},
        table=table,
        summary=summarise(table, cells, grid, [metric], bootstrap),
        bootstrap=bootstrap,
    )


def test_the_table_has_both_gains_with_their_intervals() -> None:
    results = results_of({"base": 0.3, "recommended-without-answers": 0.4, "recommended": 0.45})
    base, twin, method = results_rows(results)
    assert [base[name] for name in ("top-1", "gain (95 %)", "of the answers (95 %)")] == ["30.50 ± 0.71", "-", "-"]
    assert twin["gain (95 %)"].startswith("+10.00 (+")
    assert twin["of the answers (95 %)"] == "-"
    assert method["of the answers (95 %)"].startswith("+5.00 (+")
    assert (method["gain by seed"], method["answers by seed"]) == ("+15.00 +15.00", "+5.00 +5.00")
    assert gain_notes(results) == [
        "gain: top-1 over base, in pairs of one seed",
        "of the answers: over the same training without answers (recommended-without-answers)",
        "in parentheses: 95 % confidence interval over seeds and test images (bootstrap)",
    ]
    assert "- of the answers: over the same training without answers (recommended-without-answers)" in results_markdown(
        results, None
    )


def test_twins_that_are_missing_are_named() -> None:
    results = results_of({"base": 0.3, "makd": 0.35, "recommended": 0.45, "recommended-classes": 0.4})
    assert gain_notes(results)[1:3] == [
        "of the answers: over the same training without answers (base)",
        "the gain of the answers needs these methods in the grid too: recommended-without-answers (for recommended), "
        "labels-deep-1 (for recommended-classes)",
    ]


def test_on_validation_images_the_interval_is_over_the_seeds() -> None:
    results = results_of({"base": 0.3, "makd": 0.35}, metric="val_top1", bootstrapped=False)
    assert results_rows(results)[1]["val top-1"] == "35.50 ± 0.71"
    assert gain_notes(results)[0] == "gain: val top-1 over base, in pairs of one seed"


def test_the_table_fits_a_terminal_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_results(results_of({"base": 0.3, "labels-deep": 0.4, "recommended-classes": 0.45}))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "45.50 ± 0.71   +15.00 (+9.00, +22.00)" in shown  # the method's name is folded, numbers are whole


def test_names_of_files_are_safe_to_print() -> None:
    summary = ImportSummary(
        directory="store/x",
        images=2,
        without_answers={"train/a/bad\nname\x1b[31m.jpg": "no answer for 'bad\nname'"},
        unused_entries=[f"{letter}\x07.jpg" for letter in "abcdefg"],
    )
    assert import_lines(summary) == [
        "2 images with answers",
        "answers: store/x",
        "images without answers: 1 (each has its reason in the column 'error')",
        "  train/a/bad name\\x1b[31m.jpg: no answer for 'bad name'",
        "entries of the file that no image asks for: 7 "
        "(a\\x07.jpg, b\\x07.jpg, c\\x07.jpg, d\\x07.jpg, e\\x07.jpg and 2 more)",
    ]

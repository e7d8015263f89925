"""The report is one file without outside parts, and has the size that was asked for."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from storage.datasets import FileDataset
from tests.student.evaluations import write_evaluation, write_run
from tests.view.conftest import CLASSES, EACH, HEADER, ODD, write_answers
from view.report import write_report
from view.sources import Sources


@pytest.fixture
def sources(store: Path, flowers: FileDataset, cache: Path) -> Sources:
    return Sources(str(store), cache, dataset=flowers)


def test_the_file_has_everything_inside(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    assert write_report(sources, path, max_bytes=10**7) == 0
    text = path.read_text()
    assert text.count("data:image/webp;base64,") == 2 * 3 * 4 + 3 * EACH - 1  # questions, and labels that are judged
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'id="([^"]+)"', text))


def test_images_beyond_the_limit_are_left_out(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(sources, path, max_bytes=1)
    least = path.stat().st_size
    assert "data:image/webp" not in path.read_text()
    limit = least + 1200
    left_out = write_report(sources, path, max_bytes=limit)
    shown = path.read_text().count("data:image/webp")
    every = 24 + 3 * EACH - 1
    assert 0 < shown < every
    assert shown + left_out == every
    assert path.stat().st_size <= limit


def test_students_and_suspicious_labels_have_sections(store: Path, flowers: FileDataset, tmp_path: Path) -> None:
    write_evaluation(write_run(tmp_path / "runs" / "seed-0", classes=CLASSES))
    write_evaluation(write_run(tmp_path / "runs" / "other", dataset="other"))
    sources = Sources(str(store), tmp_path / "cache", dataset=flowers, runs=[tmp_path / "runs"])
    write_report(sources, tmp_path / "report.html", max_bytes=10**7)
    text = (tmp_path / "report.html").read_text()
    student, labels = (text.index(f'<section id="{name}">') for name in ("student", "labels"))
    assert "75.00 %" in text[student:labels]
    assert "Confused classes" in text[student:labels]
    assert f'title="{ODD}"' in text[labels:].partition('class="suspect"')[2][:200]
    assert "<form" not in text
    assert "<script" not in text


def test_a_report_without_students_or_about_classes_leaves_the_sections_out(
    flowers: FileDataset, tmp_path: Path
) -> None:
    about_classes = dataclasses.replace(HEADER, teacher={"model": "sample", "about": "classes"})
    write_answers(tmp_path / "store", flowers, about_classes)
    write_report(Sources(str(tmp_path / "store"), tmp_path / "cache"), tmp_path / "report.html", max_bytes=10**7)
    text = (tmp_path / "report.html").read_text()
    assert 'id="classes"' in text
    assert not re.search(r'(id|href)="#?(student|labels)"', text)

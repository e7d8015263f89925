"""The report is one file without outside parts, and has the size that was asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage.datasets import FileDataset
from view.report import write_report
from view.sources import Sources


@pytest.fixture
def sources(store: Path, flowers: FileDataset, cache: Path) -> Sources:
    return Sources(str(store), cache, dataset=flowers)


def test_the_file_has_everything_inside(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    assert write_report(sources, path, max_bytes=10**7) == 0
    text = path.read_text()
    assert text.count("data:image/webp;base64,") == 2 * 3 * 4
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
    assert 0 < shown < 24
    assert shown + left_out == 24
    assert path.stat().st_size <= limit

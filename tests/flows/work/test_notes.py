from __future__ import annotations

from pathlib import Path

import pytest

from flows.parameters import DatasetParameters
from flows.work import notes
from storage.images import decoder_warnings
from tests.storage.datasets.tiny_images import draw, write


def test_notes_are_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "set" / "train" / "daisy" / "1.png")
    write(tmp_path / "set" / "train" / "daisy" / "1.txt", "")
    for _ in range(2):
        DatasetParameters(source=str(tmp_path / "set")).open()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "note: dataset 'set': skipped 1 file without the name of an image: 1 .txt\n"


def test_an_image_in_two_splits_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        draw(tmp_path / "both" / split / "daisy" / "1.png")
    for _ in range(2):
        DatasetParameters(source=str(tmp_path / "both")).open()
    told = "note: dataset 'both': 1 image in more than one split: train/daisy/1.png = test/daisy/1.png\n"
    assert capsys.readouterr().err == told


def test_decoder_warnings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (b"first", b"second"):
        with decoder_warnings.kept_warnings(name):
            decoder_warnings._keep("Corrupt EXIF data")
    notes.print_warnings()
    notes.print_warnings()
    assert capsys.readouterr().err == "note: 2 images gave warnings when decoded, e.g. Corrupt EXIF data\n"

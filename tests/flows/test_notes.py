from __future__ import annotations

from pathlib import Path

import pytest

from flows.parameters import DatasetParameters
from tests.storage.datasets.pictures import draw, write


def test_notes_are_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    draw(tmp_path / "set" / "train" / "daisy" / "1.png")
    write(tmp_path / "set" / "train" / "daisy" / "1.txt", "")
    for _ in range(2):
        DatasetParameters(source=str(tmp_path / "set")).open()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "note: dataset 'set': skipped 1 file without the name of an image: 1 .txt\n"

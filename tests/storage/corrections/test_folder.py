"""The folder of corrections: appended, undone, merged, damaged, shared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.corrections import CorrectionFolder, CorrectionInvalid, current_corrections
from storage.corrections import folder as folder_module
from storage.corrections.folder import corrected_datasets, sweep_corrections, system_user
from storage.errors import VersionUnsupported
from tests.storage.corrections.samples import answer, label


def open_folder(store: Path) -> CorrectionFolder:
    return CorrectionFolder.open(str(store), "sample")


def files(store: Path) -> list[Path]:
    return sorted((store / "corrections" / "dataset=sample").glob("*"))


def test_a_store_without_corrections_has_none(tmp_path: Path) -> None:
    assert open_folder(tmp_path).read() == []
    assert corrected_datasets(str(tmp_path)) == []


def test_batches_are_appended_with_user_and_time(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    before = datetime.now(UTC)
    folder.record([label("a.png", "ant"), answer("a.png", "no")])
    folder.record([label("b.png", None)], user="ann")
    rows = open_folder(tmp_path).read()
    assert [(row.image_id, row.value, row.user) for row in rows] == [
        ("a.png", "ant", system_user()),
        ("a.png", "no", system_user()),
        ("b.png", None, "ann"),
    ]
    assert before <= rows[0].at < rows[1].at < rows[2].at
    assert len({row.correction for row in rows}) == 3
    assert len(files(tmp_path)) == 2
    assert corrected_datasets(str(tmp_path)) == ["sample"]


def test_the_last_correction_counts_also_where_the_clock_goes_back(tmp_path: Path) -> None:
    first, second = open_folder(tmp_path), open_folder(tmp_path)
    first.record([label("a.png", "ant")])

    class Late(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(days=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "datetime", Late)
        second.record([label("a.png", "bee")])
    assert current_corrections(first.read()).labels["a.png"].value == "bee"


def test_undo_brings_back_the_correction_before(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    folder.record([label("a.png", "ant")])
    (second,) = folder.record([label("a.png", "bee")])
    row = folder.undo(second.correction)
    assert (row.undoes, row.old, row.value) == (second.correction, "bee", None)
    assert current_corrections(folder.read()).labels["a.png"].value == "ant"
    with pytest.raises(CorrectionInvalid, match="undone already"):
        folder.undo(second.correction)
    with pytest.raises(CorrectionInvalid, match="is unknown"):
        folder.undo(row.correction)


def test_ids_may_be_shortened(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    (row,) = folder.record([label("a.png", "ant")])
    assert folder.whole_id(row.correction[:8]) == row.correction
    for beginning in ("", "x"):
        with pytest.raises(CorrectionInvalid, match="aspects corrections list"):
            folder.whole_id(beginning)


def test_many_files_are_merged_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MOST_FILES", 8)
    folder, reader, count = open_folder(tmp_path), open_folder(tmp_path), 10
    for number in range(count):
        folder.record([label(f"{number}.png", "ant")])
        if number == 7:
            reader.read()
    assert len(files(tmp_path)) == 2
    assert [row.image_id for row in reader.read()] == [f"{number}.png" for number in range(count)]
    assert reader.read() == open_folder(tmp_path).read() == folder.read()


def test_a_merge_that_was_killed_leaves_no_row_twice(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    for number in range(3):
        folder.record([label(f"{number}.png", "ant")])
    before = {path: path.read_bytes() for path in files(tmp_path)}
    folder.merge()
    for path, data in list(before.items())[1:]:  # not yet deleted
        path.write_bytes(data)
    assert len(files(tmp_path)) == 3
    assert [row.image_id for row in open_folder(tmp_path).read()] == ["0.png", "1.png", "2.png"]
    open_folder(tmp_path).merge()
    assert len(files(tmp_path)) == 1
    assert len(open_folder(tmp_path).read()) == 3


def test_a_file_that_is_merged_while_it_is_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = open_folder(tmp_path), open_folder(tmp_path)
    for number in range(3):
        writer.record([label(f"{number}.png", "ant")])
    load = reader._load

    def merged_before(name: str) -> object:
        monkeypatch.setattr(reader, "_load", load)
        writer.merge()
        return load(name)

    monkeypatch.setattr(reader, "_load", merged_before)
    assert [row.image_id for row in reader.read()] == ["0.png", "1.png", "2.png"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    open_folder(tmp_path).record([label("a.png", "ant")])
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorrectionInvalid, match=rf"{path.name} is damaged .* move it away"):
        open_folder(tmp_path).read()


def test_a_newer_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.corrections.rows.VERSION", 2)
    open_folder(tmp_path).record([label("a.png", "ant")])
    monkeypatch.undo()
    with pytest.raises(VersionUnsupported, match=r"parquet was written by a newer release.*update aspects"):
        open_folder(tmp_path).read()


def test_unfinished_files_are_swept_and_corrections_stay(tmp_path: Path) -> None:
    open_folder(tmp_path).record([label("a.png", "ant")])
    left = tmp_path / "corrections" / ".unfinished-dataset=sample-x.parquet.0"
    left.write_bytes(b"")
    sweep_corrections(str(tmp_path))
    assert not left.exists()
    assert len(open_folder(tmp_path).read()) == 1


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", fail)
    assert system_user().isdecimal()

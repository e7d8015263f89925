"""Damage is found, whatever it looks like; what cannot be read right now is neither damaged nor missing."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs

from storage import filesystem as filesystem_of_store
from storage.answers import reuse
from storage.answers.damage import AnswersDamaged
from storage.answers.read import load_answers, read_answers
from storage.answers.reuse import known_answers
from storage.answers.scan import scan_answers
from storage.answers.schema import parse_shard, write_shard
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.errors import StorageUnavailable, VersionUnsupported
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, answers_for, records
from tests.storage.shards import Change, faulty, rewrite, set_answer, set_header

SHARDS = cut_shards(records(5), 3)


@pytest.fixture
def directory(tmp_path: Path) -> AnswerDirectory:
    return write_directory(str(tmp_path / "store"), damaged=1)


def first_shard(directory: AnswerDirectory) -> Path:
    return Path(directory.path) / "part-00000.parquet"


def test_no_flipped_bit_changes_an_answer() -> None:
    whole = write_shard(HEADER, answers_for(records(20), damaged=1))
    expected = parse_shard(whole)
    accepted = 0
    for bit in random.Random(0).sample(range(8 * len(whole)), 400):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        try:
            found = parse_shard(bytes(flipped))
        except Exception:  # pyarrow raises many kinds
            continue
        accepted += 1
        np.testing.assert_array_equal(found.answers.yes, expected.answers.yes)
        np.testing.assert_array_equal(found.answers.no, expected.answers.no)
        assert (found.header, found.answers.records) == (expected.header, expected.answers.records)
        assert (found.answers.errors, found.answers.image_sha256) == (
            expected.answers.errors,
            expected.answers.image_sha256,
        )
    assert accepted < 150  # the rest lies where nothing reads: copies, statistics


def drop_digests(table: pa.Table) -> pa.Table:
    """As an earlier release would have written it."""
    kept = {name: value for name, value in table.schema.metadata.items() if name != b"aspects_digests"}
    return table.replace_schema_metadata(kept)


DAMAGE: dict[str, Change] = {
    "null": set_answer("is_red", 0),
    "null part": set_answer("is_red", 0, yes=None),
    "nan": set_answer("is_red", 0, yes=float("nan")),
    "infinite": set_answer("is_red", 2, no=float("-inf")),
    "huge": set_answer("is_red", 2, no=1e9),
    "probability above one": set_answer("is_red", 2, yes=0.1),
    "impossibly small": set_answer("is_red", 2, yes=-2.9e38),
    "column gone": lambda table: table.drop_columns(["is_red"]),
    "column twice": lambda table: table.append_column("is_red", table.column("is_red")),
    "column of text": lambda table: table.set_column(6, "has_stripes", pa.array(["yes"] * table.num_rows)),
    "other numbers": lambda table: table.set_column(3, "label", table.column("label").cast(pa.int64())),
    "no id": lambda table: table.set_column(0, "image_id", pa.nulls(table.num_rows, pa.string())),
    "no metadata": lambda table: table.replace_schema_metadata({}),
}


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_shard_that_parses_and_is_wrong_is_asked_again_and_not_read(
    directory: AnswerDirectory, damage: str, digests: bool
) -> None:
    change = DAMAGE[damage]
    rewrite(first_shard(directory), change if digests else lambda table: drop_digests(change(table)))
    assert directory.valid_shard(SHARDS[0], HEADER) is None
    assert directory.valid_shard(SHARDS[1], HEADER) is not None
    with pytest.raises(AnswersDamaged, match=r"part-00000\.parquet is damaged"):
        load_answers(directory.path)
    with pytest.raises(AnswersDamaged, match="part-00000"):
        scan_answers(directory.path.partition("/answers/")[0])


def test_another_value_in_its_range_is_found_by_the_digests(directory: AnswerDirectory) -> None:
    path = first_shard(directory)
    rewrite(path, set_answer("is_red", 0, yes=-0.5))
    assert directory.valid_shard(SHARDS[0], HEADER) is None
    rewrite(path, drop_digests)
    # Without digests of its own a shard is compared with those of the manifest.
    assert directory.valid_shard(SHARDS[0], HEADER) is not None
    digests = (directory.manifest() or {})["digests"]
    assert directory.find_shard(SHARDS[0], HEADER, digests["part-00000.parquet"]) is None
    with pytest.raises(AnswersDamaged, match="not the one that the manifest is about"):
        load_answers(directory.path)


def test_columns_are_read_by_name(directory: AnswerDirectory) -> None:
    before = load_answers(directory.path)
    rewrite(first_shard(directory), lambda table: table.select(sorted(table.column_names, reverse=True)))
    after = load_answers(directory.path)
    np.testing.assert_array_equal(after.yes, before.yes)
    assert after.image_ids == before.image_ids
    assert directory.valid_shard(SHARDS[0], HEADER) is not None


@pytest.mark.parametrize("field", [{"dataset": "other"}, {"teacher_fingerprint": "f" * 12}])
def test_a_shard_of_another_directory_is_not_read(directory: AnswerDirectory, field: dict[str, str]) -> None:
    set_header(first_shard(directory), **field)
    with pytest.raises(AnswersDamaged, match="part-00000"):
        load_answers(directory.path)


def test_shards_and_manifests_of_another_teacher_are_not_taken(directory: AnswerDirectory, tmp_path: Path) -> None:
    other = write_directory(str(tmp_path / "store"), teacher="f" * 12)
    first_shard(directory).write_bytes(first_shard(other).read_bytes())
    assert directory.valid_shard(SHARDS[0], HEADER) is None
    known = known_answers(str(tmp_path / "store"), ["sample"], HEADER.teacher_fingerprint, HEADER.questions.texts)
    assert [known.names for known in known.directories] == [("part-00001.parquet",)]
    Path(directory.manifest_path).write_bytes(Path(other.manifest_path).read_bytes())
    assert not directory.is_complete()
    with pytest.raises(AnswersDamaged, match=r"manifest .* is about the teacher ffffffffffff"):
        load_answers(directory.path)


def test_a_flipped_bit_in_a_manifest_is_detected(directory: AnswerDirectory) -> None:
    path = Path(directory.manifest_path)
    data, before = path.read_bytes(), directory.manifest() or {}
    for place in random.Random(0).sample(range(8 * data.index(b'"images"')), 1500):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with suppress(AnswersDamaged, VersionUnsupported):
            found = directory.manifest() or {}
            assert all(found.get(name, value) == value for name, value in before.items())


def test_a_missing_shard_is_named(directory: AnswerDirectory) -> None:
    first_shard(directory).unlink()
    assert directory.valid_shard(SHARDS[0], HEADER) is None
    with pytest.raises(AnswersDamaged, match=r"part-00000\.parquet is missing"):
        load_answers(directory.path)


USES: dict[str, Callable[[AnswerDirectory], object]] = {
    "valid_shard": lambda directory: directory.valid_shard(SHARDS[0], HEADER),
    "splits": lambda directory: directory.splits(),
    "manifest": lambda directory: directory.manifest(),
    "last_manifest": lambda directory: directory.last_manifest(),
    "is_complete": lambda directory: directory.is_complete(),
    "shard_files": lambda directory: directory.shard_files(),
    "read_answers": read_answers,
    "reopen": lambda directory: directory.reopen(),
}
ERRORS = [
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ESTALE, "Stale file handle"),
    TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
    OSError("AWS Error UNKNOWN (HTTP status 500) during GetObject operation"),
    OSError("AWS Error ACCESS_DENIED during GetObject operation"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize("use", USES)
def test_a_temporarily_unreadable_file_is_not_missing(directory: AnswerDirectory, use: str, error: OSError) -> None:
    out_of_reach = faulty(directory, error, lambda operation, path: True)
    with pytest.raises(StorageUnavailable, match=r"cannot read .* right now") as raised:
        USES[use](out_of_reach)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_unreadable_answers_do_not_count_as_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    directory = write_directory(str(tmp_path / "store"))

    def read_file(filesystem: fs.FileSystem, path: str) -> bytes:
        broken = faulty(directory, error, lambda operation, path: operation == "read" and "part-00001" in path)
        return filesystem_of_store.read_file(broken.filesystem, path)

    monkeypatch.setattr(reuse, "read_file", read_file)
    with pytest.raises(StorageUnavailable, match="part-00001"):
        known_answers(str(tmp_path / "store"), ["sample"], HEADER.teacher_fingerprint)
    assert directory.valid_shard(SHARDS[0], HEADER) is not None

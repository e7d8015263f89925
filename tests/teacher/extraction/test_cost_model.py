"""Costs follow from a ledger by arithmetic; each figure says whether it is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.answers.shards import cut_shards
from teacher.extraction.cost_model import SampleRun, StoredBytes, estimate_costs, find_sample, stored_bytes
from teacher.extraction.forecast import Forecast
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, records

LEDGER = {"images": 100, "questions": 5000, "seconds": 70.0, "start_seconds": 10.0, "prefix_tokens": 0,
          "suffix_tokens": 0, "decode_seconds": 0.5, "gpus": 2, "workers": 2}  # fmt: skip
FORECAST = Forecast(
    images=1_000_000, questions=50, kept=0, reused=0, asked=50_000_000, images_asked=1_000_000,
    seconds=600_000.0, start_seconds=10.0,
)  # fmt: skip
STORED = StoredBytes(row=100.0, answer=8.0, rows=1000)


def test_costs_are_those_of_the_sample_times_the_work() -> None:
    lines = {line.what: line for line in estimate_costs(FORECAST, SampleRun(ledger=LEDGER, stored=STORED), 64, 2.5)}
    # 600,000 s on two GPUs are 18,750 s on 64, after 10 s of starting.
    assert lines["rate of the sample"].figure == "42 questions/s for each GPU"
    assert (lines["time on 64 GPUs"].figure, lines["time on 64 GPUs"].basis) == ("5.2 h", "assumed")
    assert lines["GPU-hours"].figure == f"{64 * 18_760 / 3600:.2f}"
    assert lines["cost"].figure == f"{64 * 18_760 / 3600 * 2.5:.2f}"
    assert lines["CPU cores to decode"].figure == f"{0.005 * 1_000_000 / 18_750:.1f} in all"
    assert (lines["store size"].figure, lines["store size"].basis) == ("0.5 GB", "measured")
    assert {name for name, line in lines.items() if line.basis == "measured"} == {
        "rate of the sample", "start of the teacher", "CPU cores to decode", "store size"
    }  # fmt: skip
    assert "[measured: 5,000 answers about 100 images]" in str(lines["rate of the sample"])


def test_a_sample_without_gpus_is_marked() -> None:
    ledger = {**LEDGER, "gpus": 0, "workers": 1}
    lines = estimate_costs(FORECAST, SampleRun(ledger=ledger, stored=StoredBytes()), 1, None)
    assert any("run a sample on a GPU" in line.how for line in lines)
    assert [line.basis for line in lines if line.what == "store size"] == ["assumed"]
    assert not any(line.what == "cost" for line in lines)


@pytest.mark.parametrize("runs", [[], [{**LEDGER, "questions": 0}], ["damaged"]])
def test_without_a_ledger_there_is_no_sample(tmp_path: Path, runs: list[object]) -> None:
    directory = write_directory(str(tmp_path))
    directory.complete(HEADER, cut_shards(records(5), 3), {"runs": runs})
    assert find_sample(str(tmp_path), HEADER.teacher_fingerprint) is None


def test_the_largest_run_of_the_teacher_is_the_sample(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    directory.complete(HEADER, cut_shards(records(5), 3), {"runs": [{**LEDGER, "questions": 7}, LEDGER]})
    sample = find_sample(str(tmp_path), HEADER.teacher_fingerprint)
    assert sample is not None
    assert sample.ledger["questions"] == 5000
    assert (sample.devices, sample.on_gpus, sample.stored.rows) == (2, True, 5)
    assert find_sample(str(tmp_path), "another") is None


def test_bytes_are_those_of_the_files(tmp_path: Path) -> None:
    directory = write_directory(str(tmp_path))
    found, questions = stored_bytes(directory), len(HEADER.questions)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert 0 < found.rows * (found.row + questions * found.answer) < size
    assert found.answer > 8  # two float32, and the overhead of a column of three values

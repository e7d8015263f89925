"""What an extraction costs on a number of GPUs, from the ledger of a sample that the same teacher has answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow.parquet as pq

from storage.answers.directories import answer_directories, audits_of
from storage.answers.store import AnswerDirectory
from storage.errors import AspectsError
from teacher.extraction.forecast import Forecast, duration, is_ledger

SAMPLE_FILES = 8  # whose bytes are counted
# About 50 bytes of a row are its digest and id, which do not compress; an answer is two random float32.
ASSUMED_ROW, ASSUMED_ANSWER = 80.0, 7.5

Basis = Literal["measured", "assumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBytes:
    """Bytes of a row without its answers, and of one answer, in `rows` rows; `rows` is 0 where they are assumed."""

    row: float = ASSUMED_ROW
    answer: float = ASSUMED_ANSWER
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRun:
    """A ledger of the teacher, and the bytes that its answers take in the store."""

    ledger: Mapping[str, Any]
    stored: StoredBytes

    @property
    def devices(self) -> float:
        """The GPUs of the run, or its workers if it had none."""
        return float(self.ledger.get("gpus") or self.ledger.get("workers") or 1)

    @property
    def on_gpus(self) -> bool:
        return bool(self.ledger.get("gpus"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One line of the result: a figure, what it is based on, and how."""

    what: str
    figure: str
    basis: Basis
    how: str

    def __str__(self) -> str:
        return f"{self.what}: {self.figure} [{self.basis}: {self.how}]"


def find_sample(store: str, teacher_fingerprint: str) -> SampleRun | None:
    """Return the teacher's largest run on any dataset of the store or its audits: short ones say little about speed.

    Raises VersionUnsupported and StorageUnavailable.
    """
    found: list[tuple[Mapping[str, Any], AnswerDirectory]] = []
    for directory in (*answer_directories(store), *answer_directories(audits_of(store))):
        if f"/teacher={teacher_fingerprint}/" in directory.path:
            runs = (directory.last_manifest() or {}).get("runs", [])
            found.extend((run, directory) for run in runs if is_ledger(run) and run["questions"] > 0)
    if not found:
        return None
    ledger, directory = max(found, key=lambda pair: pair[0]["questions"])
    return SampleRun(ledger=ledger, stored=stored_bytes(directory))


def stored_bytes(directory: AnswerDirectory) -> StoredBytes:
    """Measure the compressed bytes of the first files of a directory by their metadata; assumed ones if there are none.

    Raises StorageUnavailable.
    """
    row_bytes = answer_bytes = rows = answers = 0
    for name in directory.shard_files()[:SAMPLE_FILES]:
        try:
            header, _ = directory.read_shard(name)
        except (FileNotFoundError, AspectsError):  # damaged: the others show the size
            continue
        with directory.filesystem.open_input_file(f"{directory.path}/{name}") as source:
            metadata = pq.read_metadata(source)
        keys = set(header.questions.keys)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.path_in_schema.partition(".")[0] in keys:
                    answer_bytes += column.total_compressed_size
                else:
                    row_bytes += column.total_compressed_size
        rows += metadata.num_rows
        answers += metadata.num_rows * len(keys)
    if not answers:
        return StoredBytes()
    return StoredBytes(row=row_bytes / rows, answer=answer_bytes / answers, rows=rows)


def estimate_costs(
    forecast: Forecast, sample: SampleRun, gpus: int, price_per_gpu_hour: float | None
) -> list[Estimate]:
    """Estimate time, GPU-hours, cost and store size of a forecast extraction on `gpus` GPUs, each with a worker.

    The rate, the start of the teacher and the bytes of a row are those of the sample; that `gpus` GPUs are as many
    times as fast as one is an assumption.
    """
    ledger = sample.ledger
    asking = (forecast.seconds or 0.0) * sample.devices / gpus
    start = (forecast.start_seconds or 0.0) if forecast.asked else 0.0
    gpu_hours = gpus * (asking + start) / 3600
    device = "GPU" if sample.on_gpus else "worker without a GPU"
    rate = ledger["questions"] / max(ledger["seconds"] - ledger["start_seconds"], 1e-9) / sample.devices
    lines = [
        Estimate(
            what="rate of the sample",
            figure=f"{rate:,.0f} questions/s for each {device}",
            basis="measured",
            how=f"{ledger['questions']:,} answers about {ledger['images']:,} {forecast.about}",
        ),
        Estimate(
            what="start of the teacher",
            figure=duration(start),
            basis="measured",
            how="once for each worker, all at the same time",
        ),
        Estimate(
            what=f"time on {gpus:,} GPUs",
            figure=duration(asking + start),
            basis="assumed",
            how=f"{gpus:,} GPUs answer {gpus / sample.devices:,.4g} times as fast as the {sample.devices:,.4g} "
            f"{_plural(device, sample.devices)} of the sample"
            + ("" if sample.on_gpus else "; a GPU is as fast as such a worker, so run a sample on a GPU"),
        ),
        Estimate(
            what="GPU-hours",
            figure=f"{gpu_hours:,.2f}",
            basis="assumed",
            how="time x GPUs, without interrupted or idle ones",
        ),
    ]
    if price_per_gpu_hour is not None:
        cost = gpu_hours * price_per_gpu_hour
        lines.append(
            Estimate(what="cost", figure=f"{cost:,.2f}", basis="assumed", how=f"GPU-hours x {price_per_gpu_hour:g}")
        )
    return [*lines, _reading(forecast, sample, asking), _size(forecast, sample.stored)]


def sample_command(dataset: str, questions: str, teacher: str, store: str) -> str:
    """Return the command that measures a sample of a dataset."""
    return f"aspects questions audit {questions} -d {dataset} -t {teacher} -s {store} --images 1000 --probed 1"


def _reading(forecast: Forecast, sample: SampleRun, asking: float) -> Estimate:
    """CPU cores that keep up with the GPUs."""
    each = sample.ledger.get("decode_seconds")
    if not isinstance(each, int | float) or not sample.ledger["images"] or not asking:
        return Estimate(what="CPU cores to decode", figure="unknown", basis="assumed", how="the sample has none")
    cores = each / sample.ledger["images"] * forecast.images_asked / asking
    return Estimate(
        what="CPU cores to decode",
        figure=f"{cores:,.1f} in all",
        basis="measured",
        how=f"{1000 * each / sample.ledger['images']:.1f} ms an image",
    )


def _size(forecast: Forecast, stored: StoredBytes) -> Estimate:
    size = forecast.images * (stored.row + forecast.questions * stored.answer)
    how = f"{stored.row:.0f} bytes a row and {stored.answer:.1f} an answer"
    measured = f"{how}, in {stored.rows:,} rows of the sample"
    return Estimate(
        what="store size",
        figure=f"{size / 1e9:,.3g} GB",
        basis="measured" if stored.rows else "assumed",
        how=measured if stored.rows else how,
    )


def _plural(noun: str, count: float) -> str:
    if count == 1:
        return noun
    return "GPUs" if noun == "GPU" else noun.replace("worker", "workers")

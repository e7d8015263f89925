"""Corrections as files of other programs: CSV tables, and JSON lines of FiftyOne and Label Studio."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from scipy.special import expit

from storage.answers.read import Answers
from storage.corrections import fiftyone, label_studio
from storage.corrections.apply import digests_of
from storage.corrections.current import CurrentCorrections
from storage.corrections.entries import Entry, ImageEntries
from storage.corrections.rows import NO, YES, Correction, CorrectionInvalid
from storage.datasets.base import FileDataset, ImageDataset, ImageRecord
from storage.filesystem import write_file
from storage.matching import match_images
from storage.questions import QuestionSet
from storage.tables import NO as NOS
from storage.tables import YES as YESES
from storage.tables import Table, read_table
from storage.text import printable

Format = Literal["labels", "answers", "fiftyone", "label-studio"]
LABEL_COLUMNS, ANSWER_COLUMNS = ("image_id", "label"), ("image_id", "key", "yes")
DRAWN_COLUMNS = ("probability", "pool")  # of files that a queue wrote
UNSURE = "unsure"  # a class of that name is the class


@dataclass(frozen=True, kw_only=True)
class Known:
    """The images of `dataset` and the questions, by key with their texts, that a file may be about.

    `digests` are the images' SHA-256, as far as they are known. `answered` are the teachers' answers, each with the
    rows of the images.
    """

    dataset: ImageDataset
    questions: Mapping[str, str]
    digests: Mapping[str, str | None]
    answered: Sequence[tuple[Answers, Mapping[str, int]]] = ()

    @classmethod
    def of(cls, dataset: ImageDataset, given: Sequence[Answers], asked: QuestionSet | None = None) -> Known:
        """Return the questions of `asked`, by default all that are answered in `given`.

        Raises CorrectionInvalid if a key has several texts.
        """
        questions: dict[str, str] = {}
        for one in [answers.questions for answers in given] if asked is None else [asked]:
            for question in one.questions:
                if questions.setdefault(question.key, question.text) != question.text:
                    raise CorrectionInvalid(
                        f"question '{question.key}' has several texts in the store; name one set with --questions"
                    )
        answered = [(one, {image_id: row for row, image_id in enumerate(one.image_ids)}) for one in given]
        return cls(dataset=dataset, questions=questions, digests=digests_of(given), answered=answered)

    def teachers_answer(self, image_id: str, text: str) -> dict[str, Any]:
        """Return the fields `teacher`, `p_yes` and `old` of a correction; none of them if not exactly one teacher has
        answered."""
        found = []
        for answers, rows in self.answered:
            row, texts = rows.get(image_id), answers.questions.texts
            if row is None or text not in texts:
                continue
            column = texts.index(text)
            p_yes = float(expit(float(answers.yes[row, column]) - float(answers.no[row, column])))
            if p_yes == p_yes:
                found.append({"teacher": answers.teacher, "p_yes": p_yes, "old": YES if p_yes > 0.5 else NO})
        return found[0] if len(found) == 1 else {}


def export_corrections(
    current: CurrentCorrections, known: Known, format: Format, path: Path, image_prefix: str | None = None
) -> int:
    """Write the corrections in effect to `path`, atomically, and return the number of rows.

    `image_prefix` comes before each image id in the addresses of images; by default they are the dataset's files.
    Raises CorrectionInvalid if there is nothing to write.
    """
    if format in ("labels", "answers"):
        rows = list(_label_rows(current) if format == "labels" else _answer_rows(current, known))
        frame = pl.DataFrame(rows, schema=LABEL_COLUMNS if format == "labels" else ANSWER_COLUMNS, orient="row")
        buffer = io.BytesIO()
        frame.write_csv(buffer)
        data, count = buffer.getvalue(), len(rows)
    else:
        to_line = fiftyone.to_line if format == "fiftyone" else label_studio.to_line
        images = _by_image(current, known)
        lines = [to_line(image, _address(known.dataset, image.image_id, image_prefix)) for image in images]
        data, count = "".join(f"{line}\n" for line in lines).encode(), len(lines)
    if count == 0:
        raise CorrectionInvalid(f"there are no corrections of dataset '{known.dataset.name}' to write as {format}")
    write_file(path, data)
    return count


def _label_rows(current: CurrentCorrections) -> Iterator[tuple[str, str]]:
    for image_id, row in current.labels.items():
        yield image_id, row.value or UNSURE


def _answer_rows(current: CurrentCorrections, known: Known) -> Iterator[tuple[str, str, str]]:
    keys = {text: key for key, text in known.questions.items()}
    for (image_id, text), row in current.answers.items():
        yield image_id, keys.get(text, row.key or ""), row.value or UNSURE


def _by_image(current: CurrentCorrections, known: Known) -> list[ImageEntries]:
    """Return one entry per corrected image, in the dataset's order."""
    labels = dict(_label_rows(current))
    answers: dict[str, dict[str, str]] = {}
    for image_id, key, value in _answer_rows(current, known):
        answers.setdefault(image_id, {})[key] = value
    return [
        ImageEntries(
            image_id=record.image_id,
            label=labels.get(record.image_id),
            answers=answers.get(record.image_id, {}),
        )
        for record in known.dataset.records
        if record.image_id in labels or record.image_id in answers
    ]


def _address(dataset: ImageDataset, image_id: str, prefix: str | None) -> str:
    if prefix is None and isinstance(dataset, FileDataset):
        return str(dataset.places[image_id].absolute())
    return f"{prefix or ''}{image_id}"


def import_corrections(path: Path, format: Format, known: Known, current: CurrentCorrections) -> list[Correction]:
    """Return the corrections in a file, to be recorded together: all rows except empty ones and those that are already
    in effect.

    Raises CorrectionInvalid and TableInvalid, naming file and row, for the first row that cannot be used.
    """
    readers: dict[Format, Callable[[Path], Iterator[Entry]]] = {
        "labels": _read_labels,
        "answers": _read_answers,
        "fiftyone": fiftyone.read_entries,
        "label-studio": label_studio.read_entries,
    }
    entries = [entry for entry in readers[format](path) if entry.value]
    images = _matched([entry.image for entry in entries], known.dataset, path)
    found = [_correction(entry, images, known, path) for entry in entries]
    return [row for row in found if _is_news(row, current)]


def _matched(names: Sequence[str], dataset: ImageDataset, path: Path) -> dict[str, ImageRecord]:
    """Return the images by their names in the file."""
    records = {record.image_id: record for record in dataset.records}
    exact = {name: records[name] for name in names if name in records}
    others = [name for name in dict.fromkeys(names) if name not in records]
    found = match_images(others, list(records), path) if others else {}
    return exact | {name: records[image_id] for image_id, name in found.items()}


def _correction(entry: Entry, images: Mapping[str, ImageRecord], known: Known, path: Path) -> Correction:
    where = f"{path}, row {entry.row}"
    record = images.get(entry.image)
    if record is None:
        raise CorrectionInvalid(
            f"{where}: dataset '{known.dataset.name}' has no image '{printable(entry.image, 200)}'; its ids are like "
            f"'{known.dataset.records[0].image_id}'"
        )
    digest = known.digests.get(record.image_id)
    if entry.key is None:
        label = _label(entry.value, known.dataset, where)
        return Correction(
            image_id=record.image_id, kind="label", value=label, old=record.label_name or None, image_sha256=digest
        )
    text = known.questions.get(entry.key)
    if text is None:
        raise CorrectionInvalid(
            f"{where}: question '{printable(entry.key, 100)}' is unknown; name its set with --questions"
        )
    value = _answer(entry.value, where)
    probability, pool = _drawn(entry.drawn, where)
    return Correction(
        image_id=record.image_id,
        kind="answer",
        key=entry.key,
        text=text,
        value=value,
        image_sha256=digest,
        probability=probability,
        pool=pool,
        **known.teachers_answer(record.image_id, text),
    )


def _label(value: str, dataset: ImageDataset, where: str) -> str | None:
    if value in dataset.class_names:
        return value
    if value == UNSURE:
        return None
    raise CorrectionInvalid(
        f"{where}: dataset '{dataset.name}' has no class '{printable(value, 100)}'; name one of its classes, or "
        "unsure for no label"
    )


def _answer(value: str, where: str) -> str | None:
    word = value.strip().lower()
    if word == UNSURE:
        return None
    if word in (*YESES, *NOS, "1", "0"):
        return YES if word in (*YESES, "1") else NO
    raise CorrectionInvalid(f"{where}: '{printable(word, 60)}' is no answer; write yes, no or unsure")


def _drawn(given: tuple[str, str] | None, where: str) -> tuple[float | None, int | None]:
    """Return probability and pool of an answer that a queue drew. Raises CorrectionInvalid."""
    if given is None or given == ("", ""):
        return None, None
    try:
        return float(given[0].replace(",", ".")), int(float(given[1]))
    except (ValueError, OverflowError) as error:
        shown = printable(", ".join(given), 100)
        raise CorrectionInvalid(
            f"{where}: probability and pool are '{shown}'; leave both columns as the queue wrote them, or delete them"
        ) from error


def _is_news(row: Correction, current: CurrentCorrections) -> bool:
    """Return whether a correction has an effect. Confirming a teacher's answer has one, repeating the dataset's label
    has none."""
    if row.kind == "label":
        before = current.labels.get(row.image_id)
        return row.value != (row.old if before is None else before.value)
    before = current.answers.get((row.image_id, row.text or ""))
    return before is None or row.value != before.value


def _read_labels(path: Path) -> Iterator[Entry]:
    table = _table(path, LABEL_COLUMNS)
    for number, image, label in zip(table.rows, *(_text(table, name) for name in LABEL_COLUMNS), strict=True):
        yield Entry(row=number, image=image or "", key=None, value=label or "")


def _read_answers(path: Path) -> Iterator[Entry]:
    table = _table(path, ANSWER_COLUMNS)
    drawn: Iterable[tuple[str, str] | None] = [None] * len(table.rows)
    if set(DRAWN_COLUMNS) <= set(table.columns):
        texts = ([text or "" for text in _text(table, name)] for name in DRAWN_COLUMNS)
        drawn = zip(*texts, strict=True)
    columns = (_text(table, name) for name in ANSWER_COLUMNS)
    for number, image, key, yes, chance in zip(table.rows, *columns, drawn, strict=True):
        yield Entry(row=number, image=image or "", key=key or "", value=yes or "", drawn=chance)


def _table(path: Path, columns: Sequence[str]) -> Table:
    table = read_table(path)
    if missing := [name for name in columns if name not in table.columns]:
        raise CorrectionInvalid(f"{path} has no column '{missing[0]}'; it needs {','.join(columns)}")
    return table


def _text(table: Table, column: str) -> list[str | None]:
    cells = table.frame[column]
    if cells.dtype.is_nested() or cells.dtype == pl.Binary:
        raise CorrectionInvalid(f"column '{column}' of {table.path} holds {cells.dtype}; write text")
    found: list[str | None] = cells.cast(pl.String).str.strip_chars().to_list()
    return found

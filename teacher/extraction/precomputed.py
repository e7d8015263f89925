"""Import answers that were computed elsewhere.

There are three formats: the JSON of the official MaKD code (per image), the JSON of LaViD (per class, multiple choice)
and tables of human or other attributes (per image or per class). All are probabilities: yes = log p, no = log(1 - p).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from storage.answers.lease import lease
from storage.answers.schema import AnswerHeader, ShardAnswers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageDataset, ImageRecord, select
from storage.documents import MEGABYTE, DocumentInvalid, read_text
from storage.images.unreachable import require_reachable
from storage.matching import NamesAmbiguous, match_images
from storage.questions import RESERVED_KEYS, AspectQuestion, QuestionSet
from storage.tables import read_table
from storage.text import printable
from teacher.engines.choices import SMALLEST
from teacher.engines.config import TeacherInvalid, fingerprint
from teacher.extraction import SHARD_SIZE
from teacher.extraction.answer_files import read_probabilities
from teacher.extraction.finish import finish_directory
from teacher.extraction.reading import read_image


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecomputedAnswers:
    """The contents of an answer file: `lookup` returns p(yes) [Q] for an image, None if the file has none.

    The keys of `probabilities` are names of images or classes; `name_of` returns the one for an image, compared exactly
    if `by_class`, otherwise by `match_images`. NaN marks a missing answer. Only names in `shared` may belong to several
    classes.
    """

    format: str
    source: Path
    questions: QuestionSet
    probabilities: Mapping[str, NDArray[np.float64]]
    name_of: Callable[[ImageRecord], str]
    by_class: bool = False
    shared: frozenset[str] = frozenset()

    def entries(self, records: Sequence[ImageRecord]) -> dict[str, str]:
        """Return the key of each answered image, by image id. Raises NamesAmbiguous."""
        if self.by_class:
            named = {record.image_id: self.name_of(record) for record in records}
            self._refuse_shared(records)
            found = {image_id: name for image_id, name in named.items() if name in self.probabilities}
        else:
            found = match_images(self.probabilities, [record.image_id for record in records], self.source)
        answered = {name for name, values in self.probabilities.items() if not np.isnan(values).all()}
        return {image_id: name for image_id, name in found.items() if name in answered}

    def _refuse_shared(self, records: Sequence[ImageRecord]) -> None:
        first: dict[str, str] = {}
        for label, name in {record.label_name: self.name_of(record) for record in records}.items():
            other = first.setdefault(name, label)
            if other != label and name in self.probabilities and name not in self.shared:
                both = f"'{printable(other)}' and '{printable(label)}'"
                raise NamesAmbiguous(
                    f"classes {both} would share the answers of '{printable(name)}' in {self.source}; rename one, or "
                    "name its entry with --alias"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """The result of an import: the directory, images with answers, images without, unused entries of the file."""

    directory: str
    images: int
    without_answers: Mapping[str, str] = field(default_factory=dict)
    unused_entries: Sequence[str] = ()


def read_makd(path: Path, questions: QuestionSet | None = None) -> PrecomputedAnswers:
    """Read the official MaKD layout `{file name: [p(yes) of each question]}`; images are matched by file name alone.

    Without `questions` the keys are aspect_01, aspect_02, ... . Raises TeacherInvalid for another layout or count.
    """
    probabilities = read_probabilities(path, "MaKD", 1, 'expected {"image.jpg": [0.9, 0.1, ...], ...}')
    # Folders differ between the file and the dataset; only the file name is the same.
    by_name = {PurePosixPath(name).name: values for name, values in probabilities.items()}
    if len(by_name) < len(probabilities):
        raise TeacherInvalid(f"{path} has several images of one file name; give each its own name")
    count = len(next(iter(by_name.values())))
    return PrecomputedAnswers(
        format="makd",
        source=path,
        questions=_matching(questions, count, path),
        probabilities=by_name,
        name_of=lambda record: PurePosixPath(record.image_id).name,
    )


def read_lavid(path: Path, questions: Path, aliases: Mapping[str, str] | None = None) -> PrecomputedAnswers:
    """Read LaViD's layout `{class name: [question][option]}` with its multiple-choice questions in a text file.

    Every option becomes an aspect `q01_1`, with the question's number as its group. Class names are compared without
    case, punctuation, leading numbers and plural s; `aliases` maps class names of the dataset to names of the file.
    Raises TeacherInvalid if the two files do not match.
    """
    expected = 'expected {"class name": [[p(option 1), p(option 2), ...], ...], ...}'
    tables = read_probabilities(path, "LaViD", 2, expected)
    asked = read_multiple_choice(questions)
    shape = next(iter(tables.values())).shape
    if shape != (len(asked), len(asked[0][1])):
        raise TeacherInvalid(
            f"{path} answers {shape[0]} questions of {shape[1]} options, but {questions} has {len(asked)} questions of "
            f"{len(asked[0][1])}; give the question file that the answers were made with"
        )
    aspects = [
        AspectQuestion(key=f"q{number:02d}_{place}", text=f"{question} {option}", group=f"q{number:02d}")
        for number, (question, options) in enumerate(asked, start=1)
        for place, option in enumerate(options, start=1)
    ]
    renamed = {comparable(ours): comparable(theirs) for ours, theirs in (aliases or {}).items()}
    names: dict[str, NDArray[np.float64]] = {}
    for name, table in tables.items():
        if comparable(name) in names:
            raise TeacherInvalid(f"{path} has classes that read the same: '{name}' and another one; rename one")
        names[comparable(name)] = table.reshape(-1)
    return PrecomputedAnswers(
        format="lavid",
        source=path,
        questions=QuestionSet(tuple(aspects)),
        probabilities=names,
        name_of=lambda record: renamed.get(comparable(record.label_name), comparable(record.label_name)),
        by_class=True,
        shared=frozenset(renamed.values()),
    )


def read_attributes(path: Path, questions: QuestionSet | None = None) -> PrecomputedAnswers:
    """Read a CSV or Parquet table with a column `image_id` or `label_name` and a column of p(yes) in 0..1 per
    attribute.

    See storage/tables.py for the format. With `image_id`, `label_name` and other columns of a shard are ignored.
    Without `questions` the attribute names are keys, and question texts are made from them. Raises TableInvalid, and
    TeacherInvalid for a table without either column and for questions without a column.
    """
    table = read_table(path)
    known = ", ".join(printable(column, 40) for column in table.columns[:10])
    name = next((name for name in ("image_id", "label_name") if name in table.columns), None)
    if name is None:
        raise TeacherInvalid(f"{path} has no column 'image_id' or 'label_name'; it has {known}")
    keys = [column for column in table.columns if column not in RESERVED_KEYS] if questions is None else questions.keys
    if unknown := [key for key in keys if key not in table.columns]:
        raise TeacherInvalid(f"{path} has no column for question '{unknown[0]}'; it has {known}")
    if not keys:
        raise TeacherInvalid(f"{path} has no answers; expected columns {name}, attribute, attribute, ...")
    described = questions or QuestionSet(
        tuple(AspectQuestion(key=_as_key(key), text=f"Does '{key}' hold?") for key in keys)
    )
    return PrecomputedAnswers(
        format="attributes",
        source=path,
        questions=described,
        probabilities=dict(zip(table.names(name), table.probabilities(keys), strict=True)),
        name_of=lambda record: record.image_id if name == "image_id" else record.label_name,
        by_class=name == "label_name",
    )


def import_answers(
    answers: PrecomputedAnswers, dataset: ImageDataset, splits: Sequence[str], store: str
) -> ImportSummary:
    """Write the answers for the images of `splits` into the store, as another teacher of the dataset.

    Images without an entry get a row with the reason and no answers. Splits imported earlier stay. Raises
    TeacherInvalid if no image has answers, DirectoryBusy, VersionUnsupported and StorageUnavailable.
    """
    records = select(dataset, splits)
    entries = answers.entries(records)
    if not entries:
        theirs, ours = next(iter(answers.probabilities)), answers.name_of(records[0])
        raise TeacherInvalid(
            f"{answers.source} answers none of the {len(records)} images of '{dataset.name}': it has names like "
            f"'{theirs}', the dataset's are like '{ours}'"
        )
    description = {
        "model": answers.source.name,
        "format": answers.format,
        "weights": f"sha256:{hashlib.sha256(answers.source.read_bytes()).hexdigest()}",
    }
    header = AnswerHeader(
        dataset=dataset.name,
        teacher_fingerprint=fingerprint(description),
        # Not in the fingerprint, so that earlier imports keep theirs.
        teacher={**description, "about": "classes" if answers.by_class else "images"},
        questions=answers.questions,
        libraries={},
    )
    directory = AnswerDirectory.locate(store, dataset.name, header.teacher_fingerprint, answers.questions.fingerprint)
    with lease(directory):
        known_splits = {record.split for record in dataset.records}
        records = select(dataset, [*splits, *(split for split in directory.splits() if split in known_splits)])
        entries = answers.entries(records)
        directory.reopen()
        shards = cut_shards(records, SHARD_SIZE)
        for shard in shards:
            directory.write_shard(shard, header, _shard_answers(answers, entries, dataset, shard.records))
        failures = finish_directory(directory, header, shards, {})
    used = set(entries.values())
    return ImportSummary(
        directory=directory.path,
        images=len(records) - len(failures),
        without_answers=failures,
        unused_entries=[name for name in answers.probabilities if name not in used],
    )


def read_multiple_choice(path: Path) -> list[tuple[str, list[str]]]:
    """Read questions and their options from LaViD's text file: a line with the question, then one numbered line per
    option."""
    try:
        lines = [line.strip() for line in read_text(path, limit=MEGABYTE).splitlines() if line.strip()]
    except OSError as error:
        raise TeacherInvalid(f"cannot read questions {path}: {error.strerror}") from error
    except DocumentInvalid as error:
        raise TeacherInvalid(f"cannot read questions: {error}") from error
    asked: list[tuple[str, list[str]]] = []
    for line in lines:
        option = re.fullmatch(r"\d+[.)]\s+(.*)", line)
        if option is None:
            asked.append((line, []))
        elif not asked:
            raise TeacherInvalid(f"{path} begins with an option ('{line}'); put the question's line above it")
        else:
            asked[-1][1].append(option[1])
    if not asked or len({len(options) for _, options in asked}) != 1 or not asked[0][1]:
        raise TeacherInvalid(f"{path} needs the same number of options under every question, e.g. '1. Red'")
    return asked


def comparable(class_name: str) -> str:
    """Normalise a class name: no leading number, case, punctuation, spaces or plural s."""
    letters = re.sub(r"[\W_]+", "", re.sub(r"^\d+[._ ]", "", class_name).casefold())
    return letters.removesuffix("s")


def _shard_answers(
    answers: PrecomputedAnswers, entries: Mapping[str, str], dataset: ImageDataset, records: Sequence[ImageRecord]
) -> ShardAnswers:
    p_yes = np.full((len(records), len(answers.questions)), np.nan)
    errors: list[str | None] = []
    digests: list[str | None] = []
    # Always read: training uses the digests and skips damaged images.
    images = [replace(read_image(dataset, record, None), pixels=None) for record in records]
    require_reachable([image.passing for image in images])
    for row, (record, image) in enumerate(zip(records, images, strict=True)):
        entry = entries.get(record.image_id)
        digests.append(image.sha256)
        errors.append(image.error)
        if entry is None:
            name = answers.name_of(record)
            missing = f"no answer for '{name}' in {answers.source.name}" if name else "no label to look answers up by"
            errors[-1] = image.error or missing
        elif image.error is None:
            p_yes[row] = answers.probabilities[entry].clip(SMALLEST, 1 - SMALLEST)
    return ShardAnswers(
        records=records,
        image_sha256=digests,
        errors=errors,
        yes=np.log(p_yes).astype(np.float32),
        no=np.log1p(-p_yes).astype(np.float32),
    )


def _matching(questions: QuestionSet | None, count: int, path: Path) -> QuestionSet:
    if questions is None:
        numbers = range(1, count + 1)
        return QuestionSet(
            tuple(
                AspectQuestion(key=f"aspect_{number:02d}", text=f"Aspect {number} of {path.name}") for number in numbers
            )
        )
    if len(questions) != count:
        raise TeacherInvalid(f"{path} answers {count} questions, but the question set has {len(questions)}")
    return questions


def _as_key(name: str) -> str:
    key = re.sub(r"\W+", "_", name.casefold()).strip("_")
    return key if key[:1].isalpha() else f"attribute_{key}"

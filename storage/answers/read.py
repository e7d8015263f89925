"""Read answers: as arrays for training, and in long form with Polars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from storage.answers.directories import answer_directories
from storage.answers.schema import AnswerHeader, ShardAnswers, StoredShard
from storage.answers.shards import shard_digest
from storage.answers.store import AnswerDirectory, AnswersDamaged, AnswersMissing
from storage.questions import QuestionSet, load_questions
from storage.statistics import sigmoid

Level = Literal["image", "class"]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """All answers of one directory, I images in the store's order and Q questions in the set's.

    `yes` and `no` are log-probabilities in nats, float32 [I, Q]; NaN where `errors` gives the reason.
    """

    dataset: str
    teacher: str
    questions: QuestionSet
    image_ids: tuple[str, ...]
    image_sha256: tuple[str | None, ...]
    splits: tuple[str, ...]
    label_names: tuple[str, ...]
    errors: tuple[str | None, ...]
    yes: NDArray[np.float32]
    no: NDArray[np.float32]
    level: Level = "image"  # "class": answers about the classes
    rows: Level = "image"  # "class": each row is a class, the one of its label name

    @property
    def p_yes(self) -> NDArray[np.float32]:
        """p(yes) normalised over yes and no, float32 [I, Q]: sigmoid(yes - no)."""
        return sigmoid(self.yes - self.no).astype(np.float32)

    @property
    def has_gaps(self) -> bool:
        """Whether answers are missing in rows without an error: pairs that a budget left out, or gaps of a file."""
        without_error = np.array([error is None for error in self.errors], np.bool_)
        return bool(np.isnan(self.yes[without_error]).any())

    def rows_of(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Return the row of each image or box by its id [N], -1 for an unknown one."""
        rows = {image_id: row for row, image_id in enumerate(self.image_ids)}
        return np.fromiter((rows.get(image_id, -1) for image_id in ids), np.int64)

    def about(self, image_ids: Collection[str]) -> Answers:
        """Return the answers about these images or boxes, in the store's order; unknown ones are left out."""
        wanted = set(image_ids)
        rows = [row for row, image_id in enumerate(self.image_ids) if image_id in wanted]
        if len(rows) == len(self.image_ids):
            return self
        return replace(
            self,
            image_ids=tuple(self.image_ids[row] for row in rows),
            image_sha256=tuple(self.image_sha256[row] for row in rows),
            splits=tuple(self.splits[row] for row in rows),
            label_names=tuple(self.label_names[row] for row in rows),
            errors=tuple(self.errors[row] for row in rows),
            yes=self.yes[rows],
            no=self.no[rows],
        )

    def only(self, keys: Collection[str]) -> Answers:
        """Return the answers to the questions that have one of the `keys`."""
        columns = [column for column, key in enumerate(self.questions.keys) if key in keys]
        questions = QuestionSet(tuple(self.questions.questions[column] for column in columns))
        return replace(self, questions=questions, yes=self.yes[:, columns], no=self.no[:, columns])


ReadAnswers = Callable[[AnswerDirectory], Answers]


def load_answers(directory: str) -> Answers:
    """Load a complete `.../dataset=/teacher=/questions=` directory (path or URI).

    Raises AnswersMissing if it is not complete, AnswersDamaged, naming the file, if its manifest or a shard is damaged,
    VersionUnsupported, and StorageUnavailable.
    """
    return read_answers(AnswerDirectory.at(directory))


def read_answers(directory: AnswerDirectory) -> Answers:
    """Like `load_answers`, for a directory that was already found."""
    manifest = directory.manifest()
    if manifest is None:
        raise AnswersMissing(f"no complete answers in {directory.path}; run 'aspects extract' again to finish them")
    parts = (stored.answers for stored in listed_shards(directory, manifest))
    return join_shards(AnswerHeader.from_json(manifest), parts, sum(manifest["shards"].values()))


def listed_shards(directory: AnswerDirectory, manifest: Mapping[str, Any]) -> Iterator[StoredShard]:
    """Yield the shards of the manifest. Raises the same errors as `load_listed`."""
    for name in manifest["shards"]:
        yield load_listed(directory, manifest, name)


def load_listed(directory: AnswerDirectory, manifest: Mapping[str, Any], name: str) -> StoredShard:
    """Load a shard of the manifest. Raises AnswersDamaged also if it is missing or is not the listed one."""
    path = f"{directory.path}/{name}"
    try:
        stored = directory.load_shard(name)
    except FileNotFoundError as error:
        raise AnswersDamaged(f"shard {path} is missing; run 'aspects extract' again to replace it") from error
    header = AnswerHeader.from_json(manifest)
    same = (
        stored.header.dataset == header.dataset
        and stored.header.teacher_fingerprint == header.teacher_fingerprint
        and stored.header.questions.fingerprint == header.questions.fingerprint
        and len(stored.answers.records) == manifest["shards"][name]
        # Earlier releases wrote no digests.
        and manifest["digests"].get(name) in (None, shard_digest(stored))
    )
    if not same:
        raise AnswersDamaged(
            f"shard {path} is damaged (it is not the one that the manifest is about); run 'aspects extract' again to "
            "replace it"
        )
    return stored


def join_shards(header: AnswerHeader, parts: Iterable[ShardAnswers], images: int) -> Answers:
    """Concatenate the rows of `parts`, which have so many `images` together. One part is in memory at a time."""
    yes, no = (np.empty((images, len(header.questions)), np.float32) for _ in range(2))
    image_ids, splits, label_names = list[str](), list[str](), list[str]()
    image_sha256, errors = list[str | None](), list[str | None]()
    level = LevelOfRows(header)
    for part in parts:
        rows = slice(len(image_ids), len(image_ids) + len(part.records))
        yes[rows], no[rows] = part.yes, part.no
        for record in part.records:
            image_ids.append(record.image_id)
            splits.append(record.split)
            label_names.append(record.label_name)
        image_sha256 += part.image_sha256
        errors += part.errors
        level.add(part)
    assert len(image_ids) == images
    return Answers(
        dataset=header.dataset,
        teacher=header.teacher_fingerprint,
        questions=header.questions,
        image_ids=tuple(image_ids),
        image_sha256=tuple(image_sha256),
        splits=tuple(splits),
        label_names=tuple(label_names),
        errors=tuple(errors),
        yes=yes,
        no=no,
        level=level.found,
        rows="class" if header.rows_are_classes else "image",
    )


def _declared_level(teacher: Mapping[str, Any]) -> Level | None:
    """Return whether answers are about images or classes, as declared by their teacher; None if undeclared."""
    about, format = (teacher.get(name) for name in ("about", "format"))
    if about is None and format == "attributes":
        return None
    return "class" if about == "classes" or format == "lavid" else "image"


class LevelOfRows:
    """Finds out whether answers are about images or classes.

    Older imports of attribute tables do not declare it: if all images of each class have the same answers, they came
    from a table of classes.
    """

    def __init__(self, header: AnswerHeader) -> None:
        self._declared = _declared_level(header.teacher)
        self._first: dict[str, bytes] = {}  # the answers of a class's first image
        self._rows = 0
        self._alike = True

    def add(self, answers: ShardAnswers) -> None:
        self._rows += len(answers.records)
        if self._declared is not None:
            return
        for record, row in zip(answers.records, answers.yes, strict=True):
            if not self._alike:
                return
            values = row.tobytes()
            self._alike = self._first.setdefault(record.label_name, values) == values

    @property
    def found(self) -> Level:
        """The declared level, or the one of the added rows."""
        if self._declared is not None:
            return self._declared
        return "class" if self._alike and len(self._first) < self._rows else "image"


def find_answers(
    store: str,
    dataset: str,
    *,
    teacher: str | None = None,
    questions: QuestionSet | None = None,
    level: Level | None = None,
    option: str = "--teacher",
    read: ReadAnswers | None = None,
) -> AnswerDirectory:
    """Return the one complete directory for `dataset`, narrowed by question set, by level, and by teacher if given.

    `teacher` is a fingerprint, or TEACHER/QUESTIONS, both fingerprints. `option` is the option that messages suggest
    for it; `read` replaces `read_answers`. Raises AnswersMissing if there is none or more than one; AnswersDamaged,
    VersionUnsupported, StorageUnavailable.
    """
    by, _, of = (teacher or "").partition("/")
    sets = {fingerprint for fingerprint in (of, questions.fingerprint if questions else "") if fingerprint}
    found = []
    if len(sets) <= 1:
        found = complete_directories(
            store, dataset, teacher=by or None, questions=min(sets, default=None), level=level, read=read
        )
    if not found:
        chosen = f" by {option} {teacher}" if teacher else ""
        asked = f" to question set {questions.fingerprint}" if questions else ""
        raise AnswersMissing(
            f"store {store} has no complete answers for dataset '{dataset}'{chosen}{asked}; run 'aspects extract', or "
            f"see 'aspects show --store {store}' for what there is"
        )
    if len(found) > 1:
        names = ", ".join("/".join(directory.path.split("/")[-2:]) for directory in found)
        about = " about classes" if level == "class" else ""
        way = _way_to_choose(found, option)
        raise AnswersMissing(f"store {store} has several answers{about} for '{dataset}' ({names}); choose one by {way}")
    return found[0]


def complete_directories(
    store: str,
    dataset: str,
    *,
    teacher: str | None = None,
    questions: str | None = None,
    level: Level | None = None,
    read: ReadAnswers | None = None,
) -> list[AnswerDirectory]:
    """Return every complete directory for `dataset`, narrowed by the given fingerprints and level."""
    read = read or read_answers
    return [
        directory
        for directory in narrowed(store, dataset, teacher, questions)
        if (manifest := directory.manifest()) is not None
        and (level is None or level == (_declared_level(manifest["teacher"]) or read(directory).level))
    ]


def narrowed(store: str, dataset: str | None, teacher: str | None, questions: str | None) -> Iterator[AnswerDirectory]:
    """Filter by directory name alone, so that damage in other directories does not matter."""
    for directory in answer_directories(store, dataset):
        of_teacher = teacher is None or f"/teacher={teacher}/" in directory.path
        if of_teacher and questions in (None, directory.folder.removeprefix("questions=")):
            yield directory


def _way_to_choose(found: Sequence[AnswerDirectory], option: str) -> str:
    """Describe how the directories differ, with an example that selects the first."""
    teachers = [directory.parent.rpartition("/teacher=")[2] for directory in found]
    if len(set(teachers)) == len(found):
        return f"{option}, e.g. {option} {teachers[0]}"
    example = f"{option} {teachers[0]}/{found[0].folder.removeprefix('questions=')}"
    return f"{option} TEACHER/QUESTIONS, e.g. {example}"


def find_teacher_answers(
    store: str, dataset: str, teacher: str | None, questions: str | None, read: ReadAnswers = read_answers
) -> Answers:
    """Return the complete answers for `dataset`. Raises AnswersMissing if there are none, or several to choose from."""
    asked = load_questions(Path(questions).expanduser()) if questions else None
    return read(find_answers(store, dataset, teacher=teacher, questions=asked))

"""Finds and removes answers that no question set refers to any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from storage.answers.damage import AnswersDamaged
from storage.answers.lease import free
from storage.answers.schema import AnswerHeader
from storage.answers.store import AnswerDirectory, answer_directories, audits_of
from storage.filesystem import list_folder
from storage.questions import QuestionSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreferenced:
    """A directory whose question set is none of the known ones; `bytes` are those of its shards.

    `wanted` says that a known set has some of its questions and is not completely answered yet by this teacher about
    this dataset: it can reuse them.
    """

    directory: AnswerDirectory
    bytes: int
    wanted: bool

    @property
    def name(self) -> str:
        """As in the store: dataset=.../teacher=.../questions=..."""
        return "/".join(self.directory.path.split("/")[-3:])


def find_unreferenced(store: str, known: Collection[QuestionSet]) -> list[Unreferenced]:
    """Those of the store and of its audits. Raises VersionUnsupported, and StorageUnavailable."""
    fingerprints = {questions.fingerprint for questions in known}
    found = []
    for directory in (*answer_directories(store), *answer_directories(audits_of(store))):
        teacher, _, fingerprint = directory.path.rpartition("/questions=")
        if fingerprint in fingerprints:
            continue
        texts = set(_texts(directory))
        sharing = [questions for questions in known if texts.intersection(questions.texts)]
        places = [f"{teacher}/questions={questions.fingerprint}" for questions in sharing]
        found.append(
            Unreferenced(
                directory=directory,
                bytes=sum(file.size or 0 for file in list_folder(directory.filesystem, directory.path)),
                wanted=not all(AnswerDirectory(directory.filesystem, place).is_complete() for place in places),
            )
        )
    return found


def remove(directories: Iterable[AnswerDirectory]) -> list[AnswerDirectory]:
    """Delete them; those that another run is at work on stay and are returned.

    Each one's manifest goes first: a directory that is half deleted must not look complete.
    """
    wanted = list(directories)
    removed = set()
    for directory in free(wanted):
        for path in (directory.manifest_path, directory.reopened_path, directory.image_stamps_path):
            directory.remove_file(path)
        with suppress(FileNotFoundError):  # removed by another run before this one had the lease
            directory.filesystem.delete_dir(directory.path)
        removed.add(directory.path)
    return [directory for directory in wanted if directory.path not in removed]


def sweep(store: str) -> None:
    """Remove what killed runs have left unfinished; of runs that are alive nothing."""
    for _ in free([*answer_directories(store), *answer_directories(audits_of(store))]):
        pass  # that is what a lease begins with


def _texts(directory: AnswerDirectory) -> tuple[str, ...]:
    """The questions that were asked; nothing where all shards are missing or damaged."""
    if (manifest := directory.last_manifest()) is not None:
        return AnswerHeader.from_json(manifest).questions.texts
    for name in directory.shard_files():
        try:
            return directory.read_shard(name)[0].questions.texts
        except (FileNotFoundError, AnswersDamaged):
            continue
    return ()

"""Find and remove answers that no question set refers to any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from storage.answers.damage import AnswersDamaged
from storage.answers.directories import answer_directories, audits_of
from storage.answers.lease import free
from storage.answers.replaced import remove_copies
from storage.answers.schema import AnswerHeader
from storage.answers.store import AnswerDirectory
from storage.filesystem import list_folder
from storage.questions import QuestionSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreferenced:
    """A directory whose question set is not among the known ones; `bytes` is the size of its shards.

    `wanted` marks one that a known set can still reuse: it shares questions, and is not completely answered yet by this
    teacher about this dataset.
    """

    directory: AnswerDirectory
    bytes: int
    wanted: bool

    @property
    def name(self) -> str:
        """The path in the store: dataset=.../teacher=.../questions=..."""
        return "/".join(self.directory.path.split("/")[-3:])


def find_unreferenced(store: str, known: Collection[QuestionSet]) -> list[Unreferenced]:
    """Find unreferenced directories of the store and of its audits. Raises VersionUnsupported and
    StorageUnavailable."""
    fingerprints = {questions.fingerprint for questions in known}
    found = []
    for directory in (*answer_directories(store), *answer_directories(audits_of(store))):
        teacher, _, fingerprint = directory.path.rpartition("/questions=")
        if fingerprint in fingerprints:
            continue
        stored = set(_reuse_keys(directory))
        sharing = [questions for questions in known if stored.intersection(questions.reuse_keys)]
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
    """Delete the directories, and return those skipped because another run is working on them.

    The manifest goes first: a half-deleted directory must not look complete.
    """
    wanted = list(directories)
    removed = set()
    for directory in free(wanted):
        for path in (
            directory.manifest_path,
            directory.reopened_path,
            directory.image_stamps_path,
            directory.choice_path,
            directory.predicted_path,
        ):
            directory.remove_file(path)
        remove_copies(directory)
        with suppress(FileNotFoundError):  # removed by another run before this one had the lease
            directory.filesystem.delete_dir(directory.path)
        removed.add(directory.path)
    return [directory for directory in wanted if directory.path not in removed]


def sweep(store: str) -> None:
    """Remove unfinished files of killed runs; files of live runs stay."""
    for _ in free([*answer_directories(store), *answer_directories(audits_of(store))]):
        pass  # taking a lease sweeps


def _reuse_keys(directory: AnswerDirectory) -> tuple[str, ...]:
    """Return the reuse keys of the directory's questions; empty if all shards are missing or damaged."""
    if (manifest := directory.last_manifest()) is not None:
        return AnswerHeader.from_json(manifest).questions.reuse_keys
    for name in directory.shard_files():
        try:
            return directory.read_shard(name)[0].questions.reuse_keys
        except (FileNotFoundError, AnswersDamaged):
            continue
    return ()

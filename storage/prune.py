"""Answers that no question set asks for any more: found, and removed on request."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from storage.filesystem import list_folder, unfinished_prefix
from storage.questions import QuestionSet
from storage.schema import AnswerHeader
from storage.store import AnswerDirectory, answer_directories, audits_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreferenced:
    """A directory whose question set is none of the known ones; `bytes` are those of its shards.

    `wanted` says that a known set has some of its questions and is not completely answered yet by this teacher about
    this dataset: it would be spared asking them again.
    """

    directory: AnswerDirectory
    bytes: int
    wanted: bool

    @property
    def name(self) -> str:
        """As in the store: dataset=.../teacher=.../questions=..."""
        return "/".join(self.directory.path.split("/")[-3:])


def find_unreferenced(store: str, known: Collection[QuestionSet]) -> list[Unreferenced]:
    """Those of the store and of its audits."""
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
                wanted=any(AnswerDirectory(directory.filesystem, place).manifest() is None for place in places),
            )
        )
    return found


def remove(directories: Iterable[AnswerDirectory]) -> None:
    """Delete them. Each one's manifest goes first: what is half gone must not look complete."""
    for directory in directories:
        parent, _, folder = directory.path.rpartition("/")
        for info in list_folder(directory.filesystem, parent):
            if info.path == directory.manifest_path or info.base_name.startswith(unfinished_prefix(folder)):
                directory.filesystem.delete_file(info.path)
        directory.filesystem.delete_dir(directory.path)


def _texts(directory: AnswerDirectory) -> tuple[str, ...]:
    """The questions that were asked; nothing where no shard can be read."""
    if (manifest := directory.last_manifest()) is not None:
        return AnswerHeader.from_json(manifest).questions.texts
    for name in directory.shard_files():
        try:
            return directory.read_shard(name)[0].questions.texts
        except (OSError, ValueError, KeyError):
            continue
    return ()

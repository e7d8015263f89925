"""What a node of a cluster must have for its workers, checked on the node itself."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from storage.answers.store import AnswerDirectory
from storage.answers.writing import writing
from storage.datasets.base import ImageDataset
from storage.errors import AspectsError
from storage.filesystem import read_file, reason, write_whole
from storage.text import printable
from teacher.engines.config import ResolvedTeacher, find_folder, resolve
from teacher.extraction.jobs import Extraction
from teacher.extraction.plan import LIBRARIES

TOKEN_BYTES = 16
ADVICE = "put it on a shared file system under the same path, or in an object store"


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """An image that workers must be able to read, and the SHA-256 of its bytes on the driver."""

    dataset: ImageDataset = field(repr=False)
    image_id: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class StoreToken:
    """A file that the driver has written beside the directory of its answers; `content` is random."""

    directory: AnswerDirectory
    path: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class NodeNeeds:
    """What workers need on their node.

    `versions` are the driver's, by library. Relative paths start at `folder`, the driver's working folder; if a node
    lacks it, only absolute paths work there.
    """

    versions: Mapping[str, str]
    folder: str
    teacher: ResolvedTeacher
    samples: Sequence[ImageSample] = ()
    tokens: Sequence[StoreToken] = ()


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of all libraries that change answers or talk to the driver."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in (*LIBRARIES, "ray"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@contextmanager
def needs_of(extractions: Sequence[Extraction], teacher: ResolvedTeacher) -> Iterator[NodeNeeds]:
    """Return what the nodes need for these extractions; the tokens exist during the block.

    Raises StorageUnavailable if the store cannot be written.
    """
    tokens: list[StoreToken] = []
    try:
        for extraction in extractions:
            tokens.append(_write_token(extraction.plan.directory))
        yield NodeNeeds(
            versions=installed_versions(),
            folder=str(Path.cwd()),
            teacher=teacher,
            samples=[sample for extraction in extractions if (sample := _sample_of(extraction)) is not None],
            tokens=tokens,
        )
    finally:
        for token in tokens:
            with suppress(OSError):  # a file too many does no harm
                token.directory.filesystem.delete_file(token.path)


def find_problem(needs: NodeNeeds) -> str | None:
    """Return the first reason why workers cannot run on this node, and what to do; None if they can. Changes the
    working folder."""
    if os.path.isdir(needs.folder):
        os.chdir(needs.folder)
    return (
        compare_versions(needs.versions, installed_versions())
        or _teacher_problem(needs.teacher)
        or next(filter(None, map(_sample_problem, needs.samples)), None)
        or next(filter(None, map(_token_problem, needs.tokens)), None)
    )


def compare_versions(driver: Mapping[str, str], node: Mapping[str, str]) -> str | None:
    """Return how the node's versions differ from the driver's; None if they do not."""
    names = [name for name in dict.fromkeys([*driver, *node]) if driver.get(name) != node.get(name)]
    if not names:
        return None
    different = ", ".join(
        f"{name} {node.get(name, 'missing')} there, {driver.get(name, 'missing')} here" for name in names
    )
    return f"{different}; install the same versions on all nodes and on the machine that starts the run"


def find_teacher(teacher: ResolvedTeacher) -> ResolvedTeacher:
    """Return the teacher with its folder on this node; a model from the Hugging Face Hub is downloaded if it is
    missing. Raises TeacherInvalid."""
    if teacher.path is None or teacher.path.is_dir() or find_folder(teacher.config) is not None:
        return teacher
    return resolve(teacher.config, teacher.settings)


def _sample_of(extraction: Extraction) -> ImageSample | None:
    for record in extraction.plan.missing[0].records if extraction.plan.missing else ():
        try:
            digest = sha256(extraction.dataset.read(record.image_id)).hexdigest()
        except (OSError, ValueError):  # a damaged image, which gets no answers
            continue
        return ImageSample(dataset=extraction.dataset.subset([record]), image_id=record.image_id, digest=digest)
    return None


def _write_token(directory: AnswerDirectory) -> StoreToken:
    path = f"{directory.parent}/.probe-{directory.folder}-{uuid.uuid4().hex}"
    token = StoreToken(directory=directory, path=path, content=os.urandom(TOKEN_BYTES))
    with writing(directory.parent):
        write_whole(directory.filesystem, path, token.content)
    return token


def _teacher_problem(teacher: ResolvedTeacher) -> str | None:
    try:
        # A name on the Hub is downloaded by the first worker of the node.
        folder = None if teacher.path is None else find_folder(teacher.config)
    except AspectsError as error:
        return f"the teacher is not there: {error}"
    if folder is not None and teacher.path is not None and not teacher.path.is_dir():
        return f"the teacher's folder {teacher.path} does not exist there; {ADVICE}"
    return None


def _sample_problem(sample: ImageSample) -> str | None:
    where = f"image {sample.image_id} of dataset '{sample.dataset.name}'"
    try:
        data = sample.dataset.read(sample.image_id)
    except (OSError, AspectsError) as error:
        return f"{where} cannot be read there ({printable(reason(error), 200)}); if it is a local file, {ADVICE}"
    if sha256(data).hexdigest() != sample.digest:
        return f"{where} is another image there; all nodes have to read the same dataset"
    return None


def _token_problem(token: StoreToken) -> str | None:
    try:
        content = read_file(token.directory.filesystem, token.path)
    except (OSError, AspectsError):
        content = b""
    if content == token.content:
        return None
    return f"the store's folder {token.directory.parent} is not the same there; {ADVICE} (--store)"

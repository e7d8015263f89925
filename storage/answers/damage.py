"""Errors of a directory of answers: missing, damaged, or changed by another run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import InputInvalid, RunFailed, VersionUnsupported
from storage.filesystem import reason


class AnswersMissing(InputInvalid):
    """No complete answers were found; the message says what is there and what to do."""


class AnswersDamaged(AnswersMissing):
    """A file of the store is readable but differs from what was written; the message names it."""


class DirectoryChanged(RunFailed):
    """Another run has written to the directory since this one compared it with the dataset. Nothing was deleted."""


@contextmanager
def damage(what: str, cure: str) -> Iterator[None]:
    """Report every error of parsing a file's bytes in the block as damage, unless a newer release wrote the file.

    Raises AnswersDamaged and VersionUnsupported, both naming `what`.
    """
    try:
        yield
    except VersionUnsupported as error:
        raise VersionUnsupported(f"{what} was {error}; update aspects, nothing was changed") from error
    # pyarrow and its parsers raise errors of any type for corrupt bytes.
    except Exception as error:
        raise AnswersDamaged(
            f"{what} is damaged ({reason(error)}); run 'aspects extract' again to {cure} it"
        ) from error

"""Errors of a directory of answers: missing, damaged, or changed by another run."""

from __future__ import annotations

from contextlib import AbstractContextManager

from storage.errors import InputInvalid, RunFailed
from storage.parsing import parsing


class AnswersMissing(InputInvalid):
    """No complete answers were found; the message says what is there and what to do."""


class AnswersDamaged(AnswersMissing):
    """A file of the store is readable but differs from what was written; the message names it."""


class DirectoryChanged(RunFailed):
    """Another run has written to the directory since this one compared it with the dataset. Nothing was deleted."""


def damage(what: str, cure: str) -> AbstractContextManager[None]:
    """Report errors of parsing a file as AnswersDamaged, like `parsing`."""
    return parsing(what, AnswersDamaged, f"run 'aspects extract' again to {cure} it")

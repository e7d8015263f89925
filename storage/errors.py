"""Errors that a user can act on; each is printed as one line, without a traceback."""

from __future__ import annotations


class AspectsError(Exception):
    """Base class of user-facing errors; the message says what is wrong, where, and what to do next.

    `exit_code` is that of the command: 2 if the input has to change, 1 if the same command may succeed later.
    `may_pass` marks errors that are retried (`retries.py`).
    """

    exit_code = 1
    may_pass = False


class InputInvalid(AspectsError, ValueError):
    """The user's input cannot be used as it is: an option, a file, a folder, an address."""

    exit_code = 2


class VersionUnsupported(InputInvalid):
    """A file was written by a newer release.

    It is never treated as missing or damaged, and nothing is overwritten.
    """


class StorageUnavailable(AspectsError, RuntimeError):
    """A store, dataset or folder cannot be read or written right now: no permission, a full disk, a server error.

    Its contents are unknown, so nothing is asked, trained or deleted because of this error.
    """


class RunFailed(AspectsError, RuntimeError):
    """Something outside this program failed, such as an engine or a server. Finished work is kept."""

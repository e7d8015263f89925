"""Errors that a user can act on; each is printed as one line, without a traceback."""

from __future__ import annotations


class AspectsError(Exception):
    """The base class; the message says what is wrong, where, and what to do next.

    `exit_code` is the command's: 2 where the input has to change, 1 where the same command may succeed later.
    `may_pass` says that the same attempt may succeed a moment later: it is retried (`retries.py`).
    """

    exit_code = 1
    may_pass = False


class InputInvalid(AspectsError, ValueError):
    """Something that the user gave cannot be used as it is: an option, a file, a folder, an address."""

    exit_code = 2


class VersionUnsupported(InputInvalid):
    """A file was written by a newer release. It is never treated as missing or damaged: nothing is overwritten."""


class StorageUnavailable(AspectsError, RuntimeError):
    """A store, dataset or folder cannot be read or written right now: no permission, a full disk, a server's error.

    Nothing is known about what is there, so nothing may be asked, trained or deleted because of it.
    """


class RunFailed(AspectsError, RuntimeError):
    """Something outside this program failed: an engine, a server. What is finished is kept."""

"""Report errors of parsing stored files as one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import InputInvalid, VersionUnsupported
from storage.filesystem import reason


@contextmanager
def parsing(what: str, damaged: type[InputInvalid], advice: str) -> Iterator[None]:
    """Report every error of parsing a file's bytes in the block as damage, unless a newer release wrote the file.

    Raises `damaged` and VersionUnsupported, both naming `what`.
    """
    try:
        yield
    except VersionUnsupported as error:
        raise VersionUnsupported(f"{what} was {error}; update aspects, nothing was changed") from error
    # pyarrow and its parsers raise errors of any type for corrupt bytes.
    except Exception as error:
        raise damaged(f"{what} is damaged ({reason(error)}); {advice}") from error

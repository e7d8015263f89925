"""Errors of parsers become one kind of error; files of newer releases are not called damaged."""

from __future__ import annotations

import pytest

from storage.errors import InputInvalid, VersionUnsupported
from storage.parsing import parsing


class TableDamaged(InputInvalid):
    pass


@pytest.mark.parametrize("error", [ValueError("bad\nbytes"), KeyError("bad bytes"), OverflowError("bad bytes")])
def test_errors_of_parsers_name_the_file_and_the_advice(error: Exception) -> None:
    named = pytest.raises(TableDamaged, match=r"^table x is damaged \(.*bad.bytes.*\); write it again$")
    with named, parsing("table x", TableDamaged, "write it again"):
        raise error


def test_a_newer_version_is_not_damage() -> None:
    named = pytest.raises(VersionUnsupported, match=r"^table x was written by a newer release; update aspects")
    with named, parsing("table x", TableDamaged, "write it again"):
        raise VersionUnsupported("written by a newer release")

"""Which versions of files are newer ones, and which are none."""

from __future__ import annotations

import pytest

from storage.versions import is_newer, is_version


@pytest.mark.parametrize("found", [3, 3.0, 2.5, 10**400, float("inf"), "3", "v3", "2.1", "3.0.0", "10-beta"])
def test_newer_versions_in_any_spelling(found: object) -> None:
    assert is_newer(found, 2)


@pytest.mark.parametrize("found", [1, 2, 1.0, 2.0])
def test_known_versions(found: object) -> None:
    assert is_version(found)
    assert not is_newer(found, 2)


@pytest.mark.parametrize("found", [None, True, 0, -3, float("nan"), "1", "2", "", "two", "3x", [3], {"a": 3}])
def test_invalid_versions_are_rejected(found: object) -> None:
    assert not is_version(found)
    assert not is_newer(found, 2)

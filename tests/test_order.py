"""The files that take longest are there, and run first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import HEAVY, PROJECT, pytest_collection_modifyitems


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_file_is_there(name: str) -> None:
    assert (PROJECT / "tests" / name).is_file()


def test_heavy_files_come_first_and_the_rest_stays_in_order() -> None:
    class Item:
        def __init__(self, name: str) -> None:
            self.path = Path(PROJECT / "tests" / name)

    items = [Item(name) for name in ("test_b.py", HEAVY[1], "test_a.py", HEAVY[0], HEAVY[1])]
    first, second = items[1], items[4]
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    names = [str(item.path.relative_to(PROJECT / "tests")) for item in items]
    assert names == [HEAVY[0], HEAVY[1], HEAVY[1], "test_b.py", "test_a.py"]
    assert items[1:3] == [first, second]

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.concurrency import map_ahead


@pytest.mark.parametrize("ahead", [0, 2, 10])
def test_results_come_in_order_and_few_items_are_taken_ahead(ahead: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(6):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(3) as threads:
        found = map_ahead(threads, lambda number: number**2, items(), ahead)
        assert next(found) == (0, 0)
        assert len(taken) == min(6, ahead + 1)
        assert list(found) == [(number, number**2) for number in range(1, 6)]


def test_an_error_is_raised_where_its_item_comes() -> None:
    with ThreadPoolExecutor(1) as threads:
        found = map_ahead(threads, lambda number: 1 // number, [1, 0, 1], 2)
        assert next(found) == (1, 1)
        with pytest.raises(ZeroDivisionError):
            next(found)

from __future__ import annotations

from storage.answers.costs import Cost, costs_of


def test_ledgers_add_up() -> None:
    first = {"images": 10, "questions": 20, "seconds": 6.0, "start_seconds": 1.0, "gpu_seconds": 6.0, "cost": 0.5}
    costs = costs_of({"runs": [first, {"images": 5, "reused": 7, "cost": None}, "not a ledger"]})
    total = Cost.total(costs)
    assert (total.images, total.questions, total.reused, total.cost) == (15, 20, 7, 0.5)
    assert costs[0].images_per_second == 2.0
    assert costs[1].images_per_second is None
    assert Cost.total(costs[1:]).cost is None

"""Digests of a JSON document's fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.answers.integrity import FIELDS_KEY, check_fields, field_digests

VALUES: dict[str, Any] = {
    "top1": 0.3389,
    "name": "caf\u00e9",
    "none": None,
    "epochs": [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.25}],
    "config": {"alpha": 4.0, "layers": ["a", "b"]},
    "empty": [],
}


def stored(**changes: Any) -> dict[str, Any]:
    """As it is read again, with some fields changed since."""
    document: dict[str, Any] = json.loads(json.dumps({**VALUES, FIELDS_KEY: field_digests(VALUES)}))
    return document | changes


def test_no_flipped_bit_changes_a_value() -> None:
    data = json.dumps(stored()).encode()
    for place in range(len(data) * 8):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        try:
            document = json.loads(changed)
            check_fields(document)
        except ValueError:
            continue
        if FIELDS_KEY in document:
            assert {name: document[name] for name in VALUES.keys() & document.keys()} == {
                name: value for name, value in VALUES.items() if name in document
            }


@pytest.mark.parametrize(
    "changes",
    [
        {"added": 1},
        {"config": {**VALUES["config"], "added": {"a": [1]}}},
        {"epochs": [{**one, "new": 1} for one in VALUES["epochs"]]},
    ],
)
def test_fields_of_a_later_release_are_left_alone(changes: dict[str, Any]) -> None:
    check_fields(stored(**changes))


def test_files_without_digests_are_of_an_earlier_release() -> None:
    check_fields(VALUES)


@pytest.mark.parametrize(
    "changes",
    [
        {"top1": 0.7389},
        {"name": "cafe"},
        {"none": 0},
        {"epochs": VALUES["epochs"][:1]},
        {"epochs": VALUES["epochs"][::-1]},
        {"epochs": []},
        {"config": {"alpha": 4.0}},
        {"config": {"alpha": 4, "layers": ["a", "b"]}},
        {FIELDS_KEY: None},
        {FIELDS_KEY: []},
        {FIELDS_KEY: {"top1": 5}},
    ],
)
def test_a_changed_field_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not what was written|field_digests is"):
        check_fields(stored(**changes))

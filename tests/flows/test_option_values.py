"""From the text of an option to its value; test_foreign_files.py has values that are YAML bombs and the like."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.option_values import MAX_SEED, OptionInvalid, assignments, runs_folder, seed_numbers, split_names, words


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (words, "Yes, yes ,ja", ["Yes", "yes", "ja"]),
        (words, "Yes,,", ["Yes", "", ""]),
        (words, "", [""]),
        (split_names, "train", ["train"]),
        (split_names, " train, ,test", ["train", "test"]),
        (seed_numbers, "0", [0]),
        (seed_numbers, f"2, 1,{MAX_SEED}", [2, 1, MAX_SEED]),
    ],
)
def test_lists(read: Callable[[str], Any], text: str, value: list[Any]) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (split_names, "", "--splits '' names none; write e.g. --splits train,test"),
        (split_names, ",", "names none"),
        (seed_numbers, "a", "--seeds 'a' are no whole numbers; write e.g. --seeds 0,1,2"),
        (seed_numbers, "1.5", "no whole numbers"),
        (seed_numbers, "", "must be different numbers"),
        (seed_numbers, "1,1", "must be different numbers"),
        (seed_numbers, "-1", "must be different numbers"),
        (seed_numbers, str(MAX_SEED + 1), "must be different numbers"),
        (runs_folder, " ", "--runs is empty; name a folder"),
    ],
)
def test_values_that_cannot_be_parsed_are_named(read: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(OptionInvalid, match=message) as caught:
        read(text)
    assert caught.value.exit_code == 2


def test_a_runs_folder_is_not_made_but_must_be_possible(tmp_path: Path) -> None:
    place = str(tmp_path / "new" / "runs")
    assert runs_folder(place) == place
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionInvalid, match=r"file is a file; name a folder"):
        runs_folder(str(tmp_path / "file" / "runs"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_runs_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OptionInvalid, match="cannot be written to"):
        runs_folder(str(tmp_path / "runs"))


@pytest.mark.parametrize("given", ["lr", "=1", "lr: 1"])
def test_a_text_that_is_no_assignment(given: str) -> None:
    with pytest.raises(OptionInvalid, match=f"--set '{given}' is no pair; write --set NAME=VALUE"):
        assignments("--set", [given])


def test_without_assignments_there_are_none() -> None:
    assert assignments("--set", None) == assignments("--set", []) == {}


def test_the_last_of_two_assignments_counts() -> None:
    assert assignments("--set", ["a=1", "a=2"]) == {"a": 2}

"""The commands about corrections, on a store with right answers about scenes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from storage.corrections import CorrectionFolder, current_corrections
from storage.datasets import image_folder
from storage.datasets.scenes.folder import GROUND_TRUTH
from teacher.extraction.precomputed import import_answers, read_attributes
from tests.flows.conftest import Aspects


@pytest.fixture
def store(scenes: Path, tmp_path: Path) -> str:
    store = str(tmp_path / "store")
    images = image_folder(scenes, name="scenes")
    import_answers(read_attributes(scenes / GROUND_TRUTH), images, ("train",), store)
    return store


def test_from_a_file_of_the_queue_to_the_accuracy(aspects: Aspects, store: str, scenes: Path, tmp_path: Path) -> None:
    place = ("-s", store, "-d", "scenes")
    assert aspects("corrections", "queue", "ask.csv", *place, "-n", 40).out == "40 answers to check: ask.csv\n"
    with Path("ask.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image_id", "key", "yes", "question", "probability", "pool"]
    for row in rows[:30]:
        row["yes"] = "yes"
    with Path("ask.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    command = ("corrections", "import", "ask.csv", "--format", "answers", "-s", store, "-d", scenes)
    assert aspects(*command).out == "recorded: 0 labels, 30 answers\n"
    assert aspects(*command).out == "recorded: 0 labels, 0 answers\n"
    found = aspects("corrections", "accuracy", *place)
    assert found.code == 0
    (total,) = (line.split() for line in found.out.splitlines() if "all questions" in line)
    assert total[2:4] == ["30", "0"]
    assert "corrections of 'scenes': 0 labels, 30 answers" in aspects("show", "-s", store).out


def test_labels_are_imported_listed_undone_and_exported(aspects: Aspects, store: str, scenes: Path) -> None:
    image = "train/amber_pair/0000.png"
    Path("labels.csv").write_text(f"image_id,label\n{image},birch_pair\n")
    place = ("-s", store, "-d", scenes)
    aspects("corrections", "import", "labels.csv", "--format", "labels", *place)
    folder = CorrectionFolder.open(store, "scenes")
    (row,) = folder.read()
    assert row.old == "amber_pair"
    listed = aspects("corrections", "list", "-s", store).out
    assert row.correction[:8] in listed
    assert aspects("corrections", "export", "out.csv", "--format", "labels", *place).out == "1 rows: out.csv\n"
    assert Path("out.csv").read_text() == Path("labels.csv").read_text()
    undone = aspects("corrections", "undo", row.correction[:8], "-s", store, "-d", "scenes")
    assert undone.out == f"undone: label of {image}\n"
    assert not current_corrections(folder.read())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("corrections", "undo", "abc", "-d", "scenes"), "correction 'abc' is unknown"),
        (("corrections", "accuracy", "-d", "nothing"), "no complete answers for dataset 'nothing'"),
        (("corrections", "queue", "out.txt", "-d", "scenes"), "no known suffix"),
        (("corrections", "queue", "out.csv", "-d", "scenes", "--runs", "gone"), "--runs gone is no folder"),
        (("corrections", "import", "gone.csv", "--format", "labels", "-d", "SCENES"), "cannot read table gone.csv"),
        (("corrections", "export", "x.csv", "--format", "labels", "-d", "SCENES"), "no corrections of dataset"),
        (("train", "-d", "SCENES", "--task", "detection", "--corrections", "use"), "is for --task classification"),
        (("evaluate", "runs/nothing", "-d", "SCENES", "--corrections", "use"), "give --store too"),
    ],
)
def test_wrong_input_is_one_line(
    aspects: Aspects, store: str, scenes: Path, arguments: tuple[str, ...], message: str
) -> None:
    named = [str(scenes) if word == "SCENES" else word for word in arguments]
    more = () if arguments[0] == "evaluate" else ("-s", store)
    found = aspects(*named, *more)
    assert (found.code, found.err.count("\n")) == (2, 1), found.err
    assert message in found.err

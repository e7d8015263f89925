from __future__ import annotations

from pathlib import Path

import pytest

from storage.datasets import DatasetInvalid, open_dataset
from storage.datasets.classes import CLASSES, ClassDataset, read_descriptions


def test_a_file_of_names_is_a_dataset_without_images(tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_text("blue jay\n\n owl \nblue jay\n")
    dataset = open_dataset(f"classes:{tmp_path / 'birds.txt'}")
    assert (dataset.name, list(dataset.class_names)) == ("birds", ["blue jay", "owl"])
    assert [(record.image_id, record.split, record.label) for record in dataset.records] == [
        ("blue jay", CLASSES, 0),
        ("owl", CLASSES, 1),
    ]
    assert dataset.read("owl") == b"owl"
    part = dataset.subset(dataset.records[1:])
    assert isinstance(part, ClassDataset)
    assert part.texts == {"owl": "owl"}
    assert open_dataset(f"classes:{tmp_path / 'birds.txt'}", name="garden").name == "garden"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("d.yaml", 'owl: "hunts at night,  silently"\n2012: "a year"\n'),
        ("d.csv", 'label_name,description\nowl,"hunts at night, silently"\n2012,a year\n"blue jay",\n'),
    ],
)
def test_descriptions(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    found = read_descriptions(tmp_path / file, ["owl", "2012", "blue jay"])
    assert found == {"owl": "hunts at night, silently", "2012": "a year"}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("d.yaml", "jay: a bird", "describes 'jay', which is no class; classes are 'owl'"),
        ("d.yaml", "[owl]", "has no descriptions"),
        ("d.yaml", "owl: [a]", "write class name and description as text"),
        ("d.yaml", "owl: " + "x" * 3000, "has 3000 characters"),
        ("d.csv", "name,description\nowl,x\n", "no column 'label_name'"),
        ("d.csv", "label_name,text\nowl,x\n", "no column 'description'"),
        ("none.yaml", None, "No such file"),
    ],
)
def test_wrong_descriptions_are_one_line(tmp_path: Path, file: str, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(DatasetInvalid, match=reason):
        read_descriptions(tmp_path / file, ["owl"])

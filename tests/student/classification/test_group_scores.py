"""The accuracy of groups of images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.answers.read import Answers
from storage.datasets import FileDataset, image_folder
from storage.datasets.base import select
from storage.datasets.scenes.classification import write_scenes
from storage.questions import AspectQuestion, QuestionsInvalid
from student.classification.group_scores import GroupScore, ImageGroups, find_groups, score_groups
from student.core.examples import ExamplesInvalid

WATER = AspectQuestion(key="on_water", text="Is the background water?")


def test_each_class_has_a_group_for_each_answer() -> None:
    yes = np.array([[1], [1], [0], [1], [np.nan]], dtype=np.float32)
    groups = ImageGroups(questions=(WATER,), image_ids=("a", "b", "c", "d", "e"), answers=yes, source="answers")
    logits = torch.eye(2)[[0, 1, 0, 1, 1]]
    scores = score_groups(groups, "abcde", logits, torch.tensor([0, 0, 0, 1, 0]), ("duck", "gull"))
    same = {"key": "on_water", "text": WATER.text}
    assert scores == (
        GroupScore(class_name="duck", answer="no", images=1, top1=1.0, **same),
        GroupScore(class_name="duck", answer="yes", images=2, top1=0.5, **same),
        GroupScore(class_name="gull", answer="yes", images=1, top1=1.0, **same),
    ), "an image without an answer is in no group, and an empty group has no score"


def test_an_answer_is_yes_from_one_half_on(dataset: FileDataset, answers: Answers) -> None:
    even = dataclasses.replace(answers, yes=answers.yes.copy(), no=answers.no.copy())
    even.no[0] = even.yes[0]
    groups = find_groups(dataset, select(dataset, ("train",)), ["Is it of a WARM colour?", "is_warm"], even)
    assert ([question.key for question in groups.questions], groups.source) == (["is_warm"], "answers")
    first = answers.image_ids[0]
    assert groups.of([first, "unknown"])[0] == 1
    assert np.isnan(groups.of([first, "unknown"])[1])
    assert groups.digest([first]) != find_groups(dataset, dataset.records, ["is_leafy"], even).digest([first])


def test_groups_without_answers_are_refused(dataset: FileDataset, answers: Answers) -> None:
    records = select(dataset, ("test",))
    with pytest.raises(ExamplesInvalid, match="there are no answers about dataset 'colours'"):
        find_groups(dataset, records, ["is_warm"], None)
    with pytest.raises(QuestionsInvalid, match="no question has the key or text 'is_wram'; did you mean 'is_warm'"):
        find_groups(dataset, records, ["is_wram"], answers)
    training = dataclasses.replace(answers, yes=answers.yes.copy())
    training.yes[[split == "test" for split in answers.splits]] = np.nan
    with pytest.raises(ExamplesInvalid, match=r"about split 'test' .* 'aspects extract --splits test'"):
        find_groups(dataset, records, ["is_warm"], training)


def test_rendered_scenes_are_grouped_by_the_right_answers(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", train_per_class=1, test_per_class=1, seed=0)
    scenes = image_folder(tmp_path / "scenes")
    groups = find_groups(scenes, select(scenes, ("test",)), ["Is there exactly one object?"], None)
    assert (groups.source, [question.key for question in groups.questions]) == ("truth", ["is_single"])
    ids = [record.image_id for record in scenes.records]
    assert [bool(yes) for (yes,) in groups.of(ids)] == ["_single/" in image_id for image_id in ids]
    with pytest.raises(QuestionsInvalid, match="no question has the key or text 'is_singel'; did you mean 'is_single'"):
        find_groups(scenes, select(scenes, ("test",)), ["is_singel"], None)

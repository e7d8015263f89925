from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import UNKNOWN, select
from student.classification.config import GAINED, StudentConfig
from student.classification.examples import TeacherAnswers, join_examples
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.recipes import recipe
from student.classification.training import train
from student.core.setting_errors import ConfigInvalid


def test_the_validation_split_is_a_share_of_every_class(
    config: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    records = select(dataset, ("train",))
    examples = join_examples(config, dataset, records, TeacherAnswers(image=answers))
    train, val = set(examples.train_indices.tolist()), set(examples.val_indices.tolist())
    assert train | val == set(range(24))
    assert not train & val
    assert sorted(examples.labels_N[examples.val_indices].tolist()) == [0, 0, 1, 1, 2, 2]
    assert {records[index].split for index in train | val} == {"train"}


def test_base_and_distilled_of_one_seed_are_validated_alike(
    config: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    records = select(dataset, ("train",))
    distilled = join_examples(config, dataset, records, TeacherAnswers(image=answers))
    base = join_examples(config.replace(alpha=0.0), dataset, records, TeacherAnswers(image=answers))
    other = join_examples(config.replace(seed=1), dataset, records, TeacherAnswers(image=answers))
    assert base.val_indices.tolist() == distilled.val_indices.tolist() != other.val_indices.tolist()
    assert (base.targets, base.aspects) == ((), ())


def test_small_classes_keep_an_image_to_train_on(config: StudentConfig, dataset: FileDataset) -> None:
    config = config.replace(method="base")
    records = [record for record in select(dataset, ("train",)) if record.image_id[-5] in "01"]
    examples = join_examples(config.replace(val_fraction=0.9), dataset, records, TeacherAnswers())
    assert (len(examples.train_indices), len(examples.val_indices)) == (3, 3)
    single = records[1:]
    examples = join_examples(config, dataset, single, TeacherAnswers())
    assert (len(examples.train_indices), len(examples.val_indices)) == (3, 2)
    assert len(join_examples(config.replace(val_fraction=0.0), dataset, single, TeacherAnswers()).train_indices) == 5


def test_a_fraction_of_the_images_is_a_part_of_a_larger_one(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers
) -> None:
    records = select(dataset, ("train",))
    config = config.replace(val_fraction=0.0)
    used = [
        set(
            join_examples(
                config.replace(train_fraction=share), dataset, records, teacher_answers
            ).train_indices.tolist()
        )
        for share in (0.25, 0.5, 1.0)
    ]
    assert [len(indices) for indices in used] == [6, 12, 24]
    assert used[0] < used[1] < used[2]
    assert sorted(records[index].label for index in used[0]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 0.0),
        ({"keep": "best"}, 0.1),
        ({"patience": 3}, 0.1),
        ({"val_fraction": 0.3}, 0.3),
        ({"keep": "best", "val_fraction": 0.0}, 0.0),
    ],
)
def test_labels_are_held_out_only_where_something_needs_them(changes: dict[str, Any], share: float) -> None:
    assert StudentConfig(backbone="test_resnet", image_size=32, epochs=1, **changes).held_out == share


def test_a_run_of_an_older_release_resumes_with_the_images_that_it_holds_out(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    older = config.replace(method="base", alpha=None, keep="last", val_fraction=0.25, epochs=1, warmup=0)
    grid = StudentGrid(settings=older.to_dict(), axes={"method": ["base"]}, seeds=[0])
    run_experiment(grid, dataset, TeacherAnswers(), tmp_path, progress=False)
    before = (tmp_path / "base/seed-0/result.json").read_bytes()
    given = older.replace(val_fraction=None)
    again = train(given, dataset, TeacherAnswers(), tmp_path / "base/seed-0", progress=False)
    assert again.val_images == 6
    grown = StudentGrid(settings=given.to_dict(), axes={"method": ["base", "label-smoothing"]}, seeds=[0])
    results = run_experiment(grown, dataset, TeacherAnswers(), tmp_path, progress=False)
    assert results.table["train_images"].to_list() == [18, 18]
    assert (tmp_path / "base/seed-0/result.json").read_bytes() == before
    fresh = run_experiment(grown, dataset, TeacherAnswers(), tmp_path / "fresh", progress=False)
    assert fresh.table["train_images"].to_list() == [24, 24]


def test_a_run_that_was_begun_before_the_recipe_gained_settings_resumes_without_them() -> None:
    given = recipe("finetune", backbone="resnet18.a1_in1k")
    stored = {name: value for name, value in given.to_dict().items() if name not in GAINED}
    begun = StudentConfig.from_stored({**stored, "val_fraction": 0.1})
    assert given.resumed_as(begun) == begun
    assert given.resumed_as(StudentConfig.from_stored({**stored, "ema": None})).ema == 0.998
    assert given.replace(ema=0.9).resumed_as(begun).ema == 0.9


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_few_labels_of_each_class_are_shown(
    count: int, config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers
) -> None:
    records = select(dataset, ("train",))
    few = config.replace(val_fraction=0.0, labels_per_class=count)
    labels = [join_examples(few.replace(seed=seed), dataset, records, teacher_answers).labels_N for seed in (0, 1)]
    for shown in labels:
        assert [int((shown == label).sum()) for label in range(3)] == [min(count, 8)] * 3
        assert all(label in (UNKNOWN, record.label) for label, record in zip(shown.tolist(), records, strict=True))
    assert count > 8 or labels[0].tolist() != labels[1].tolist()
    if count == 2:  # more labels add to fewer
        one = join_examples(few.replace(labels_per_class=1), dataset, records, teacher_answers).labels_N
        assert ((one == UNKNOWN) | (one == labels[0])).all()


def test_a_share_and_a_number_of_labels_are_not_given_at_once(config: StudentConfig) -> None:
    with pytest.raises(ConfigInvalid, match="labels_per_class and label_fraction are both given"):
        config.replace(labels_per_class=1, label_fraction=0.5)

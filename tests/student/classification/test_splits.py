from __future__ import annotations

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import select
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers, join_examples


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

import dataclasses

import numpy as np
import pytest

from storage.answers import Answers
from storage.datasets import FileDataset
from storage.datasets.base import select
from student.config import StudentConfig
from student.examples import ExamplesInvalid, digest_of, join_examples
from tests.student.conftest import answers_for


def test_answers_join_by_image_id(config: StudentConfig, dataset: FileDataset, answers: Answers):
    records = select(dataset, ("train",))
    order = np.random.default_rng(0).permutation(len(answers.image_ids))
    shuffled = dataclasses.replace(
        answers,
        image_ids=tuple(answers.image_ids[row] for row in order),
        yes=answers.yes[order],
        no=answers.no[order],
    )
    examples = join_examples(config, dataset, records, shuffled)
    rows = [answers.image_ids.index(record.image_id) for record in records]
    np.testing.assert_array_equal(examples.yes_prob_NQ.numpy(), answers.p_yes[rows])
    assert examples.labels_N.tolist() == [record.label for record in records]


def test_the_validation_split_is_a_share_of_every_class(config: StudentConfig, dataset: FileDataset, answers: Answers):
    records = select(dataset, ("train",))
    examples = join_examples(config, dataset, records, answers)
    train, val = set(examples.train_indices.tolist()), set(examples.val_indices.tolist())
    assert train | val == set(range(24))
    assert not train & val
    assert sorted(examples.labels_N[examples.val_indices].tolist()) == [0, 0, 1, 1, 2, 2]
    assert {records[index].split for index in train | val} == {"train"}


def test_base_and_distilled_of_one_seed_are_validated_alike(
    config: StudentConfig, dataset: FileDataset, answers: Answers
):
    records = select(dataset, ("train",))
    distilled = join_examples(config, dataset, records, answers)
    base = join_examples(config.replace(alpha=0.0), dataset, records, answers)
    other = join_examples(config.replace(seed=1), dataset, records, answers)
    assert base.val_indices.tolist() == distilled.val_indices.tolist() != other.val_indices.tolist()
    assert base.yes_prob_NQ.shape == (24, 0)


def test_small_classes_keep_an_image_to_train_on(config: StudentConfig, dataset: FileDataset):
    records = [record for record in select(dataset, ("train",)) if record.image_id[-5] in "01"]
    examples = join_examples(config.replace(val_fraction=0.9), dataset, records, None)
    assert (len(examples.train_indices), len(examples.val_indices)) == (3, 3)
    single = records[1:]
    with pytest.raises(ExamplesInvalid, match="class 'blue' of dataset 'colours' has a single training image"):
        join_examples(config, dataset, single, None)
    assert len(join_examples(config.replace(val_fraction=0.0), dataset, single, None).train_indices) == 5


def test_another_datasets_answers_are_refused(config: StudentConfig, dataset: FileDataset):
    foreign = answers_for(dataset, dataset_name="flowers")
    with pytest.raises(ExamplesInvalid, match="these answers are about dataset 'flowers', not 'colours'"):
        join_examples(config, dataset, select(dataset, ("train",)), foreign)


def test_dropping_leaves_the_same_images_to_both(config: StudentConfig, dataset: FileDataset, answers: Answers):
    records = select(dataset, ("train",))
    without_first = dataclasses.replace(
        answers, image_ids=answers.image_ids[1:], yes=answers.yes[1:], no=answers.no[1:]
    )
    config = config.replace(missing_answers="drop")
    distilled = join_examples(config, dataset, records, without_first)
    base = join_examples(config.replace(alpha=0.0), dataset, records, without_first)
    assert distilled.train_indices.tolist() == base.train_indices.tolist()
    assert 0 not in [*base.train_indices.tolist(), *base.val_indices.tolist()]


def test_one_answer_of_two_is_enough_to_stay(config: StudentConfig, dataset: FileDataset, answers: Answers):
    yes = answers.yes.copy()
    yes[0, 1] = np.nan
    examples = join_examples(config, dataset, select(dataset, ("train",)), dataclasses.replace(answers, yes=yes))
    assert examples.yes_prob_NQ[0].isnan().tolist() == [False, True]


def test_the_digest_follows_images_labels_and_answers(dataset: FileDataset, answers: Answers):
    records = select(dataset, ("train",))
    digests = {
        digest_of(dataset, records, answers),
        digest_of(dataset, records[1:], answers),
        digest_of(dataset, records, None),
        digest_of(dataset, records, dataclasses.replace(answers, yes=answers.no)),
        digest_of(dataset, [dataclasses.replace(records[0], label=1), *records[1:]], answers),
    }
    assert len(digests) == 5
    assert digest_of(dataset, records, answers) in digests

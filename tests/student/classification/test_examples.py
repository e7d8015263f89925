import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import UNKNOWN, UNLABELLED, select
from storage.questions import AspectQuestion, QuestionSet
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers, digest_of, join_examples, training_records
from student.classification.training import train
from student.core.examples import ExamplesInvalid, chosen_questions
from tests.student.conftest import answers_for


def test_answers_join_by_image_id(config: StudentConfig, dataset: FileDataset, answers: Answers) -> None:
    records = select(dataset, ("train",))
    order = np.random.default_rng(0).permutation(len(answers.image_ids))
    shuffled = dataclasses.replace(
        answers,
        image_ids=tuple(answers.image_ids[row] for row in order),
        yes=answers.yes[order],
        no=answers.no[order],
    )
    examples = join_examples(config, dataset, records, TeacherAnswers(image=shuffled))
    rows = [answers.image_ids.index(record.image_id) for record in records]
    (targets,) = examples.targets
    np.testing.assert_allclose(targets.numpy(), answers.p_yes[rows], atol=1e-6)
    assert [aspect.key for aspect in examples.aspects] == ["is_warm", "is_leafy"]
    assert examples.labels_N.tolist() == [record.label for record in records]


def test_another_datasets_answers_are_refused(config: StudentConfig, dataset: FileDataset) -> None:
    foreign = answers_for(dataset, dataset_name="flowers")
    with pytest.raises(ExamplesInvalid, match="these answers are about dataset 'flowers', not 'colours'"):
        join_examples(config, dataset, select(dataset, ("train",)), TeacherAnswers(image=foreign))


def test_dropping_leaves_the_same_images_to_both(config: StudentConfig, dataset: FileDataset, answers: Answers) -> None:
    records = select(dataset, ("train",))
    without_first = dataclasses.replace(
        answers, image_ids=answers.image_ids[1:], yes=answers.yes[1:], no=answers.no[1:]
    )
    config = config.replace(missing_answers="drop")
    distilled = join_examples(config, dataset, records, TeacherAnswers(image=without_first))
    base = join_examples(config.replace(alpha=0.0), dataset, records, TeacherAnswers(image=without_first))
    assert distilled.train_indices.tolist() == base.train_indices.tolist()
    assert 0 not in [*base.train_indices.tolist(), *base.val_indices.tolist()]


def test_one_answer_of_two_is_enough_to_stay(config: StudentConfig, dataset: FileDataset, answers: Answers) -> None:
    yes = answers.yes.copy()
    yes[0, 1] = np.nan
    partly = TeacherAnswers(image=dataclasses.replace(answers, yes=yes))
    examples = join_examples(config, dataset, select(dataset, ("train",)), partly)
    assert examples.targets[0][0].isnan().tolist() == [False, True]


def test_the_digest_follows_images_labels_and_answers(dataset: FileDataset, answers: Answers) -> None:
    records, teacher_answers = select(dataset, ("train",)), TeacherAnswers(image=answers)
    others = TeacherAnswers(image=dataclasses.replace(answers, yes=answers.no))
    relabelled = [dataclasses.replace(records[0], label=1), *records[1:]]
    digests = {
        digest_of(dataset, records, teacher_answers),
        digest_of(dataset, records[1:], teacher_answers),
        digest_of(dataset, records, TeacherAnswers()),
        digest_of(dataset, records, others),
        digest_of(dataset, records, TeacherAnswers(image=answers, classes=others.image)),
        digest_of(dataset, relabelled, teacher_answers),
    }
    assert len(digests) == 6
    assert digest_of(dataset, records, teacher_answers) in digests


def test_a_method_that_learns_from_answers_is_refused_without(config: StudentConfig, dataset: FileDataset) -> None:
    with pytest.raises(ExamplesInvalid, match="method 'makd' learns from answers, but there are none"):
        join_examples(config, dataset, select(dataset, ("train",)), TeacherAnswers())


def test_answers_about_classes_stand_in_for_those_about_images_and_the_other_way_round(
    config: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    records = select(dataset, ("train",))
    lavid = config.replace(method="lavid")
    (means,) = join_examples(lavid, dataset, records, TeacherAnswers(image=answers)).targets
    assert len(means.unique(dim=0)) == 3
    (same,) = join_examples(config, dataset, records, TeacherAnswers(classes=answers)).targets
    np.testing.assert_allclose(same.numpy(), answers.p_yes[: len(records)], atol=1e-6)
    both = join_examples(config.replace(method="makd+lavid"), dataset, records, TeacherAnswers(image=answers))
    assert [aspect.key for aspect in both.aspects] == ["is_warm", "is_leafy", "is_warm_class", "is_leafy_class"]
    assert [aspect.link for aspect in both.aspects] == ["logit", "logit", "probability", "probability"]


def test_fewer_questions_are_a_part_of_more(config: StudentConfig) -> None:
    questions = QuestionSet(
        tuple(AspectQuestion(key=f"q{n}", text=f"Is it {n}?", group="odd" if n % 2 else "even") for n in range(9))
    )
    few = chosen_questions(config.replace(question_count=3), questions).tolist()
    more = chosen_questions(config.replace(question_count=5), questions).tolist()
    assert (len(few), len(more)) == (3, 5)
    assert set(few) < set(more)
    assert more == sorted(more)
    assert chosen_questions(config.replace(without_group="odd"), questions).tolist() == [0, 2, 4, 6, 8]
    with pytest.raises(ExamplesInvalid, match="question_count is 10, but there are 9 questions"):
        chosen_questions(config.replace(question_count=10), questions)
    with pytest.raises(ExamplesInvalid, match="no question is of the group 'visual'; the groups are even, odd"):
        chosen_questions(config.replace(without_group="visual"), questions)


def test_images_whose_label_is_hidden_teach_by_their_answers_alone(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers
) -> None:
    records = select(dataset, ("train",))
    few = config.replace(label_fraction=0.5)
    examples = join_examples(few, dataset, records, teacher_answers)
    known = examples.labels_N >= 0
    assert known.sum() == 12
    assert (known[examples.val_indices]).all()
    assert len(examples.train_indices) == 24 - len(examples.val_indices)
    assert not examples.targets[0][examples.train_indices].isnan().any()
    # What is looked up by the class does not exist for them, and labels alone are all that base has.
    (means,) = join_examples(few.replace(method="class-mean"), dataset, records, teacher_answers).targets
    assert torch.equal(means.isnan().all(dim=1), ~known)
    (about_classes,) = join_examples(
        few.replace(method="lavid"), dataset, records, TeacherAnswers(classes=teacher_answers.image)
    ).targets
    assert torch.equal(about_classes.isnan().all(dim=1), ~known)
    base = join_examples(few.replace(method="base"), dataset, records, teacher_answers)
    assert len(base.train_indices) == len(examples.train_indices)
    assert (base.labels_N[base.train_indices] >= 0).all()
    assert torch.equal(base.val_indices, examples.val_indices)


@pytest.mark.parametrize("method", ["recommended", "self-training", "shuffled"])
def test_images_outside_train_fraction_change_no_target(
    config: StudentConfig, dataset: FileDataset, answers: Answers, method: str
) -> None:
    records = select(dataset, ("train",))
    config = config.replace(method=method, train_fraction=0.5, label_fraction=0.5, val_fraction=0.0)
    features = np.random.default_rng(0).normal(size=(len(records), 4)).astype(np.float32)
    examples = join_examples(config, dataset, records, TeacherAnswers(image=answers), lambda: features)
    used = examples.train_indices.unique()
    left_out = np.setdiff1d(np.arange(len(records)), used)
    assert len(left_out) == 12
    assert (examples.labels_N[left_out] < 0).any()
    yes = answers.yes.copy()
    yes[[answers.image_ids.index(records[index].image_id) for index in left_out]] -= 3
    changed = features.copy()
    changed[left_out] += 100
    others = TeacherAnswers(image=dataclasses.replace(answers, yes=yes))
    again = join_examples(config, dataset, records, others, lambda: changed)
    assert torch.equal(again.train_indices, examples.train_indices)
    for ours, theirs in zip(examples.targets, again.targets, strict=True):
        torch.testing.assert_close(theirs[used], ours[used], rtol=0, atol=0, equal_nan=True)


def test_images_without_a_label_are_trained_on_where_they_have_answers(
    config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    hidden = {record.image_id for record in select(dataset, ("train",)) if record.image_id.endswith("5.png")}
    records = [
        dataclasses.replace(record, split="unlabelled", label=-1, label_name="")
        if record.image_id in hidden
        else record
        for record in dataset.records
    ]
    mixed = dataclasses.replace(dataset, records=records)
    found = training_records(mixed)
    assert len(found) == 24
    config = config.replace(val_fraction=0.0)
    examples = join_examples(config, mixed, found, TeacherAnswers(image=answers))
    assert sorted(examples.labels_N.tolist())[:4] == [-1, -1, -1, 0]
    assert len(examples.train_indices) == 24
    # Nobody has asked about one of them: it is left out, and nobody is told to ask.
    rows = [row for row, image_id in enumerate(answers.image_ids) if image_id != min(hidden)]
    partly = dataclasses.replace(
        answers,
        image_ids=tuple(answers.image_ids[row] for row in rows),
        yes=answers.yes[rows],
        no=answers.no[rows],
    )
    assert len(join_examples(config, mixed, found, TeacherAnswers(image=partly)).train_indices) == 23
    run = train(config.replace(method="makd+posterior"), mixed, TeacherAnswers(image=answers), tmp_path, progress=False)
    assert (run.train_images, run.epochs[-1].loss < run.epochs[0].loss) == (24, True)
    with pytest.raises(ExamplesInvalid, match="split 'unlabelled' of dataset 'colours' have no label"):
        evaluate(tmp_path, mixed, split="unlabelled")


def test_an_image_that_loses_its_label_makes_another_training_set(dataset: FileDataset) -> None:
    records = list(training_records(dataset))
    moved = [dataclasses.replace(records[0], split=UNLABELLED), *records[1:]]
    unknown = [dataclasses.replace(moved[0], label=UNKNOWN), *records[1:]]
    digests = [digest_of(dataset, one, TeacherAnswers()) for one in (records, moved, unknown)]
    assert digests[0] != digests[1] == digests[2]


@pytest.mark.parametrize("method", ["base", "class-mean", "shuffled-in-class"])
def test_methods_without_targets_of_unlabelled_images_repeat_labelled_ones(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, method: str
) -> None:
    few = config.replace(method=method, label_fraction=0.5, val_fraction=0.0, keep="last")
    examples = join_examples(few, dataset, training_records(dataset), teacher_answers)
    assert len(examples.train_indices) == 24
    assert len(examples.train_indices.unique()) == 12
    assert (examples.labels_N[examples.train_indices] != UNKNOWN).all()
    learning = join_examples(few.replace(method="makd"), dataset, training_records(dataset), teacher_answers)
    assert len(learning.train_indices.unique()) == 24


def test_random_answers_are_where_answers_are(config: StudentConfig, dataset: FileDataset, answers: Answers) -> None:
    about_classes = TeacherAnswers(classes=answers)
    few = config.replace(method="random", label_fraction=0.5, val_fraction=0.0, keep="last")
    examples = join_examples(few, dataset, training_records(dataset), about_classes)
    (targets,) = examples.targets
    assert torch.equal(targets.isnan().all(dim=1), examples.labels_N == UNKNOWN)

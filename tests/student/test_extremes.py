"""Every method on data at the extremes: a step gives a number and a gradient, or one line says why it cannot."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import select
from student.classification.config import StudentConfig
from student.classification.examples import Examples, TeacherAnswers, join_examples, training_records
from student.classification.methods import METHODS
from student.classification.model import Logits
from student.classification.objective import Objective
from student.classification.training import train
from student.classification.usefulness import answers_uses
from student.core.examples import ExamplesInvalid
from student.core.setting_errors import ConfigInvalid
from tests.student.conftest import probes_of

Case = tuple[FileDataset, Answers, dict[str, Any]]


def kept(dataset: FileDataset, keep: int) -> FileDataset:
    """So many training images of each class."""
    records = [r for r in dataset.records if r.split != "train" or int(r.image_id[-7:-4]) < keep]
    return dataclasses.replace(dataset, records=records)


def without_label(dataset: FileDataset, *class_names: str) -> FileDataset:
    records = [
        dataclasses.replace(r, split="unlabelled", label=-1, label_name="")
        if r.split == "train" and r.label_name in class_names
        else r
        for r in dataset.records
    ]
    return dataclasses.replace(dataset, records=records)


def answered(answers: Answers, rows: Any, columns: Any, value: float) -> Answers:
    yes = answers.yes.copy()
    yes[rows, columns] = value
    return dataclasses.replace(answers, yes=yes)


def case_of(name: str, dataset: FileDataset, answers: Answers) -> Case:
    blue = np.array(answers.label_names) == "blue"
    first = np.array([image_id.endswith("0.png") for image_id in answers.image_ids])
    everything = slice(None)
    return {
        "one label a class": (dataset, answers, {"label_fraction": 0.01}),
        "one image a class": (kept(dataset, 1), answers, {}),
        "a class without a label": (without_label(dataset, "blue"), answers, {}),
        "two classes": (
            dataclasses.replace(
                dataset,
                class_names=("blue", "green"),
                records=[record for record in dataset.records if record.label < 2],
            ),
            answers,
            {},
        ),
        "one question": (dataset, answers.only(["is_warm"]), {}),
        "one constant question": (
            dataset,
            dataclasses.replace(answered(answers.only(["is_warm"]), everything, 0, -1.0), no=answers.no[:, :1] * 0),
            {},
        ),
        "a question without any answer": (dataset, answered(answers, everything, 1, np.nan), {}),
        "images without any answer": (dataset, answered(answers, first, everything, np.nan), {}),
        "a class never answered": (dataset, answered(answers, blue, everything, np.nan), {}),
        "unlabelled and without any answer": (
            without_label(dataset, "blue"),
            answered(answers, blue & first, everything, np.nan),
            {},
        ),
        "all but one image of a class hidden": (dataset, answers, {"label_fraction": 0.05, "val_fraction": 0.25}),
    }[name]


CASES = [
    *("one label a class", "one image a class", "a class without a label", "two classes", "one question"),
    *("one constant question", "a question without any answer", "images without any answer", "a class never answered"),
    *("unlabelled and without any answer", "all but one image of a class hidden"),
]


@pytest.mark.parametrize("level", ["image", "class"])
@pytest.mark.parametrize("name", CASES)
def test_every_method_stands_it(
    config: StudentConfig, dataset: FileDataset, answers: Answers, name: str, level: str
) -> None:
    dataset, answers, settings = case_of(name, dataset, answers)
    known = TeacherAnswers(image=answers) if level == "image" else TeacherAnswers(classes=answers)
    known = dataclasses.replace(known, probes=probes_of(answers))
    given = {"val_fraction": 0.0, "missing_answers": "drop", "network": "none", **settings}
    records = training_records(dataset)
    for method in METHODS:
        tried = config.replace(method=method, **given)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            examples = join_examples(tried, dataset, records, known)
        assert_a_step_works(tried, dataset, examples, method)


def assert_a_step_works(config: StudentConfig, dataset: FileDataset, examples: Examples, method: str) -> None:
    classes = len(dataset.class_names)
    indices = examples.train_indices.unique()
    outputs = torch.zeros(len(indices), classes + len(examples.aspects), requires_grad=True)  # heads may start at zero
    said = Logits(outputs[:, :classes], outputs[:, classes:])
    logits = said._replace(inner=(said,) * config.objective.inner)
    network = torch.randn(len(indices), classes)
    loss = Objective(method=config.objective, examples=examples)(logits, indices, network)["loss"]
    loss.backward()
    assert torch.isfinite(loss), method
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all(), method
    assert outputs.grad.abs().sum() > 0, method


@pytest.mark.parametrize("method", METHODS)
def test_images_that_all_lack_a_label_teach_by_a_network_alone(
    config: StudentConfig, dataset: FileDataset, answers: Answers, method: str
) -> None:
    dataset = without_label(dataset, *dataset.class_names)
    config = config.replace(method=method, network="none")
    records = select(dataset, ("unlabelled",))
    if config.objective.network_terms:
        examples = join_examples(config, dataset, records, TeacherAnswers(image=answers))
        assert_a_step_works(config, dataset, examples, method)
        return
    with pytest.raises(ExamplesInvalid, match="no training image of dataset 'colours' has a label"):
        join_examples(config, dataset, records, TeacherAnswers(image=answers))


def test_a_dataset_of_one_class_is_refused(config: StudentConfig, dataset: FileDataset, answers: Answers) -> None:
    lone = dataclasses.replace(
        dataset, class_names=("blue",), records=[record for record in dataset.records if record.label == 0]
    )
    with pytest.raises(ExamplesInvalid, match="dataset 'colours' has a single class"):
        join_examples(config, lone, select(lone, ("train",)), TeacherAnswers(image=answers))


def test_batches_of_one_image_are_refused_where_the_backbone_cannot(
    config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    lone = config.replace(batch_size=1, backbone="resnet10t")
    with pytest.raises(ConfigInvalid, match="batches of two images or more: set batch_size"):
        train(lone, dataset, TeacherAnswers(image=answers), tmp_path / "refused", progress=False)
    works = config.replace(batch_size=1, backbone="test_vit", epochs=1, warmup=0, method="mlkd+lskd+makd", network="n")
    assert works.objective.network_terms
    train(
        works.replace(method="recommended"), dataset, TeacherAnswers(image=answers), tmp_path / "works", progress=False
    )


@pytest.mark.parametrize("name", CASES[4:9])
def test_questions_with_any_answers_are_reported(dataset: FileDataset, answers: Answers, name: str) -> None:
    dataset, answers, _ = case_of(name, dataset, answers)
    uses = answers_uses(dataset, answers)
    assert np.isfinite(uses["missed"].to_numpy()).all()


def test_terms_of_several_methods_have_outputs_of_their_own(
    config: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    examples = join_examples(
        config.replace(method="recommended+makd+random+lavid"),
        dataset,
        select(dataset, ("train",)),
        TeacherAnswers(image=answers),
    )
    keys = [aspect.key for aspect in examples.aspects]
    assert len(set(keys)) == len(keys) == 8
    with pytest.raises(ConfigInvalid, match="names 'makd' twice"):
        config.replace(method="makd+lavid+makd")

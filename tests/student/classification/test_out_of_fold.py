from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logit

from storage.datasets import FileDataset
from storage.datasets.base import UNKNOWN, ImageDataset
from student.classification import fold_students, training
from student.classification.config import StudentConfig
from student.classification.fold_students import stratified_folds, train_out_of_fold
from student.classification.model import create_network
from student.classification.out_of_fold import OUT_OF_FOLD, OutOfFold, expected_answers, write_out_of_fold
from student.classification.runs import TrainedStudent
from student.core.examples import ExamplesInvalid
from student.core.setting_errors import ConfigInvalid
from tests.storage.corrections.samples import answers
from tests.student.small_backbone import SMALL_BACKBONE


@pytest.fixture
def quick(config: StudentConfig) -> StudentConfig:
    values = {"backbone": SMALL_BACKBONE, "method": "base", "keep": "last", "val_fraction": 0.0}
    return config.replace(**values, epochs=1, warmup=0, batch_size=12)


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[ImageDataset]:
    """The datasets that students are trained on, in order."""
    datasets: list[ImageDataset] = []

    def train(config: StudentConfig, dataset: ImageDataset, *rest: Any, **named: Any) -> TrainedStudent:
        datasets.append(dataset)
        return original(config, dataset, *rest, **named)

    original = training.train
    monkeypatch.setattr(fold_students, "train", train)
    return datasets


def small_weights(path: Path) -> str:
    untrained = StudentConfig(backbone=SMALL_BACKBONE, image_size=32, epochs=1, method="base")
    torch.save(create_network(untrained, outputs=5).state_dict(), path)
    return str(path)


def trained_folds(config: StudentConfig, dataset: ImageDataset, runs: Path, **named: Any) -> OutOfFold:
    return train_out_of_fold(config, dataset, runs, folds=2, splits=("train",), progress=False, **named)


def test_classes_are_spread_over_folds() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, -1, 1])
    folds = stratified_folds(labels, 2, seed=0)
    assert folds[7] == -1
    assert sorted(folds[labels == 0].tolist()) == [0, 0, 1, 1]
    assert np.bincount(folds[folds >= 0]).tolist() == [4, 4]
    assert set(folds[labels == 1].tolist()) == {0, 1}


@pytest.mark.parametrize("freeze", [False, True])
def test_a_student_has_not_seen_the_labels_of_its_fold(
    quick: StudentConfig, dataset: FileDataset, tmp_path: Path, trained_on: list[ImageDataset], freeze: bool
) -> None:
    config = quick.replace(freeze=True, weights=small_weights(tmp_path / "weights.pth")) if freeze else quick
    hidden = dataset.records[0].image_id
    records = [replace(record, label=UNKNOWN, label_name="") for record in dataset.records[:1]]
    known = dataset.subset([*records, *dataset.records[1:]])
    found = trained_folds(config, known, tmp_path / "runs")
    assert len(found.image_ids) == 24
    for fold, part in enumerate(trained_on):
        labels = {record.image_id: (record.split, record.label) for record in part.records}
        for image_id, held_out in zip(found.image_ids, found.folds_N, strict=True):
            assert (labels[image_id] == ("unlabelled", UNKNOWN)) == (held_out in (fold, -1))
    assert found.image_ids[found.folds_N.tolist().index(-1)] == hidden
    assert np.exp(found.log_p_NC[found.folds_N >= 0]).sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_finished_students_are_kept(
    quick: StudentConfig, dataset: FileDataset, tmp_path: Path, trained_on: list[ImageDataset]
) -> None:
    first = trained_folds(quick, dataset, tmp_path)
    (folder,) = tmp_path.iterdir()
    weights = {path: path.stat().st_mtime_ns for path in folder.glob("fold-*/student.safetensors")}
    assert len(weights) == len(trained_on) == 2
    again = trained_folds(quick, dataset, tmp_path)
    assert len(trained_on) == 2
    assert again.log_p_NC.tobytes() == first.log_p_NC.tobytes()
    assert (again.image_ids, again.folds_N.tolist()) == (first.image_ids, first.folds_N.tolist())
    older = json.loads(again.identity)
    del older["config"]["accumulate"]  # as a release without this setting wrote it
    write_out_of_fold(folder / OUT_OF_FOLD, replace(again, identity=json.dumps(older)))
    trained_folds(quick, dataset, tmp_path)
    assert len(trained_on) == 2
    (folder / OUT_OF_FOLD).write_bytes((folder / OUT_OF_FOLD).read_bytes()[:-20])
    repaired = trained_folds(quick, dataset, tmp_path)
    assert repaired.log_p_NC == pytest.approx(first.log_p_NC, abs=1e-6)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_changed_labels_get_students_of_their_own(quick: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    trained_folds(quick, dataset, tmp_path)
    changed = [replace(dataset.records[0], label=2, label_name="red"), *dataset.records[1:]]
    trained_folds(quick, dataset.subset(changed), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_images_are_looked_up_by_id() -> None:
    found = OutOfFold(
        image_ids=("a", "b"),
        class_names=("x", "y"),
        log_p_NC=np.array([[0, -1], [-2, 0]], dtype=np.float32),
        folds_N=np.zeros(2, dtype=np.int64),
        identity="",
    )
    assert found.places_of(["b", "c"]).tolist() == [1, -1]


def test_answers_are_expected_by_the_class_that_students_see() -> None:
    """Means of p(yes): 0.9 for ants, 0.2 for bees. The students take the first image for a bee, and know no wasps."""
    p_yes = np.array([[0.9], [0.9], [0.2], [0.2], [0.5]])
    given = answers(logit(p_yes))
    given = replace(given, label_names=("ant", "ant", "bee", "bee", ""))
    students = OutOfFold(
        image_ids=given.image_ids[:4],
        class_names=("ant", "bee", "wasp"),
        log_p_NC=np.log([[0.1, 0.7, 0.2], [0.6, 0.2, 0.2], [1e-9, 1.0, 1e-9], [0.4, 0.4, 0.2]], dtype=np.float32),
        folds_N=np.zeros(4, dtype=np.int64),
        identity="",
    )
    found = expected_answers(students, given)[:, 0]
    np.testing.assert_allclose(
        found, [0.125 * 0.9 + 0.875 * 0.2, 0.75 * 0.9 + 0.25 * 0.2, 0.2, 0.55, np.nan], rtol=1e-5
    )


def test_networks_that_saw_all_labels_and_too_many_folds_are_rejected(
    quick: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigInvalid, match="learns from a network that has seen all labels"):
        trained_folds(quick.replace(method="kd", network="runs/large"), dataset, tmp_path)
    with pytest.raises(ExamplesInvalid, match="24 labelled images, and 25 folds need 25 or more"):
        train_out_of_fold(quick, dataset, tmp_path, folds=25, splits=("train",))

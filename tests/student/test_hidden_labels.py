"""A label that is hidden reaches nothing: whatever it is, the same weights come out."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import UNKNOWN, UNLABELLED
from student.classification.config import StudentConfig
from student.classification.examples import Examples, TeacherAnswers, join_examples, training_records
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.kd_teacher import require_same_labels
from student.classification.methods import METHODS
from student.classification.runs import load_run
from student.classification.splits import visible_labels
from student.classification.training import train
from student.classification.usefulness import answers_uses
from student.core.setting_errors import ConfigInvalid
from tests.student.conftest import answers_for, probes_of

# Every one, in groups that are trained at once.
NAMES = list(METHODS)
GROUPS = ["+".join(NAMES[first::4]) for first in range(4)]


@pytest.fixture
def few(config: StudentConfig) -> StudentConfig:
    return config.replace(label_fraction=0.5, epochs=1, warmup=0, alpha=None)


@pytest.fixture
def partly(dataset: FileDataset) -> FileDataset:
    """Three images in the split `unlabelled`, which happen to have a label."""
    records = [
        dataclasses.replace(record, split=UNLABELLED) if record.image_id.endswith("005.png") else record
        for record in dataset.records
    ]
    return dataclasses.replace(dataset, records=records)


def relabelled(dataset: FileDataset, config: StudentConfig, shift: int = 1) -> FileDataset:
    """The same with another class for every image whose label a student of `config` may not see."""
    records = training_records(dataset)
    labels = visible_labels(config, records, np.ones(len(records), dtype=bool))
    hidden = {record.image_id for record, label in zip(records, labels, strict=True) if label == UNKNOWN}
    assert len(hidden) > 10
    changed = []
    for record in dataset.records:
        if record.image_id in hidden:
            label = (record.label + shift) % len(dataset.class_names)
            record = dataclasses.replace(record, label=label, label_name=dataset.class_names[label])
        changed.append(record)
    return dataclasses.replace(dataset, records=changed)


def unlabelled(dataset: FileDataset) -> FileDataset:
    """The same without any label in the split `unlabelled`."""
    records = [
        dataclasses.replace(record, label=UNKNOWN) if record.split == UNLABELLED else record
        for record in dataset.records
    ]
    return dataclasses.replace(dataset, records=records)


def of_classes(dataset: FileDataset, *, leaving_out: int | None = None) -> Answers:
    """Answers looked up by the label, as an import of LaViD's does; none about the class `leaving_out`."""
    gaps = np.array([[2.0, -1.0], [-2.0, 1.0], [0.5, -3.0]], dtype=np.float32)
    gap = gaps[[record.label for record in dataset.records]]
    if leaving_out is not None:
        gap[[record.label == leaving_out for record in dataset.records]] = np.nan
    answers = answers_for(dataset)
    return dataclasses.replace(answers, teacher="def456", yes=gap, no=np.zeros_like(gap), level="class")


def knowledge_of(dataset: FileDataset, image: Answers | None) -> TeacherAnswers:
    classes = of_classes(dataset)
    return TeacherAnswers(image=image, classes=classes, probes=probes_of(image or classes))


def seen(examples: Examples) -> tuple[bytes, ...]:
    used = examples.train_indices.unique()
    targets = [targets[used].numpy().tobytes() for targets in examples.targets]
    parts = (examples.train_indices, examples.val_indices, examples.labels_N)
    return (*(part.numpy().tobytes() for part in parts), *targets)


@pytest.mark.parametrize("name", [*METHODS, "kd+recommended", "makd+labels-deep", "posterior+lavid"])
@pytest.mark.parametrize("about", ["images", "classes", "both"])
def test_no_method_learns_from_a_hidden_label(
    few: StudentConfig, partly: FileDataset, answers: Answers, about: str, name: str
) -> None:
    few = few.replace(method=name, network="none")
    found = []
    for dataset in (partly, relabelled(partly, few), relabelled(partly, few, shift=2), unlabelled(partly)):
        known = {
            "images": TeacherAnswers(image=answers, probes=probes_of(answers)),
            "classes": TeacherAnswers(classes=of_classes(dataset), probes=probes_of(answers)),
            "both": knowledge_of(dataset, answers),
        }[about]
        found.append(seen(join_examples(few, dataset, training_records(dataset), known)))
    assert found.count(found[0]) == 4


@pytest.mark.parametrize("method", GROUPS)
def test_the_weights_are_the_same_to_the_bit(
    few: StudentConfig, partly: FileDataset, answers: Answers, tmp_path: Path, method: str
) -> None:
    weights = []
    for number, dataset in enumerate((partly, relabelled(partly, few))):
        known, folder = knowledge_of(dataset, answers), tmp_path / str(number)
        student = few.replace(method=method, network=str(folder / "network"), train_fraction=0.9)
        grid = StudentGrid(settings=student.to_dict(), axes={"method": [method]}, seeds=[0], network={})
        larger, _ = grid.kd_teacher_for(student)
        train(larger, dataset, known, folder / "network", progress=False)
        train(student, dataset, known, folder / "student", progress=False)
        weights.append((folder / "student" / "student.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_report_on_questions_knows_no_more(few: StudentConfig, partly: FileDataset, answers: Answers) -> None:
    uses = [answers_uses(dataset, answers, few) for dataset in (partly, relabelled(partly, few))]
    assert uses[0].equals(uses[1])


def test_a_class_without_answers_does_not_affect_hidden_images(
    few: StudentConfig, dataset: FileDataset, answers: Answers
) -> None:
    few = few.replace(method="recommended-classes", missing_answers="drop", val_fraction=0.0)
    found = []
    for images in (dataset, relabelled(dataset, few)):
        known = TeacherAnswers(classes=of_classes(images, leaving_out=2))
        found.append(seen(join_examples(few, images, training_records(images), known)))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["posterior", "recommended", "makd", "blend", "lavid", "class-mean"])
def test_answers_about_classes_do_not_name_the_class_of_hidden_images(
    few: StudentConfig, dataset: FileDataset, name: str
) -> None:
    known = TeacherAnswers(image=of_classes(dataset))  # recognised by what it says of itself
    assert known.image is None
    examples = join_examples(few.replace(method=name), dataset, training_records(dataset), known)
    hidden = examples.labels_N == UNKNOWN
    assert hidden.sum() == 12
    assert all(targets[hidden].isnan().all() for targets in examples.targets)
    assert (examples.labels_N[examples.train_indices] != UNKNOWN).all()


def test_labels_are_shown_evenly_and_more_of_them_add_to_fewer(few: StudentConfig, dataset: FileDataset) -> None:
    records = training_records(dataset)
    everything = np.ones(len(records), dtype=bool)
    before: set[int] = set()
    for fraction, each in ((0.125, 1), (0.25, 2), (0.5, 4)):
        labels = visible_labels(few.replace(label_fraction=fraction), records, everything)
        assert np.bincount(labels[labels != UNKNOWN]).tolist() == [each] * 3
        assert before <= (before := set(np.flatnonzero(labels != UNKNOWN).tolist()))
    others = visible_labels(few.replace(seed=1), records, everything)
    assert not np.array_equal(others, visible_labels(few, records, everything))
    one = visible_labels(few.replace(label_fraction=0.01), records, everything)
    assert np.bincount(one[one != UNKNOWN]).tolist() == [1, 1, 1]


def test_a_larger_network_sees_the_labels_of_its_student(
    few: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    settings = few.replace(method="base", val_fraction=0.0).to_dict()
    grid = StudentGrid(
        settings=settings, axes={"method": ["kd"], "label_fraction": [0.5, 1.0]}, seeds=[0, 1], network={}
    )
    results = run_experiment(grid, dataset, TeacherAnswers(image=answers), tmp_path, progress=False)
    assert len(results.table) == 8
    places = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("network*/**/run.json"))
    assert places == ["network", *(f"network,label_fraction=0.5/seed-{seed}" for seed in (0, 1))]
    for place in places[1:]:
        config = load_run(tmp_path / place).description.config
        assert (config.label_fraction, config.seed) == (0.5, int(place[-1]))
    student = few.replace(method="kd", network=str(tmp_path / "network"))
    with pytest.raises(ConfigInvalid, match=r"has seen labels that this student may not; .* with label_fraction 0.5"):
        train(student, dataset, TeacherAnswers(), tmp_path / "kd", progress=False)
    require_same_labels(student.replace(network=str(tmp_path / places[1])))
    with pytest.raises(ConfigInvalid, match="network setting 'label_fraction' follows the students'"):
        dataclasses.replace(grid, network={"label_fraction": 1.0}).cells(tmp_path)


@pytest.mark.parametrize("draw", [{"label_fraction": 0.25}, {"label_fraction": 1.0, "labels_per_class": 2}])
def test_a_larger_network_with_another_draw_of_labels_is_refused(
    few: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path, draw: dict[str, float]
) -> None:
    config = few.replace(val_fraction=0.0, keep="last", missing_answers="drop", **draw)
    yes, no = answers.yes.copy(), answers.no.copy()
    yes[[1, 2, 9, 17]] = no[[1, 2, 9, 17]] = np.nan
    given = {"all": answers, "some": dataclasses.replace(answers, yes=yes, no=no)}
    for name, theirs in given.items():
        base = config.replace(method="base")
        train(base, dataset, TeacherAnswers(image=theirs), tmp_path / name, progress=False)
    student = config.replace(method="kd+makd", network=str(tmp_path / "all"))
    for _ in range(2):  # also in the folder that the first attempt has begun
        with pytest.raises(ConfigInvalid, match="has seen other labels than this student may"):
            train(student, dataset, TeacherAnswers(image=given["some"]), tmp_path / "kd", progress=False)
    student = student.replace(network=str(tmp_path / "some"))
    assert train(student, dataset, TeacherAnswers(image=given["some"]), tmp_path / "same", progress=False).epochs


def test_students_of_an_older_experiment_keep_its_network(
    few: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    student = few.replace(method="kd", network=str(tmp_path / "network"), label_fraction=1.0)
    train(student.replace(method="base"), dataset, TeacherAnswers(), tmp_path / "network", progress=False)
    train(student, dataset, TeacherAnswers(image=answers), tmp_path / "kd" / "seed-0", progress=False)
    grid = StudentGrid(settings=student.to_dict(), axes={"method": ["kd"]}, seeds=[0], network={})
    trained: list[str] = []
    run_experiment(
        grid,
        dataset,
        TeacherAnswers(image=answers),
        tmp_path,
        progress=False,
        on_epoch=lambda cell, *_: trained.append(cell),
    )
    assert trained == ["base"]
    assert not list(tmp_path.glob("network,*"))

"""A detector's run folder: damaged, of release 0.1.0, of a newer one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.datasets import DetectionDataset
from storage.errors import AspectsError, VersionUnsupported
from student.classification.runs import load_run
from student.core.files import RunInvalid
from student.detection.evaluate import evaluate_detector, read_detection_evaluation
from student.detection.examples import DetectionAnswers
from student.detection.export import export_detector
from student.detection.runs import is_detector_run, load_detector_run
from student.detection.training import train_detector
from tests.student.damage import Damage, a_folder, changed, other_weights, truncated, without, written
from tests.student.old_runs import DETECTOR, plain_answers, unpack_old_runs

TEXTS = {
    "empty": written(b""),
    "a number": written(b"5"),
    "null": written(b"null"),
    "not UTF-8": written(b"\xff"),
    "truncated": truncated(0.5),
    "folder": a_folder,
}
CASES = {
    "run.json": TEXTS
    | {
        "no box_aspects": without("box_aspects"),
        "box_aspects of numbers": changed(box_aspects=[1]),
        "class_names null": changed(class_names=None),
    },
    "result.json": TEXTS | {"no epochs": without("epochs"), "epochs of numbers": changed(epochs=[1])},
    "student.safetensors": {
        "missing": Path.unlink,
        "truncated": truncated(0.5),
        "of another network": other_weights,
        "folder": a_folder,
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_old_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def plain(detection_answers: DetectionAnswers) -> DetectionAnswers:
    assert detection_answers.images is not None
    assert detection_answers.boxes is not None
    return DetectionAnswers(
        images=plain_answers(detection_answers.images), boxes=plain_answers(detection_answers.boxes)
    )


def refused(work: Callable[[], object]) -> AspectsError:
    with pytest.raises(AspectsError) as raised:
        work()
    return raised.value


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param(name, damage, id=f"{name}: {what}")
        for name, table in CASES.items()
        for what, damage in table.items()
    ],
)
def test_a_damaged_run_is_one_line_in_train_evaluate_and_export(
    runs: Path, scenes: DetectionDataset, plain: DetectionAnswers, tmp_path: Path, name: str, damage: Damage
) -> None:
    run = Path(shutil.copytree(runs / "detector", tmp_path / "run"))
    damage(run / name)
    works = [
        lambda: evaluate_detector(run, scenes, plain),
        lambda: export_detector(run, tmp_path / "out", ["safetensors"]),
    ]
    if damage is not other_weights:  # an old run has no digest, so its weights are only found wrong when they are used
        works.append(lambda: train_detector(DETECTOR, scenes, plain, run, progress=False))
    for work in works:
        assert isinstance(error := refused(work), RunInvalid)
        assert name in str(error)
        assert "\n" not in str(error)
    assert not (tmp_path / "out").exists()


def test_old_runs_are_read_gone_on_with_and_not_trained_again(
    runs: Path, scenes: DetectionDataset, plain: DetectionAnswers, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs / "detector", tmp_path / "run"))
    train_detector(DETECTOR, scenes, plain, run, progress=False, on_epoch=lambda log: pytest.fail("trained again"))
    before = read_detection_evaluation(run, "test")
    assert before is not None
    assert evaluate_detector(run, scenes, plain).digest == before.digest
    stopped = Path(shutil.copytree(runs / "detector-stopped", tmp_path / "stopped"))
    epochs: list[int] = []
    train_detector(DETECTOR, scenes, plain, stopped, progress=False, on_epoch=lambda log: epochs.append(log.epoch))
    assert epochs == [3]
    assert load_detector_run(stopped).weights is not None
    assert {path.name for path in stopped.iterdir()} == {
        "run.json", "result.json", "student.safetensors", "tensorboard"
    }  # fmt: skip
    changed(new_field=1)(stopped / "result.json")
    assert load_detector_run(stopped).weights is not None


def test_a_run_of_a_newer_release_is_refused(
    runs: Path, scenes: DetectionDataset, plain: DetectionAnswers, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs / "detector", tmp_path / "run"))
    changed(version=99)(run / "evaluation-test.json")
    assert isinstance(refused(lambda: read_detection_evaluation(run, "test")), VersionUnsupported)
    changed(version=99)(run / "run.json")
    assert isinstance(refused(lambda: is_detector_run(run)), VersionUnsupported)
    assert isinstance(refused(lambda: train_detector(DETECTOR, scenes, plain, run, progress=False)), VersionUnsupported)


def test_a_detector_is_no_classifier(runs: Path) -> None:
    assert is_detector_run(runs / "detector")
    assert not is_detector_run(runs / "classifier")
    assert isinstance(refused(lambda: load_run(runs / "detector")), RunInvalid)
    assert isinstance(refused(lambda: load_detector_run(runs / "classifier")), RunInvalid)

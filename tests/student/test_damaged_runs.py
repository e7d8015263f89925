"""Finished runs whose files are damaged: every damage is one line, and nothing is trained over."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.datasets import FileDataset, image_folder
from storage.errors import AspectsError, StorageUnavailable, VersionUnsupported
from student.classification.evaluate import evaluate, read_evaluation
from student.classification.examples import TeacherAnswers
from student.classification.export import export
from student.classification.runs import load_run
from student.classification.training import train
from student.core.files import RunInvalid
from tests.student.conftest import answers_for
from tests.student.damage import (
    Damage,
    a_folder,
    a_pipe,
    changed,
    flipped,
    one_shape_changed,
    other_weights,
    truncated,
    without,
    written,
)
from tests.student.old_runs import CLASSIFIER, plain_answers, unpack_old_runs

TEXTS = {
    "empty": written(b""),
    "a number": written(b"5"),
    "null": written(b"null"),
    "a list": written(b"[]"),
    "a word": written(b'"run"'),
    "no fields": written(b"{}"),
    "not UTF-8": written(b'{"a": "\xff\xfe"}'),
    "garbage": written(bytes(range(256))),
    "truncated": truncated(0.5),
    "nested": written(b"[" * 100_000),
    "folder": a_folder,
    "pipe": a_pipe,
    "version of another type": changed(version="two"),
    "version 0": changed(version=0),
    "version null": changed(version=None),
    "version -1": changed(version=-1),
}
DESCRIPTIONS = {
    "missing": Path.unlink,
    "config a number": changed(config=5),
    "config null": changed(config=None),
    "config without backbone": changed(config={"epochs": 3}),
    "config of another type": changed(config=CLASSIFIER.to_dict() | {"epochs": "three"}),
    "no dataset": without("dataset"),
    "no aspects": without("aspects"),
    "class_names a number": changed(class_names=3),
    "class_names of numbers": changed(class_names=[1, 2, 3]),
    "aspects of numbers": changed(aspects=[1, 2]),
    "aspects without text": changed(aspects=[{"key": "is_warm"}]),
    "digest a list": changed(digest=[]),
}
RESULTS = {
    "no epochs": without("epochs"),
    "epochs empty": changed(epochs=[]),
    "epochs a number": changed(epochs=3),
    "epochs of numbers": changed(epochs=[1, 2, 3]),
    "best_epoch a word": changed(best_epoch="last"),
    "best_epoch beyond": changed(best_epoch=9),
    "no train_images": without("train_images"),
    "of another run": changed(run="0" * 64),
    "digest of another type": changed(weights=5),
    "another best_epoch": changed(best_epoch=1),
    "another number of images": changed(train_images=7),
}
WEIGHTS = {
    "missing": Path.unlink,
    "empty": written(b""),
    "truncated": truncated(0.7),
    "garbage": written(bytes(range(256)) * 40),
    "header of garbage": written((1 << 62).to_bytes(8, "little") + b"{}"),
    "folder": a_folder,
    "pipe": a_pipe,
    "names of another network": other_weights,
    "shapes of another network": one_shape_changed,
    **{f"bit flipped at {share}": flipped(share) for share in (0.001, 0.3, 0.5, 0.99)},
}
CASES = [
    pytest.param(name, damage, id=f"{name}: {what}")
    for name, table in (
        ("run.json", TEXTS | DESCRIPTIONS),
        ("result.json", TEXTS | RESULTS),
        ("student.safetensors", WEIGHTS),
    )
    for what, damage in table.items()
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_old_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def plain(dataset: FileDataset) -> TeacherAnswers:
    return TeacherAnswers(image=plain_answers(answers_for(dataset)))


@pytest.fixture(scope="module")
def finished(runs: Path, image_root: Path) -> Path:
    """A run of this release."""
    dataset = image_folder(image_root, name="colours")
    teacher_answers = TeacherAnswers(image=plain_answers(answers_for(dataset)))
    train(CLASSIFIER, dataset, teacher_answers, runs / "finished", progress=False)
    return runs / "finished"


def refused(work: Callable[[], object]) -> AspectsError:
    with pytest.raises(AspectsError) as raised:
        work()
    return raised.value


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_run_is_one_line_in_train_evaluate_and_export(
    finished: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path, name: str, damage: Damage
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    damage(run / name)
    before = {path.name: path.lstat().st_mtime_ns for path in run.iterdir()}
    errors = [
        refused(lambda: train(CLASSIFIER, dataset, plain, run, progress=False)),
        refused(lambda: evaluate(run, dataset, plain.image)),
        refused(lambda: export(run, tmp_path / "out", ["safetensors"])),
    ]
    for error in errors:
        assert isinstance(error, RunInvalid)
        assert name in str(error)
        assert "\n" not in str(error)
        assert any(advice in str(error) for advice in ("delete", "train one with"))
    assert {path.name: path.lstat().st_mtime_ns for path in run.iterdir()} == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", [99, 2.5, "99", "3.0.0"])
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_run_of_a_newer_release_is_refused(
    finished: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path, name: str, version: object
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    changed(version=version, new_field=1)(run / name)
    for work in (
        lambda: train(CLASSIFIER, dataset, plain, run, progress=False),
        lambda: evaluate(run, dataset, plain.image),
        lambda: export(run, tmp_path / "out"),
    ):
        assert isinstance(error := refused(work), VersionUnsupported)
        assert f"{name} was written by a newer release (version {version}," in str(error)


def test_fields_of_a_later_release_are_ignored(
    finished: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    values = json.loads((run / "run.json").read_text())
    values["config"]["new_setting"] = values["new_field"] = 1
    values["aspects"][0]["new_field"] = 1
    (run / "run.json").write_text(json.dumps(values))
    result = json.loads((run / "result.json").read_text())
    del result["run"]  # the digest of what run.json was
    result["epochs"][0]["new_field"] = 1
    (run / "result.json").write_text(json.dumps(result | {"new_field": 1}))
    found = train(CLASSIFIER, dataset, plain, run, progress=False, on_epoch=lambda log: pytest.fail("trained again"))
    assert dataclasses.replace(found, run_dir=finished) == load_run(finished)


@pytest.mark.parametrize("name", ["run.json", "result.json", "student.safetensors"])
def test_a_file_that_cannot_be_read_now_is_not_a_missing_one(
    finished: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path, name: str
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / name).unlink()
    (run / name).symlink_to("/proc/self/mem")  # a file whose reading is an input/output error
    for work in (
        lambda: train(CLASSIFIER, dataset, plain, run, progress=False),
        lambda: evaluate(run, dataset, plain.image),
        lambda: export(run, tmp_path / "out"),
    ):
        assert isinstance(error := refused(work), StorageUnavailable)
        assert f"cannot read {run / name}" in str(error)


@pytest.mark.parametrize(
    "damage", [other_weights, one_shape_changed, truncated(0.5), Path.unlink], ids=["names", "shapes", "cut", "missing"]
)
def test_the_weights_of_an_old_run_have_no_digest_but_have_to_fit(
    runs: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path, damage: Damage
) -> None:
    run = Path(shutil.copytree(runs / "classifier", tmp_path / "run"))
    damage(run / "student.safetensors")
    for work in (lambda: evaluate(run, dataset, plain.image), lambda: export(run, tmp_path / "out", ["safetensors"])):
        assert str(run / "student.safetensors") in str(refused(work))


def test_old_runs_are_read_and_not_trained_again(
    runs: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs / "classifier", tmp_path / "run"))
    found = train(CLASSIFIER, dataset, plain, run, progress=False, on_epoch=lambda log: pytest.fail("trained again"))
    assert (found.best_epoch, len(found.epochs), found.weights) == (3, 3, None)
    before = read_evaluation(run, "test")
    assert before is not None
    again = evaluate(run, dataset, plain.image)
    assert (again.digest, again.top1) == (before.digest, before.top1)
    assert json.loads((run / "evaluation-test.json").read_text())["version"] == 2
    assert export(run, tmp_path / "out", ["safetensors"]).files


@pytest.mark.parametrize("damage", [written(b""), written(b"5"), changed(top1="high"), truncated(0.5), a_folder])
def test_a_damaged_evaluation_is_none(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage
) -> None:
    run = Path(shutil.copytree(runs / "classifier", tmp_path / "run"))
    damage(run / "evaluation-test.json")
    assert read_evaluation(run, "test") is None
    assert capsys.readouterr().err == f"note: {run / 'evaluation-test.json'} is damaged; evaluating again\n"


def test_another_score_is_not_believed(finished: Path, dataset: FileDataset, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    before = evaluate(run, dataset)
    assert read_evaluation(run, "test") == before
    changed(top1=1 - before.top1)(run / "evaluation-test.json")
    assert read_evaluation(run, "test") is None


@pytest.mark.parametrize("version", [99, 2.5, "99"])
def test_a_newer_evaluation_is_refused(runs: Path, tmp_path: Path, version: object) -> None:
    run = Path(shutil.copytree(runs / "classifier", tmp_path / "run"))
    changed(version=version)(run / "evaluation-test.json")
    assert isinstance(refused(lambda: read_evaluation(run, "test")), VersionUnsupported)

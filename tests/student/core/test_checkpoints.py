"""Checkpoints that are damaged, and those of release 0.1.0."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.datasets import FileDataset, image_folder
from storage.errors import RunFailed, StorageUnavailable, VersionUnsupported
from student.classification.examples import TeacherAnswers
from student.classification.runs import load_run
from student.classification.task import ClassifierTask
from student.classification.training import train
from student.core.files import RunInvalid
from tests.student.conftest import answers_for
from tests.student.damage import Damage, Evil, a_folder, a_pipe, flipped, saved, truncated, written
from tests.student.old_runs import CLASSIFIER, plain_answers, unpack_old_runs

CHECKPOINTS = {
    "empty": written(b""),
    "truncated": truncated(0.6),
    "garbage": written(bytes(range(256)) * 100),
    "a list": saved([1, 2, 3]),
    "a number": saved(5),
    "a tensor": saved(torch.zeros(3)),
    "no fields": saved({}),
    "fields of other types": saved({"student": [], "optimizer": 3, "epochs": {}}),
    "of another network": saved({"student": {"a": torch.zeros(2)}, "optimizer": {}, "epochs": []}),
    "code": written(pickle.dumps(Evil())),
    "folder": a_folder,
    "pipe": a_pipe,
    **{f"bit flipped at {share}": flipped(share) for share in (0.01, 0.5, 0.9)},
}
FILES = {"run.json", "result.json", "student.safetensors", "tensorboard", "calibration.json", "class-profile.json"}


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, image_root: Path) -> Path:
    """A run of this release that was stopped after two epochs of three, and a whole one."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = image_folder(image_root, name="colours")
    teacher_answers = TeacherAnswers(image=plain_answers(answers_for(dataset)))
    torch.set_num_threads(1)

    def stop(log: object) -> None:
        if len(list((folder / "stopped").glob("checkpoint*.pt"))) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(CLASSIFIER, dataset, teacher_answers, folder / "stopped", progress=False, on_epoch=stop)
    train(CLASSIFIER, dataset, teacher_answers, folder / "whole", progress=False)
    return folder


@pytest.fixture
def stopped(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs / "stopped", tmp_path / "run"))


@pytest.fixture
def plain(dataset: FileDataset) -> TeacherAnswers:
    return TeacherAnswers(image=plain_answers(answers_for(dataset)))


def train_on(dataset: FileDataset, plain: TeacherAnswers, run: Path) -> list[int]:
    """The epochs that are trained until the run is finished."""
    epochs: list[int] = []
    train(CLASSIFIER, dataset, plain, run, progress=False, on_epoch=lambda log: epochs.append(log.epoch))
    assert {path.name for path in run.iterdir()} == FILES
    return epochs


@pytest.mark.parametrize("damage", [pytest.param(damage, id=what) for what, damage in CHECKPOINTS.items()])
def test_after_a_damaged_checkpoint_the_run_goes_on_from_the_one_before(
    runs: Path,
    stopped: Path,
    dataset: FileDataset,
    plain: TeacherAnswers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: Damage,
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(stopped / "checkpoint.pt")
    assert train_on(dataset, plain, stopped) == [2, 3]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {stopped / 'checkpoint.pt'} cannot be used (")
    assert line.endswith("); training resumes after epoch 1")
    assert not (tmp_path / "executed").exists()
    assert load_run(stopped).weights == load_run(runs / "whole").weights


def test_without_any_whole_checkpoint_it_starts_again(
    runs: Path, stopped: Path, dataset: FileDataset, plain: TeacherAnswers, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        truncated(0.5)(stopped / name)
    assert train_on(dataset, plain, stopped) == [1, 2, 3]
    lines = capsys.readouterr().err.splitlines()
    assert [line.endswith("; training starts again") for line in lines] == [True, True]
    assert load_run(stopped).weights == load_run(runs / "whole").weights


def test_training_resumes_from_a_whole_checkpoint(
    runs: Path, stopped: Path, dataset: FileDataset, plain: TeacherAnswers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_on(dataset, plain, stopped) == [3]
    assert capsys.readouterr().err == ""
    assert load_run(stopped).weights == load_run(runs / "whole").weights


def test_a_kill_between_two_checkpoints_costs_one_epoch(
    stopped: Path, dataset: FileDataset, plain: TeacherAnswers, capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped / "checkpoint.pt").unlink()
    assert train_on(dataset, plain, stopped) == [2, 3]
    assert capsys.readouterr().err == ""


def test_the_checkpoint_of_another_run_is_not_used(
    stopped: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"

    def stop(log: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(CLASSIFIER.replace(seed=1), dataset, plain, other, progress=False, on_epoch=stop)
    shutil.copy(other / "checkpoint.pt", stopped / "checkpoint.pt")
    assert train_on(dataset, plain, stopped) == [2, 3]
    assert "(it is another run's)" in capsys.readouterr().err


def test_training_resumes_from_an_old_checkpoint(dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path) -> None:
    run = unpack_old_runs(tmp_path) / "classifier-stopped"
    assert train_on(dataset, plain, run) == [3]
    assert [log.epoch for log in load_run(run).epochs] == [1, 2, 3]


def test_weights_that_change_while_training_goes_on_are_not_the_result(
    runs: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path
) -> None:
    def damage(log: Any) -> None:
        if log.epoch == 3:
            flipped(0.5)(tmp_path / "student.safetensors")

    with pytest.raises(RunFailed, match=r"student\.safetensors was changed while training ran; give the same"):
        train(CLASSIFIER, dataset, plain, tmp_path, progress=False, on_epoch=damage)
    assert train_on(dataset, plain, tmp_path) == [3]
    assert load_run(tmp_path).weights == load_run(runs / "whole").weights


def test_a_larger_network_with_damaged_weights_is_not_learned_from(
    runs: Path, dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path
) -> None:
    network = Path(shutil.copytree(runs / "whole", tmp_path / "network"))
    flipped(0.5)(network / "student.safetensors")
    config = CLASSIFIER.replace(method="kd", network=str(network))
    with pytest.raises(RunInvalid, match=r"network/student\.safetensors cannot be read \(its SHA-256 is not"):
        train(config, dataset, plain, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_best_epochs_weights_are_kept_over_a_stop(
    dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path
) -> None:
    config = CLASSIFIER.replace(keep="best")

    def stop(log: Any) -> None:
        if log.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(config, dataset, plain, tmp_path, progress=False, on_epoch=stop)
    run = train(config, dataset, plain, tmp_path, progress=False)
    assert run.weights == hashlib.sha256((tmp_path / "student.safetensors").read_bytes()).hexdigest()


def test_the_best_weights_of_the_checkpoint_outlive_better_ones_that_are_not_reached_again(
    dataset: FileDataset, plain: TeacherAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CLASSIFIER.replace(keep="best", epochs=6, warmup=0, checkpoint_every=2, val_fraction=0.25)
    best: list[str] = []

    def measures(*top1: float) -> None:
        monkeypatch.setattr(ClassifierTask, "measure", lambda _, epoch: {"val_top1": top1[epoch - 1], "val_loss": 1.0})

    def stop(log: Any) -> None:
        best.append(hashlib.sha256((tmp_path / "student.safetensors").read_bytes()).hexdigest())
        if log.epoch == 3:
            raise Stopped

    measures(0.5, 0.4, 0.7, 0.4, 0.4, 0.4)
    with pytest.raises(Stopped):
        train(config, dataset, plain, tmp_path, progress=False, on_epoch=stop)
    assert best[0] == best[1] != best[2]
    measures(0.5, 0.4, 0.49, 0.4, 0.4, 0.4)  # on another device epoch 3 comes out worse
    run = train(config, dataset, plain, tmp_path, progress=False)
    assert (run.best_epoch, run.weights) == (1, best[0])
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_newer_checkpoint_is_refused(stopped: Path, dataset: FileDataset, plain: TeacherAnswers) -> None:
    saved({"version": 99})(stopped / "checkpoint.pt")
    with pytest.raises(VersionUnsupported, match=r"checkpoint\.pt was written by a newer release \(version 99"):
        train(CLASSIFIER, dataset, plain, stopped, progress=False)


def test_a_checkpoint_that_cannot_be_read_now_is_not_a_missing_one(
    stopped: Path, dataset: FileDataset, plain: TeacherAnswers
) -> None:
    (stopped / "checkpoint.pt").unlink()
    (stopped / "checkpoint.pt").symlink_to("/proc/self/mem")
    with pytest.raises(StorageUnavailable, match=r"cannot read .*checkpoint\.pt"):
        train(CLASSIFIER, dataset, plain, stopped, progress=False)


def test_a_folder_with_files_in_its_place_is_refused(
    stopped: Path, dataset: FileDataset, plain: TeacherAnswers
) -> None:
    a_folder(stopped / "checkpoint.pt")
    (stopped / "checkpoint.pt" / "mine").touch()
    with pytest.raises(RunInvalid, match="it is a folder"):
        train(CLASSIFIER, dataset, plain, stopped, progress=False)

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from storage.answers.read import Answers
from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import Examples, TeacherAnswers
from student.classification.methods import method_named
from student.classification.model import Logits, Student
from student.classification.objective import Objective
from student.classification.runs import EpochLog, load_run
from student.classification.task import balanced_weights, has_stopped, kept_epoch
from student.classification.training import ClassificationTask, train
from student.core.examples import ExamplesInvalid
from tests.flows.processes import wait_until
from tests.student.stopping import Stopped, stop_after

PROJECT = Path(__file__).parents[3]

# Trains in a process of its own until somebody kills it.
TRAIN_SCRIPT = """
import json, sys, torch
from pathlib import Path
from storage.datasets import image_folder
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from tests.student.conftest import answers_for
torch.set_num_threads(1)
dataset = image_folder(Path(sys.argv[1]), name="colours")
config = StudentConfig.from_dict(json.loads(sys.argv[3]))
train(config, dataset, TeacherAnswers(image=answers_for(dataset)), Path(sys.argv[2]), progress=False)
"""


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_run(run_dir).load().state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    expected, found = weights_of(one), weights_of(other)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "val_fraction": 0.0, "sampler": "balanced"},
        {"optimizer": "adamw", "lr": 0.002, "policy": "trivial", "precision": "bf16-mixed", "balance": "is_warm"},
        {"ema": 0.9, "accumulate": 2, "layer_decay": 0.7, "selective_decay": True, "class_weights": "balanced"},
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    config: StudentConfig,
    dataset: FileDataset,
    teacher_answers: TeacherAnswers,
    tmp_path: Path,
    changes: dict[str, object],
) -> None:
    config = config.replace(**changes)

    whole = train(config, dataset, teacher_answers, tmp_path / "whole", progress=False)
    with pytest.raises(Stopped):
        train(config, dataset, teacher_answers, tmp_path / "stopped", progress=False, on_epoch=stop_after(2))
    torch.manual_seed(99)  # what the process did in between is of no account
    epochs: list[int] = []
    went_on = train(
        config,
        dataset,
        teacher_answers,
        tmp_path / "stopped",
        progress=False,
        on_epoch=lambda log: epochs.append(log.epoch),
    )
    assert epochs == [3]
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert [log.loss for log in went_on.epochs] == [log.loss for log in whole.epochs]


def test_a_killed_run_goes_on_to_the_same_bits(
    config: StudentConfig, image_root: Path, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    config = config.replace(epochs=40, val_fraction=0.0)
    arguments = [sys.executable, "-c", TRAIN_SCRIPT, str(image_root), str(tmp_path / "killed")]
    command = [*arguments, json.dumps(config.to_dict())]
    process: subprocess.Popen[bytes] = subprocess.Popen(command, cwd=PROJECT, env=os.environ)
    try:
        wait_until((tmp_path / "killed" / "checkpoint.pt").exists, 240, "the first checkpoint", process)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "result.json").exists()
    train(config, dataset, teacher_answers, tmp_path / "killed", progress=False)
    train(config, dataset, teacher_answers, tmp_path / "whole", progress=False)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")


def test_a_finished_run_returns_at_once(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    first = train(config, dataset, teacher_answers, tmp_path, progress=False)
    before = (tmp_path / "student.safetensors").stat().st_mtime_ns
    again = train(
        config, dataset, teacher_answers, tmp_path, progress=False, on_epoch=lambda log: pytest.fail("trained again")
    )
    assert again == first
    assert (tmp_path / "student.safetensors").stat().st_mtime_ns == before
    assert not list(tmp_path.glob("*.uint8"))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_it_learns_the_colours_and_the_aspects(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    run = train(config.replace(epochs=8), dataset, teacher_answers, tmp_path, progress=False)
    assert run.epochs[-1].classification < run.epochs[0].classification
    assert run.epochs[-1].aspects < run.epochs[0].aspects
    assert run.val_top1 == 1.0
    assert (run.train_images, run.val_images, run.dropped_images) == (18, 6, 0)


def test_the_base_method_needs_no_answers_and_is_what_alpha_0_trains(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    config = config.replace(epochs=2, warmup=0)
    train(config.replace(method="base"), dataset, TeacherAnswers(), tmp_path / "none", progress=False)
    train(config.replace(alpha=0.0), dataset, teacher_answers, tmp_path / "zero", progress=False)
    assert load_run(tmp_path / "none").load().aspects == 0
    assert_same_weights(tmp_path / "none", tmp_path / "zero")


def test_images_without_answers_are_refused_or_dropped(
    config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    yes = answers.yes.copy()
    yes[[0, 9]] = float("nan")
    partly = TeacherAnswers(image=dataclasses.replace(answers, yes=yes))
    with pytest.raises(ExamplesInvalid, match=r"2 of 24 training images of dataset 'colours' have no answer"):
        train(config, dataset, partly, tmp_path / "refused", progress=False)
    run = train(config.replace(missing_answers="drop"), dataset, partly, tmp_path / "dropped", progress=False)
    assert run.dropped_images == 2


def test_the_kept_epoch_is_the_last_or_validations_best(config: StudentConfig) -> None:
    def log(epoch: int, val_top1: float | None) -> EpochLog:
        return EpochLog(
            epoch=epoch, loss=0, classification=0, aspects=0, distillation=0, inner=0, lr=0,
            val_top1=val_top1, val_loss=None, images_per_second=0, seconds=0,
        )  # fmt: skip

    logs = [log(1, 0.5), log(2, 0.7), log(3, 0.7), log(4, 0.6)]
    assert kept_epoch(config.replace(epochs=4, keep="best"), logs) == 3
    assert kept_epoch(config.replace(epochs=4, keep="last"), logs) == 4
    assert kept_epoch(config.replace(epochs=2, keep="best"), [log(1, None), log(2, None)]) == 2


def test_recommended_is_what_suits_the_answers(
    config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    config = config.replace(method="recommended")
    about_classes = TeacherAnswers(classes=answers)
    run = train(config, dataset, about_classes, tmp_path / "classes", progress=False)
    assert run.description.config.method == "recommended-classes"
    assert [aspect.link for aspect in run.description.aspects] == ["probability", "probability"]
    assert train(config, dataset, about_classes, tmp_path / "classes", progress=False) == run
    both = train(config, dataset, TeacherAnswers(image=answers, classes=answers), tmp_path / "both", progress=False)
    assert both.description.config.method == "recommended"


def test_a_student_whose_logits_overflow_in_evaluation_is_finished_without_a_calibration(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflow = (torch.full((6, 3), torch.nan), torch.zeros(6, dtype=torch.long))
    monkeypatch.setattr(ClassificationTask, "validation_logits", lambda task: iter([overflow]))
    run = train(config.replace(epochs=1, warmup=0, method="base"), dataset, TeacherAnswers(), tmp_path, progress=False)
    assert run.val_images == 6
    assert not (tmp_path / "calibration.json").exists()


def log_of(epoch: int, val_top1: float | None) -> EpochLog:
    return EpochLog(
        epoch=epoch, loss=0, classification=0, aspects=0, distillation=0, inner=0, lr=0,
        val_top1=val_top1, val_loss=None, images_per_second=0, seconds=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("top1s", "stopped"),
    [
        ([0.5], False),
        ([0.5, 0.5], False),
        ([0.5, 0.5, 0.4], True),
        ([0.5, 0.4, 0.6], False),
        ([None, None, None], False),
    ],
)
def test_training_stops_after_epochs_without_a_better_one(
    config: StudentConfig, top1s: list[float | None], stopped: bool
) -> None:
    logs = [log_of(epoch, top1) for epoch, top1 in enumerate(top1s, start=1)]
    assert has_stopped(config.replace(patience=2), logs) is stopped
    assert not has_stopped(config, logs)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_that_stops_early_is_finished_and_resumes_as_one(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClassificationTask, "measure", lambda task, epoch: {"val_top1": 1 / epoch, "val_loss": 0.0})
    config = config.replace(method="base", epochs=9, patience=2, keep=keep)

    with pytest.raises(Stopped):
        train(config, dataset, TeacherAnswers(), tmp_path, progress=False, on_epoch=stop_after(3))
    run = train(
        config, dataset, TeacherAnswers(), tmp_path, progress=False, on_epoch=lambda log: pytest.fail("trained")
    )
    assert (len(run.epochs), run.best_epoch) == (3, 1 if keep == "best" else 3)
    assert load_run(tmp_path) == run


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_an_average_is_kept_and_resumed_on_a_gpu(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    config = config.replace(accelerator="cuda", ema=0.9, optimizer="adamw", lr=0.002, epochs=3, checkpoint_every=1)

    whole = train(config, dataset, teacher_answers, tmp_path / "whole", progress=False)
    with pytest.raises(Stopped):
        train(config, dataset, teacher_answers, tmp_path / "stopped", progress=False, on_epoch=stop_after(2))
    resumed = train(config, dataset, teacher_answers, tmp_path / "stopped", progress=False)
    assert resumed.epochs[-1].loss == pytest.approx(whole.epochs[-1].loss, rel=1e-3)


def test_rare_classes_weigh_as_much_as_others() -> None:
    labels = torch.tensor([0, 0, 0, 1, -1, 1])
    examples = Examples(
        train_indices=torch.tensor([0, 1, 2, 3, 4]),
        val_indices=torch.tensor([5]),
        labels_N=labels,
        targets=(),
        aspects=(),
    )
    weights = balanced_weights(examples, 2)
    assert weights.tolist() == pytest.approx([4 / 6, 4 / 2])
    objective = Objective(method=method_named("base"), examples=examples, class_weights_C=weights)
    logits = torch.randn(5, 2)
    found = objective(Logits(logits, torch.zeros(5, 0)), examples.train_indices)["classification"]
    expected = torch.nn.functional.cross_entropy(logits[:4], labels[:4], weight=weights)
    torch.testing.assert_close(found, expected)


def test_the_backbone_is_compiled_where_asked(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(Student, "compile", lambda student: compiled.append(student))
    config = config.replace(method="base", epochs=1, warmup=0)
    plain = train(config, dataset, TeacherAnswers(), tmp_path, progress=False)
    assert not compiled
    again = train(config.replace(compile=True), dataset, TeacherAnswers(), tmp_path, progress=False)
    assert again == plain  # the same run
    train(config.replace(compile=True), dataset, TeacherAnswers(), tmp_path / "compiled", progress=False)
    assert len(compiled) == 1

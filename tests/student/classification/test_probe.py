"""Linear probes: the last layers, trained on features that are computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from storage.datasets import FileDataset
from storage.datasets.base import select
from student.classification import features as features_module
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate, predict_logits
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.export import export
from student.classification.features import backbone_features
from student.classification.grid import StudentGrid
from student.classification.images import evaluation_cache
from student.classification.model import build_student
from student.classification.runs import load_run
from student.classification.trainable import require_trainable
from student.classification.training import train
from student.core.export_folder import ExportInvalid
from student.core.setting_errors import ConfigInvalid
from tests.student.classification.conftest import VARIANTS
from tests.student.stopping import Stopped, stop_after


def body_of(run_dir: Path) -> dict[str, Tensor]:
    """The weights of a finished run below its last layers."""
    state = load_run(run_dir).load().network.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_probe_resumes_to_the_same_bits_and_leaves_the_backbone_alone(
    probe: StudentConfig,
    dataset: FileDataset,
    teacher_answers: TeacherAnswers,
    weights: Path,
    tmp_path: Path,
    name: str,
) -> None:
    probe = probe.replace(**VARIANTS[name])

    whole = train(probe, dataset, teacher_answers, tmp_path / "whole", progress=False)
    with pytest.raises(Stopped):
        train(probe, dataset, teacher_answers, tmp_path / "stopped", progress=False, on_epoch=stop_after(2))
    resumed = train(probe, dataset, teacher_answers, tmp_path / "stopped", progress=False)
    assert [log.loss for log in resumed.epochs] == [log.loss for log in whole.epochs]
    assert (tmp_path / "whole/student.safetensors").read_bytes() == (
        tmp_path / "stopped/student.safetensors"
    ).read_bytes()
    start = torch.load(weights, weights_only=True)
    assert all(torch.equal(tensor, start[key]) for key, tensor in body_of(tmp_path / "whole").items())
    assert not whole.load().stages
    assert not list(tmp_path.rglob("*.uint8"))


@pytest.mark.parametrize("changes", [{}, {"hidden": 6}])
def test_the_whole_network_computes_what_the_probe_learned(
    probe: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path, changes: dict[str, Any]
) -> None:
    probe = probe.replace(epochs=12, keep="best", val_fraction=0.5, **changes)
    run = train(probe, dataset, teacher_answers, tmp_path / "run", progress=False)
    records = select(dataset, ("test",))
    with evaluation_cache(probe, dataset, records, tmp_path) as images:
        whole = predict_logits(run.load(), images, progress=False)
        known = torch.from_numpy(backbone_features(probe, images))
        with torch.no_grad():
            short = run.load().classify(known)
        torch.testing.assert_close(short.class_logits_BC, whole.class_logits_BC, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(short.aspect_logits_BQ, whole.aspect_logits_BQ, atol=1e-4, rtol=1e-4)
        given = evaluate(tmp_path / "run", dataset, images=images, features=known)
        found = evaluate(tmp_path / "run", dataset, images=images)
    assert given == found
    assert run.epochs[-1].loss < run.epochs[0].loss


def test_features_are_what_the_last_layer_is_given(probe: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    with evaluation_cache(probe, dataset, select(dataset, ("test",)), tmp_path) as images:
        found = backbone_features(probe, images)
        with torch.no_grad():
            logits = predict_logits(build_student(probe, classes=4, aspects=0), images, progress=False)
            again = build_student(probe, classes=4, aspects=0).classify(torch.from_numpy(found))
    assert found.shape == (12, 8)
    assert found.dtype == np.float32
    torch.testing.assert_close(again.class_logits_BC, logits.class_logits_BC)


def test_an_experiment_computes_features_once(
    probe: StudentConfig,
    dataset: FileDataset,
    teacher_answers: TeacherAnswers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes: list[int] = []
    over_batches = features_module.over_batches

    def counted(student: Any, compute: Any, batches: Any, images: int, *, progress: bool) -> Tensor:
        passes.append(images)
        return over_batches(student, compute, batches, images, progress=progress)

    for module in ("features", "probe"):
        monkeypatch.setattr(f"student.classification.{module}.over_batches", counted)
    settings = {**probe.to_dict(), "epochs": 1, "views": 2}
    grid = StudentGrid(settings=settings, axes={"method": ["base", "makd"], "hidden": [None, 4]}, seeds=[0, 1])
    results = run_experiment(grid, dataset, teacher_answers, tmp_path, progress=False)
    assert len(results.table) == 8
    assert passes == [24, 24, 12]  # two views of the training images, one of the test images


def test_a_probe_of_a_kd_teacher_learns_its_logits(
    probe: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    train(probe.replace(method="base"), dataset, TeacherAnswers(), tmp_path / "teacher", progress=False)
    learning = probe.replace(method="kd", network=str(tmp_path / "teacher"), views=2)
    run = train(learning, dataset, teacher_answers, tmp_path / "student", progress=False)
    assert 0 < run.epochs[-1].distillation < run.epochs[0].distillation


def test_a_hidden_layer_is_exported_as_onnx_alone(
    probe: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    train(probe.replace(hidden=6, epochs=1), dataset, teacher_answers, tmp_path / "run", progress=False)
    with pytest.raises(ExportInvalid, match="has a hidden layer before its outputs, which no timm model has") as raised:
        export(tmp_path / "run", tmp_path / "export")
    assert "\n" not in str(raised.value)
    assert "model.onnx" in export(tmp_path / "run", tmp_path / "export", ["onnx"]).files
    assert "model.onnx" in export(tmp_path / "run", tmp_path / "kept", ["onnx"], keep_aspects=True).files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "freeze trains on the features of a pretrained backbone"),
        ({"mixup": 0.2}, "mixup mixes pixels, and freeze trains on features"),
        ({"devices": 2}, "freeze trains on one device"),
        ({"compile": True}, "compile is for training the backbone"),
        ({"backbone": "torchvision:resnet18", "weights": None}, "freeze needs a backbone of timm"),
        (
            {"backbone": "deit_tiny_distilled_patch16_224", "weights": None, "hidden": 8, "freeze": False},
            "does not end in a single linear",
        ),
    ],
)
def test_settings_that_a_probe_does_not_support_are_rejected_in_one_line(
    probe: StudentConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message) as raised:
        require_trainable(probe.replace(**changes))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("freeze", [True, False])
def test_images_without_a_label_learn_by_the_features_of_the_backbone(
    freeze: bool, probe: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    """Without answers they would teach nothing: labelled images stand in for them."""
    few = probe.replace(freeze=freeze, labels_per_class=1)
    runs = {
        name: train(few.replace(method=name), dataset, teacher_answers, tmp_path / name, progress=False)
        for name in ("base", "self-training", "recommended")
    }
    assert {name: run.train_images for name, run in runs.items()} == {"base": 3, "self-training": 24, "recommended": 24}
    assert {name: run.epochs[0].distillation > 0 for name, run in runs.items()} == {
        "base": False,
        "self-training": True,
        "recommended": True,
    }


def test_fixmatch_compares_views(
    probe: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    few = probe.replace(labels_per_class=1, lr=5.0)
    with pytest.raises(ConfigInvalid, match="freeze computes the evaluation's alone; give --set views=4"):
        few.replace(method="fixmatch")
    with pytest.raises(ConfigInvalid, match="mixup mixes images"):
        few.replace(freeze=False, method="fixmatch", mixup=0.2)
    for name, config in (("frozen", few.replace(views=2, policy="rand")), ("all", few.replace(freeze=False))):
        run = train(config.replace(method="fixmatch"), dataset, teacher_answers, tmp_path / name, progress=False)
        assert run.train_images == 24
        assert max(log.distillation for log in run.epochs) > 0

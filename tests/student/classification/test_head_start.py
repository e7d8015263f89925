"""Students on a pretrained backbone whose last layers learn before the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from storage.datasets import FileDataset
from student.classification import head_start
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.model import create_network
from student.classification.runs import load_run
from student.classification.training import train
from tests.student.classification.conftest import VARIANTS
from tests.student.stopping import Stopped, stop_after

STARTS: dict[str, dict[str, Any]] = {
    **VARIANTS,
    "few labels": {"method": "fixmatch+recommended", "labels_per_class": 1, "sampler": "balanced"},
}


@pytest.fixture
def started(probe: StudentConfig) -> StudentConfig:
    """A student whose last layers learn before the rest."""
    return probe.replace(freeze=False, probe_epochs=20, epochs=3, lr=0.01)


@pytest.mark.parametrize("name", STARTS)
def test_a_student_with_a_head_start_resumes_to_the_same_bits(
    started: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path, name: str
) -> None:
    started = started.replace(**STARTS[name])

    whole = train(started, dataset, teacher_answers, tmp_path / "whole", progress=False)
    with pytest.raises(Stopped):
        train(started, dataset, teacher_answers, tmp_path / "stopped", progress=False, on_epoch=stop_after(2))
    train(started, dataset, teacher_answers, tmp_path / "stopped", progress=False)
    weights = "student.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "stopped" / weights).read_bytes()
    cold = train(started.replace(probe_epochs=0), dataset, teacher_answers, tmp_path / "cold", progress=False)
    assert whole.epochs[0].classification != cold.epochs[0].classification


def test_the_head_start_is_the_probe_of_the_untrained_backbone(
    started: StudentConfig, weights: Path, dataset: FileDataset, tmp_path: Path
) -> None:
    still = started.replace(method="base", lr=1e-12, epochs=1, probe_epochs=50, cache_size=32)
    train(still, dataset, TeacherAnswers(), tmp_path / "started", progress=False)
    settings = {"optimizer": "adamw", "lr": 3e-3, "weight_decay": 1.0, "batch_size": 64, "epochs": 50}
    frozen = still.replace(freeze=True, probe_epochs=0, **settings)
    train(frozen, dataset, TeacherAnswers(), tmp_path / "probe", progress=False)
    found, wanted = (load_run(tmp_path / name).load().network.state_dict() for name in ("started", "probe"))
    torch.testing.assert_close(found["fc.weight"], wanted["fc.weight"], atol=1e-3, rtol=1e-2)
    start = torch.load(weights, weights_only=True)
    torch.testing.assert_close(found["layer1.0.conv1.weight"], start["layer1.0.conv1.weight"])


def test_the_first_update_of_all_layers_is_by_its_own_batch(
    started: StudentConfig, dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[torch.Tensor | None] = []
    drops: list[bool] = []

    def note_dropout(module: nn.Module, *_: Any) -> None:
        drops.append(module.training)

    def start(task: Any, features_ND: torch.Tensor) -> None:
        (dropout,) = [module for module in task.student.modules() if isinstance(module, nn.Dropout) and module.p > 0]
        hook = dropout.register_forward_hook(note_dropout)
        head_start.start_head(task, features_ND)
        hook.remove()
        left.extend(parameter.grad for parameter in task.student.parameters())

    monkeypatch.setattr("student.classification.training.start_head", start)
    hidden = started.replace(method="base", epochs=1, warmup=0, hidden=8, drop_rate=0.5)
    train(hidden, dataset, TeacherAnswers(), tmp_path / "run", progress=False)
    assert left
    assert all(gradient is None for gradient in left)
    assert set(drops) == {True}  # the hidden layer's


def test_a_backbone_without_a_single_last_layer_is_trained_at_once(
    started: StudentConfig, dataset: FileDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_heads = started.replace(backbone="deit_tiny_distilled_patch16_224", weights=None, method="base", epochs=1)
    torch.save(create_network(two_heads, outputs=5).state_dict(), tmp_path / "two.pth")
    two_heads = two_heads.replace(weights=str(tmp_path / "two.pth"))

    asked = train(two_heads, dataset, TeacherAnswers(), tmp_path / "asked", progress=False)
    assert "probe_epochs is skipped, all layers are trained at once" in capsys.readouterr().err
    plain = train(two_heads.replace(probe_epochs=0), dataset, TeacherAnswers(), tmp_path / "plain", progress=False)
    assert asked.epochs[0].loss == plain.epochs[0].loss
    assert "note" not in capsys.readouterr().err


def test_of_very_many_images_no_features_are_computed(
    started: StudentConfig,
    dataset: FileDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_start, "MOST_IMAGES", 23)
    run = train(started.replace(method="base"), dataset, TeacherAnswers(), tmp_path / "run", progress=False)
    assert "note: there are 24 training images, more than 23; probe_epochs is skipped" in capsys.readouterr().err
    cold = train(
        started.replace(method="base", probe_epochs=0), dataset, TeacherAnswers(), tmp_path / "cold", progress=False
    )
    assert run.epochs[-1].loss == cold.epochs[-1].loss


@pytest.mark.parametrize("probe_epochs", [0, 2])
def test_after_a_probe_batch_normalisation_keeps_its_statistics(
    probe_epochs: int, started: StudentConfig, weights: Path, dataset: FileDataset, tmp_path: Path
) -> None:
    config = started.replace(method="base", probe_epochs=probe_epochs)
    run = train(config, dataset, TeacherAnswers(), tmp_path / "run", progress=False)
    start, trained = torch.load(weights, weights_only=True), run.load().network.state_dict()
    kept = [torch.equal(start[name], trained[name]) for name in start if "running" in name]
    assert kept == [probe_epochs > 0] * len(kept)
    assert not torch.equal(start["bn1.weight"], trained["bn1.weight"])


def test_nothing_is_started_where_nothing_is_pretrained_or_everything_frozen(started: StudentConfig) -> None:
    assert started.effective().probe_epochs == 20
    assert started.replace(weights=None).effective().probe_epochs == 0
    assert started.replace(freeze=True).effective().probe_epochs == 0

"""Weights from files: by name, by order, or refused in one line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from storage.datasets import FileDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.model import create_network
from student.classification.runs import RunDescription
from student.core.files import RunInvalid
from student.core.pretrained import digest_of_weights_file
from student.core.runs import open_run
from student.core.setting_errors import ConfigInvalid
from tests.student.small_backbone import SMALL_BACKBONE

CLASSES = 5


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/this-was-run",)


def config_of(weights: Path | None, backbone: str = SMALL_BACKBONE, image_size: int = 32) -> StudentConfig:
    named = None if weights is None else str(weights)
    return StudentConfig(backbone=backbone, image_size=image_size, epochs=1, method="base", weights=named)


@pytest.fixture
def state() -> dict[str, Tensor]:
    """Of a network of other weights than seed 0 draws."""
    config = config_of(None).replace(seed=7)
    return {name: tensor.contiguous() for name, tensor in create_network(config, outputs=CLASSES).state_dict().items()}


def saved(folder: Path, state: Any, name: str = "weights.pth") -> Path:
    path = folder / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As another library names and keeps them: without counters of batches."""
    kept = [tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")]
    return {f"layer.{number}": tensor for number, tensor in enumerate(kept)}


@pytest.mark.parametrize(
    ("name", "wrap"), [("weights.safetensors", dict), ("weights.pth", dict), ("weights.pth", renamed)]
)
def test_a_file_is_loaded_by_name_or_by_order(
    state: dict[str, Tensor], tmp_path: Path, name: str, wrap: Callable[[Any], Any]
) -> None:
    path = saved(tmp_path, wrap(state), name)
    loaded = create_network(config_of(path), outputs=CLASSES).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("wrap", [dict, renamed])
def test_a_classifier_of_other_classes_is_drawn_by_the_seed(
    state: dict[str, Tensor], tmp_path: Path, wrap: Callable[[Any], Any]
) -> None:
    path = saved(tmp_path, {"state_dict": wrap(state)})
    loaded = create_network(config_of(path), outputs=CLASSES + 2).state_dict()
    drawn = create_network(config_of(None), outputs=CLASSES + 2).state_dict()
    for name, tensor in state.items():
        assert torch.equal(loaded[name], drawn[name] if name.startswith("fc.") else tensor), name


def test_position_embeddings_are_resampled_to_the_image_size(tmp_path: Path) -> None:
    larger = timm.create_model("test_vit", img_size=64)
    path = saved(tmp_path, larger.state_dict())
    loaded = create_network(config_of(path, "test_vit", 32), outputs=CLASSES).state_dict()
    assert torch.equal(loaded["blocks.0.attn.qkv.weight"], larger.state_dict()["blocks.0.attn.qkv.weight"])
    assert loaded["pos_embed"].shape != larger.state_dict()["pos_embed"].shape
    drawn = create_network(config_of(None, "test_vit", 32), outputs=CLASSES).state_dict()
    assert not torch.equal(loaded["pos_embed"], drawn["pos_embed"])


def _wrong_shape(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "layer1.0.conv1.weight": torch.zeros(3, 8, 3, 3)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_wrong_shape, r"layer1\.0\.conv1\.weight has shape \(3, 8, 3, 3\)"),
        (lambda state: renamed(_wrong_shape(state)), r"layer1\.0\.conv1\.weight has shape \(3, 8, 3, 3\)"),
        (lambda state: dict(list(state.items())[1:]), r"and no conv1\.0\.weight"),
        (lambda state: {**state, "layer9.weight": torch.zeros(1)}, r"it has a tensor layer9\.weight"),
        (lambda state: {}, "holds no weights"),
        (lambda state: {"epoch": 3}, "holds no weights"),
        (lambda state: torch.zeros(3), "is damaged, or no file of weights"),
        (lambda state: {**state, "extra": RunsCode()}, "could run code, and was not loaded"),
    ],
)
def test_weights_that_do_not_fit_are_rejected_in_one_line(
    state: dict[str, Tensor], tmp_path: Path, make: Callable[[Any], Any], message: str
) -> None:
    path = saved(tmp_path, make(state))
    with pytest.raises(ConfigInvalid, match=message) as raised:
        create_network(config_of(path), outputs=CLASSES)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    assert not Path("/tmp/this-was-run").exists()


def test_a_safetensors_file_of_other_names_is_refused_since_it_has_no_order(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = saved(tmp_path, renamed(state), "weights.safetensors")
    with pytest.raises(ConfigInvalid, match=r"and no conv1\.0\.weight"):
        create_network(config_of(path), outputs=CLASSES)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none.pth", None, "there is no such file"),
        ("some.txt", b"", "unknown format '.txt'"),
        ("some.pth", b"no weights", "is damaged, or no file of weights"),
        ("some.safetensors", b"no weights", "is damaged, or no file of weights"),
    ],
)
def test_files_that_are_no_weights_are_refused_in_one_line(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigInvalid, match=message) as raised:
        create_network(config_of(tmp_path / name), outputs=CLASSES)
    assert "\n" not in str(raised.value)


def test_weights_of_two_sources_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="pretrained and weights are both given"):
        StudentConfig(backbone="resnet18.a1_in1k", image_size=32, epochs=1, pretrained=True, weights="some.pth")
    with pytest.raises(ConfigInvalid, match="is trained from scratch here"):
        StudentConfig(backbone="torchvision:resnet18", image_size=32, epochs=1, weights="some.pth")


def test_the_files_content_is_part_of_the_runs_identity(
    state: dict[str, Tensor], dataset: FileDataset, tmp_path: Path
) -> None:
    first = saved(tmp_path, state)
    moved = Path(shutil.copy(first, tmp_path / "moved.pth"))
    changed = saved(tmp_path, {**state, "fc.bias": torch.ones(CLASSES)}, "changed.pth")

    def describe(path: Path | None) -> RunDescription:
        return RunDescription.of(config_of(path), dataset, TeacherAnswers(), "digest")

    assert digest_of_weights_file(str(first)) == digest_of_weights_file(str(moved))
    open_run(tmp_path / "run", describe(first))
    open_run(tmp_path / "run", describe(moved))
    for other in (changed, None):
        with pytest.raises(RunInvalid, match="or started from other weights"):
            open_run(tmp_path / "run", describe(other))

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.ops import box_iou

from storage.platform import torchvision_ops


def python(code: str) -> str:
    """What a fresh interpreter prints, with this project installed as it is here."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nms_by_hand() -> None:
    # 0 and 1 overlap by 81 / (100 + 100 - 81) = 0.68, 0 and 2 by 25 / 175 = 0.14; 3 lies apart.
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [5, 5, 15, 15], [50, 50, 60, 60]])
    scores = torch.tensor([0.8, 0.9, 0.7, 1.0])
    # Best first: 3, then 1; 0 goes at 0.68; 2 stays, as it overlaps with 1 by 36 / 164 = 0.22.
    assert torchvision_ops.nms(boxes, scores, 0.5).tolist() == [3, 1, 2]
    assert torchvision_ops.nms(boxes, scores, 0.2).tolist() == [3, 1]
    assert torchvision_ops.nms(boxes, scores, 0.7).tolist() == [3, 1, 0, 2]


def test_nms_at_the_threshold_keeps_both() -> None:
    # Overlap of exactly a half.
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    assert torchvision_ops.nms(boxes, torch.tensor([1.0, 0.5]), 0.5).tolist() == [0, 1]


def test_nms_of_nothing() -> None:
    kept = torchvision_ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert (kept.tolist(), kept.dtype) == ([], torch.int64)


def test_nms_takes_equal_scores_in_order_and_empty_boxes_as_they_are() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [3, 3, 3, 3]])
    assert torchvision_ops.nms(boxes, torch.tensor([0.5, 0.5, 0.1]), 0.5).tolist() == [0, 2]


def test_nms_of_many_boxes_is_greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_ops, "NMS_BLOCK", 32)  # several blocks
    generator = torch.Generator().manual_seed(0)
    corners = 60 * torch.rand(300, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 25 * torch.rand(300, 2, generator=generator)], dim=1)
    scores = torch.rand(300, generator=generator)
    kept: list[int] = []
    for place in scores.argsort(descending=True).tolist():
        if all(box_iou(boxes[None, place], boxes[None, other]) <= 0.4 for other in kept):
            kept.append(place)
    assert torchvision_ops.nms(boxes, scores, 0.4).tolist() == kept


@pytest.mark.parametrize("sampling_ratio", [2, -1])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_is_torchvisions(sampling_ratio: int, aligned: bool) -> None:
    """Against torchvision's own definition in Python, uncompiled; it knows nothing of places outside the map."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 3, 9, 11, generator=generator)
    corners = 30 * torch.rand(20, 2, generator=generator) - 1
    boxes = torch.cat([corners, (corners + 30 * torch.rand(20, 2, generator=generator)).clamp(max=35)], dim=1)
    rois = torch.cat([torch.arange(20)[:, None] % 2, boxes], dim=1)
    reference = sys.modules["torchvision.ops.roi_align"]._roi_align.__wrapped__
    arguments = (rois, 0.25, 3, 4, sampling_ratio, aligned)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    found, expected = torchvision_ops.roi_align(ours, *arguments), reference(theirs, *arguments)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn(expected.shape, generator=generator)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


def test_roi_align_is_0_outside_of_the_map() -> None:
    # Samples of 1 x 1 pixels at 4.5, 5.5, 6.5 and 7.5 on a map of 5: one is within a pixel of it.
    rois = torch.tensor([[0.0, 4, 0, 8, 1]])
    pooled = torchvision_ops.roi_align(torch.ones(1, 1, 5, 5), rois, 1.0, 1, 4, 1, False)
    assert pooled.flatten().tolist() == [1, 0, 0, 0]


MISSING = (
    "import storage, {first}, importlib.util; print(all(importlib.util.find_spec(n) is None for n in {unusable}))\n"
)
# Importing these takes much longer than all that is looked at.
EVERYTHING = """
import torch, torchvision, timm, transformers
transformers.AutoModelForImageTextToText
boxes = torch.tensor([[0., 0, 10, 10], [1, 1, 11, 11]])
scores = torch.tensor([.8, .9])
print(torch.ops.torchvision.nms(boxes, scores, .5).tolist())
print(torchvision.ops.batched_nms(boxes, scores, torch.tensor([0, 0]), .5).tolist())
print(torchvision.ops.roi_align(torch.ones(1, 2, 8, 8), [boxes], 2, .5, 2).mean().item())
"""


@pytest.mark.parametrize("first", ["torch", "torchvision", "transformers"])
def test_a_fresh_interpreter_imports_everything_in_any_order(first: str) -> None:
    """torchvision's functions call the operators; packages that cannot load beside a torch for CPUs are missing."""
    on_cpu = torchvision_ops._build("torch") == "cpu"
    unusable = [name for name in torchvision_ops.NOT_NEEDED if on_cpu and torchvision_ops._build(name) != "cpu"]
    code, expected = MISSING.format(first=first, unusable=unusable), ["True"]
    if first != "torch":  # which is what torchvision imports first
        code, expected = code + EVERYTHING, [*expected, "[1]", "[1]", "1.0"]
    assert python(code).splitlines() == expected


@pytest.mark.parametrize("package", ["storage", "teacher", "student", "flows"])
def test_importing_one_of_our_packages_prepares_and_loads_nothing(package: str) -> None:
    heavy = "{'torch', 'torchvision', 'transformers', 'numpy', 'PIL'}"
    code = (
        f"import sys, {package}; names = [type(finder).__name__ for finder in sys.meta_path];"
        f"print(names.count('CompanionFinder'), sorted({heavy} & sys.modules.keys()))"
    )
    assert python(code) == "1 []"


def test_interpreters_that_are_not_ours_are_left_alone() -> None:
    code = "import sys; print([name for name in sys.modules if name.split('.')[0] in ('storage', 'aspects')])"
    assert python(code) == "[]"


def test_processes_that_vllm_starts_are_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.from_the_environment = True")
    monkeypatch.setattr(torchvision_ops, "_build", lambda package: "cpu" if package == "torch" else "")
    torchvision_ops.reach_subprocesses()
    torchvision_ops.reach_subprocesses()  # once is enough
    assert os.environ["PYTHONPATH"] == f"{torchvision_ops.STARTUP}{os.pathsep}{tmp_path}"
    assert (
        python("import sys; print('storage.platform.torchvision_ops' in sys.modules, sys.from_the_environment)")
        == "True True"
    )


def test_a_torchvision_that_fits_needs_no_startup_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(torchvision_ops, "_build", lambda package: "cpu")
    torchvision_ops.reach_subprocesses()
    assert "PYTHONPATH" not in os.environ


def test_real_operators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_ops, "_own_library_loads", lambda: True)
    before = list(torchvision_ops._registrations)
    assert torchvision_ops.define_missing_operators() is False
    assert torchvision_ops._registrations == before


def test_a_cuda_torch_keeps_its_companions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_ops, "_build", lambda package: "cu130" if package == "torch" else "")
    monkeypatch.setattr(sys, "modules", {})
    torchvision_ops.hide_unusable()
    assert sys.modules == {}

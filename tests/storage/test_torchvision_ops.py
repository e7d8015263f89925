from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from storage import torchvision_ops


def python(code: str) -> str:
    """What a fresh interpreter prints, with this project installed as it is here."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nms_by_hand():
    # 0 and 1 overlap by 81 / (100 + 100 - 81) = 0.68, 0 and 2 by 25 / 175 = 0.14; 3 lies apart.
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [5, 5, 15, 15], [50, 50, 60, 60]])
    scores = torch.tensor([0.8, 0.9, 0.7, 1.0])
    # Best first: 3, then 1; 0 goes at 0.68; 2 stays, as it overlaps with 1 by 36 / 164 = 0.22.
    assert torchvision_ops.nms(boxes, scores, 0.5).tolist() == [3, 1, 2]
    assert torchvision_ops.nms(boxes, scores, 0.2).tolist() == [3, 1]
    assert torchvision_ops.nms(boxes, scores, 0.7).tolist() == [3, 1, 0, 2]


def test_nms_at_the_threshold_keeps_both():
    # Overlap of exactly a half.
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    assert torchvision_ops.nms(boxes, torch.tensor([1.0, 0.5]), 0.5).tolist() == [0, 1]


def test_nms_of_nothing():
    kept = torchvision_ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert (kept.tolist(), kept.dtype) == ([], torch.int64)


def test_nms_takes_equal_scores_in_order_and_empty_boxes_as_they_are():
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [3, 3, 3, 3]])
    assert torchvision_ops.nms(boxes, torch.tensor([0.5, 0.5, 0.1]), 0.5).tolist() == [0, 2]


@pytest.mark.parametrize("first", ["torchvision", "transformers"])
def test_a_fresh_interpreter_imports_everything_whatever_comes_first(first: str):
    code = (
        f"import {first}, torch, torchvision, timm, transformers; transformers.AutoModelForImageTextToText\n"
        "boxes = torch.tensor([[0., 0, 10, 10], [1, 1, 11, 11]])\n"
        "print(torch.ops.torchvision.nms(boxes, torch.tensor([.8, .9]), .5).tolist())"
    )
    assert python(code) == "[1]"


def test_an_interpreter_that_needs_none_of_it_pays_nothing():
    heavy = "{'torch', 'torchvision', 'transformers', 'numpy', 'PIL'}"
    assert python(f"import sys; print(sorted({heavy} & sys.modules.keys()))") == "[]"


def test_it_reaches_interpreters_that_are_not_ours():
    assert python("import sys; print('storage.torchvision_ops' in sys.modules)") == "True"


@pytest.mark.parametrize("first", ["torch", "torchvision", "transformers"])
def test_companions_that_cannot_load_are_missing_beside_a_cpu_torch(first: str):
    if torchvision_ops._build("torch") != "cpu":
        pytest.skip("torch is no CPU build here")
    unusable = [name for name in torchvision_ops.NOT_NEEDED if torchvision_ops._build(name) != "cpu"]
    code = f"import {first}, importlib.util; print([importlib.util.find_spec(name) for name in {unusable}])"
    assert python(code) == str([None] * len(unusable))


def test_real_operators_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torchvision_ops, "_own_library_loads", lambda: True)
    before = list(torchvision_ops._registrations)
    assert torchvision_ops.define_missing_operators() is False
    assert torchvision_ops._registrations == before


def test_a_cuda_torch_keeps_its_companions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torchvision_ops, "_build", lambda package: "cu130" if package == "torch" else "")
    monkeypatch.setattr(sys, "modules", {})
    torchvision_ops.hide_unusable()
    assert sys.modules == {}

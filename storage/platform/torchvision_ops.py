"""Make torchvision, torchaudio and torchcodec importable with a CPU build of torch.

PyPI's builds of them are compiled for CUDA. With a CPU-only torch none of their libraries loads: `import torchvision`
fails with "operator torchvision::nms does not exist", and transformers fails because it considers torchaudio usable. So
this module defines the missing operators that detectors need, `nms` and `roi_align`, in plain torch, and hides
torchaudio and torchcodec, which are not needed.

Importing any of our packages calls `install`, so only our own processes are affected. It has no effect until torch,
transformers or torchvision is imported, and none if the real libraries load.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NOT_NEEDED = ("torchaudio", "torchcodec")
STARTUP = Path(__file__).parent / "startup"  # holds a sitecustomize.py
NMS_BLOCK = 1024  # boxes compared with each other at a time
_registrations: list[torch.library.Library] = []  # a registered operator lives as long as its Library object


class CompanionFinder(importlib.abc.MetaPathFinder):
    """Prepares imports before they happen; finds no module itself."""

    def __init__(self) -> None:
        self._prepared = False
        self._defined = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in ("torch", "transformers"):
            hide_unusable()
        elif fullname == "torchvision" and not self._prepared:
            self._prepared = True  # before the next line, which asks for torchvision's spec again
            self._defined = define_missing_operators()
        elif fullname == "torchvision.ops" and self._defined:
            # Its functions check this before they call an operator.
            sys.modules["torchvision.extension"]._has_ops = _has_operators  # type: ignore[attr-defined]
        return None


def install() -> None:
    """Make torchvision and transformers importable in this process."""
    if not any(isinstance(finder, CompanionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, CompanionFinder())


def reach_subprocesses() -> None:
    """Do the same in Python processes with other code than ours that this process starts from now on."""
    os.environ.update(startup_environment())


def startup_environment() -> dict[str, str]:
    """Return environment variables that prepare a process from its start; empty if torchvision fits torch."""
    if _build("torch") != "cpu" or _build("torchvision") == "cpu":
        return {}
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys([str(STARTUP), *places]))}


def _has_operators() -> bool:
    return True  # a function, not a lambda: TorchScript reads it, and ONNX's exporter uses that


def hide_unusable() -> None:
    """Let `find_spec` and `import` report torchaudio and torchcodec as missing if torch is a CPU build and they are
    not."""
    if _build("torch") == "cpu":
        for name in NOT_NEEDED:
            if _build(name) != "cpu":
                # None makes `find_spec` return None and `import` raise ModuleNotFoundError.
                sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def define_missing_operators() -> bool:
    """Define `torchvision::nms` and `torchvision::roi_align` in plain torch unless torchvision's own library loads.

    Returns whether they were defined.
    """
    if _own_library_loads():
        return False
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
        "int sampling_ratio, bool aligned) -> Tensor"
    )
    # It consists of operators with gradients, so it needs no gradient of its own.
    library.impl("roi_align", roi_align, "CompositeImplicitAutograd")
    library.define("_cuda_version() -> int")
    library.impl("_cuda_version", lambda: -1, "CompositeImplicitAutograd")  # compiled for the CPU alone
    # The quantized twin of nms is only looked up at import: the schema is enough.
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _registrations.append(library)
    return True


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression of boxes [N, 4] (x1, y1, x2, y2). Returns the kept indices, best score first."""
    import torch

    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order].float()
    kept = torch.empty(0, dtype=torch.int64, device=dets.device)
    for places in torch.arange(len(order), device=dets.device).split(NMS_BLOCK):
        places = places[~(_overlap(boxes[kept], boxes[places]) > iou_threshold).any(dim=0)]
        beaten_by = (_overlap(boxes[places], boxes[places]) > iou_threshold).triu(diagonal=1)
        # Whether a box is kept depends only on better boxes: each round decides at least one more, and few are needed.
        keep = torch.ones(len(places), dtype=torch.bool, device=dets.device)
        while not torch.equal(again := ~(beaten_by & keep[:, None]).any(dim=0), keep):
            keep = again
        kept = torch.cat([kept, places[keep]])
    return order[kept]


def _overlap(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of [N, 4] and [M, 4]: [N, M], NaN for two boxes without an area."""
    import torch

    areas = [(these[:, 2:] - these[:, :2]).prod(dim=1) for these in (boxes, others)]
    top_left = torch.maximum(boxes[:, None, :2], others[:, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    common = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    return common / (areas[0][:, None] + areas[1] - common)


def roi_align(
    input: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """Pool features [N, C, H, W] within `rois` [K, 5] (image, x1, y1, x2, y2 in units of 1 / spatial_scale).

    Returns [K, C, pooled_height, pooled_width], each value the mean of bilinear samples (Mask R-CNN, arXiv 1703.06870).
    """
    import torch

    number, size = rois[:, 0].long(), torch.tensor([pooled_width, pooled_height], device=rois.device)
    corners = (rois[:, 1:].detach() * spatial_scale - (0.5 if aligned else 0.0)).float()
    starts, sides = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = sides.clamp(min=1.0)
    samples = torch.full_like(sides, sampling_ratio) if sampling_ratio > 0 else (sides / size).ceil().clamp(min=1)
    output = input.new_zeros(len(rois), input.shape[1], pooled_height, pooled_width)
    alike = torch.cat([number[:, None], samples.long()], dim=1)
    for image, across, down in alike.unique(dim=0).tolist():
        chosen = (alike == alike.new_tensor([image, across, down])).all(dim=1)
        places = [
            starts[chosen, axis, None]
            + (torch.arange(count, device=rois.device) + 0.5) / count * sides[chosen, axis, None]
            for axis, count in enumerate((pooled_width * across, pooled_height * down))
        ]
        sampled = _sample(input[image].float(), *places)  # C K down*h across*w
        parts = sampled.view(*sampled.shape[:2], pooled_height, down, pooled_width, across)
        output[chosen] = parts.mean(dim=(3, 5)).transpose(0, 1).to(input.dtype)
    return output


def _sample(features: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return bilinear samples of [C, H, W] at every pair of x [K, X] and y [K, Y] in pixels: [C, K, Y, X].

    Up to one pixel outside the features they have the border's value, beyond it 0.
    """
    import torch

    height, width = features.shape[1:]
    grid = torch.stack(
        [
            (2 * x / max(width - 1, 1) - 1)[:, None, :].expand(-1, y.shape[1], -1),
            (2 * y / max(height - 1, 1) - 1)[:, :, None].expand(-1, -1, x.shape[1]),
        ],
        dim=-1,
    )
    values = torch.nn.functional.grid_sample(
        features[None], grid.flatten(0, 1)[None], padding_mode="border", align_corners=True
    )
    inside = ((y >= -1) & (y <= height))[:, :, None] & ((x >= -1) & (x <= width))[:, None, :]
    return values[0].view(-1, len(x), y.shape[1], x.shape[1]) * inside


def _build(package: str) -> str:
    """Return the local label of an installed version: "cpu" for 2.13.0+cpu, "" for 2.13.0 or a missing one."""
    try:
        return importlib.metadata.version(package).partition("+")[2]
    except importlib.metadata.PackageNotFoundError:
        return ""


def _own_library_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True
    import torch

    loader = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    compiled = importlib.machinery.FileFinder(spec.submodule_search_locations[0], loader).find_spec("_C")
    if compiled is None or compiled.origin is None:
        return False
    try:
        torch.ops.load_library(compiled.origin)
    except OSError:
        return False
    return True

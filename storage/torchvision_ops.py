"""Make torch's companions importable beside a CPU build of torch that their compiled parts do not fit.

PyPI's torchvision, torchaudio and torchcodec are compiled for CUDA. Beside a CPU-only torch none of their libraries
loads: `import torchvision` then fails with "operator torchvision::nms does not exist", and transformers fails because
it takes torchaudio for usable. So the missing operators are defined here, and the two that nobody needs are hidden.

`aspects.pth` imports this module at every interpreter start, which reaches subprocesses that are not ours (vLLM's
engine, Prefect's runner). Until somebody imports torch, transformers or torchvision it does nothing at all, and where
the real libraries load it changes nothing.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NOT_NEEDED = ("torchaudio", "torchcodec")
_registrations: list[torch.library.Library] = []  # a registered operator lives as long as its Library object


class CompanionFinder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: sees imports before they happen and prepares what they need."""

    def __init__(self) -> None:
        self._prepared = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in ("torch", "transformers"):
            hide_unusable()
        elif fullname == "torchvision" and not self._prepared:
            self._prepared = True  # before the next line, which asks for torchvision's spec again
            define_missing_operators()
        return None


def hide_unusable() -> None:
    """Let `find_spec` and `import` report torchaudio and torchcodec as missing where torch is a CPU build and they
    are not."""
    if _build("torch") == "cpu":
        for name in NOT_NEEDED:
            if _build(name) != "cpu":
                # None makes `find_spec` answer None and `import` raise ModuleNotFoundError.
                sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def define_missing_operators() -> bool:
    """Define `torchvision::nms` in pure torch unless torchvision's own library loads; True where it was defined.

    `roi_align` needs nothing: torchvision has a Python fallback for it.
    """
    if _own_library_loads():
        return False
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    # Its quantized twin is only looked up at import: the schema is enough.
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _registrations.append(library)
    return True


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression of boxes [N, 4] (x1, y1, x2, y2): indices of those kept, best score first."""
    import torch

    areas = (dets[:, 2] - dets[:, 0]) * (dets[:, 3] - dets[:, 1])
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while order.numel() > 0:
        best, rest = order[0], order[1:]
        kept.append(best)
        top_left = torch.maximum(dets[best, :2], dets[rest, :2])
        bottom_right = torch.minimum(dets[best, 2:], dets[rest, 2:])
        overlap = (bottom_right - top_left).clamp(min=0).prod(dim=1)
        order = rest[overlap / (areas[best] + areas[rest] - overlap) <= iou_threshold]
    return torch.stack(kept) if kept else order


def _build(package: str) -> str:
    """The local label of an installed version: "cpu" for 2.13.0+cpu, "" for 2.13.0 or where it is missing."""
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


sys.meta_path.insert(0, CompanionFinder())

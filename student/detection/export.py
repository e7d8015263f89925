"""Export a trained detector.

model.safetensors     weights of torchvision's detector, without aspects
model.onnx            input `image` [3, height, width] in 0..1, outputs `boxes` [N, 4] in its pixels, `scores`, `labels`
preprocessing.json    class names, and the settings that the detector was built with
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from student.core.export_folder import FILES, USE, Export, ExportInvalid, export_folder, require_formats
from student.core.files import write_bytes, write_json
from student.core.onnx import OnnxModel, write_checked
from student.detection.model import Detector, without_aspects
from student.detection.runs import DetectorDescription, load_detector_run

OUTPUTS = ("boxes", "scores", "labels")
# onnxruntime adds up in another order than torch; more than this is another function.
SCORE_TOLERANCE = 1e-3


def export_detector(
    run_dir: Path,
    out_dir: Path,
    formats: Sequence[str] = ("safetensors", "onnx"),
    keep_aspects: bool = False,
) -> Export:
    """Write the finished run in `run_dir` to `out_dir`. Raises ExportInvalid as `export` of classifiers does, and for
    aspects, which no other program reads: `Detector.explain` has them."""
    require_formats(formats)
    if keep_aspects:
        raise ExportInvalid(f"the aspects of detectors are not exported; load {run_dir} and call Detector.explain")
    run = load_detector_run(run_dir)
    detector = without_aspects(run.load()).eval()
    difference = None
    with export_folder(out_dir) as folder:
        write_json(folder / USE, describe_use(run.description))
        if "safetensors" in formats:
            state = {name: tensor.contiguous() for name, tensor in detector.network.state_dict().items()}
            write_bytes(folder / "model.safetensors", safetensors.torch.save(state, metadata={"format": "pt"}))
        if "onnx" in formats:
            difference = write_detector_onnx(detector, folder / "model.onnx", run.description.config.image_size)
        written = [name for name in FILES if (folder / name).exists()]
    return Export(folder=out_dir, files=tuple(written), onnx_difference=difference)


def describe_use(description: DetectorDescription) -> dict[str, object]:
    """How to feed the model and read it, in plain values; resizing and normalisation are in the model."""
    return {
        "image": "float32 [3, height, width], RGB, 0..1",
        "class_names": list(description.class_names),
        "config": description.config.to_dict(),
    }


def write_detector_onnx(detector: Detector, path: Path, image_size: int) -> float:
    """Write the detector and compare onnxruntime with torch on random images of several shapes; the largest difference
    of a score. Raises as `write_checked`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = OnnxModel(
        module=OnnxOutputs(detector.cpu()),
        input_name="image",
        output_names=OUTPUTS,
        dynamic_axes={"image": {1: "height", 2: "width"}, **{name: {0: "found"} for name in OUTPUTS}},
        difference=_difference,
        tolerance=SCORE_TOLERANCE,
        compared="scores",
    )
    generator = torch.Generator().manual_seed(0)
    shapes = ((image_size, image_size), (image_size, image_size * 3 // 4), (image_size // 2, image_size))
    return write_checked(model, path, [torch.rand(3, *shape, generator=generator) for shape in shapes])


class OnnxOutputs(nn.Module):
    """A detector of one image whose outputs are tensors."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        (found,) = self.detector([image])
        return tuple(found[name] for name in OUTPUTS)


def _difference(ours: Sequence[Tensor], theirs: Sequence[np.ndarray]) -> float:
    """Of the scores in their order: boxes of equal scores may change places. 1 where another number is found."""
    place = OUTPUTS.index("scores")
    our_scores, their_scores = ours[place].numpy(), theirs[place]
    if len(our_scores) != len(their_scores):
        return 1.0
    return float(np.abs(np.sort(our_scores) - np.sort(their_scores)).max(initial=0.0))

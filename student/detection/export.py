"""A trained detector as files that others read.

model.safetensors     weights of torchvision's detector, without aspects
model.onnx            input `image` [3, height, width] in 0..1, outputs `boxes` [N, 4] in its pixels, `scores`, `labels`
preprocessing.json    class names, and the settings that the detector was built with
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import safetensors.torch
import torch
from torch import Tensor, nn

from student.classification.export import OPSET, Export, Format, as_one_line
from student.core.export_folder import FILES, USE, ExportInvalid, export_folder
from student.core.files import write_bytes, write_json
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
    """Write the finished run in `run_dir` to `out_dir`. Raises ExportInvalid as `student.export.export` does, and for
    aspects, which no other program reads: `Detector.explain` has them."""
    for name in formats:
        if name not in get_args(Format):
            raise ExportInvalid(f"export format '{name}' is unknown; use {' or '.join(get_args(Format))}")
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
    of a score. Raises ExportInvalid, leaving no file, where it is above the tolerance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    outputs = OnnxOutputs(detector.cpu()).eval()
    generator = torch.Generator().manual_seed(0)
    shapes = ((image_size, image_size), (image_size, image_size * 3 // 4), (image_size // 2, image_size))
    examples = [torch.rand(3, *shape, generator=generator) for shape in shapes]
    beside = path.with_suffix(".unfinished")
    axes = {"image": {1: "height", 2: "width"}, **{name: {0: "found"} for name in OUTPUTS}}
    try:
        with as_one_line(), warnings.catch_warnings():
            # Of what may be a constant in the trace; whether it is, shows on the other shapes.
            warnings.simplefilter("ignore")
            # The tracing exporter: the one that torchvision's detectors are made for.
            torch.onnx.export(
                outputs,
                (examples[0],),
                str(beside),
                input_names=["image"],
                output_names=list(OUTPUTS),
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
        session = onnxruntime.InferenceSession(str(beside), providers=["CPUExecutionProvider"])
        difference = max(_difference(session, outputs, example) for example in examples)
        if not difference <= SCORE_TOLERANCE:
            raise ExportInvalid(
                f"onnxruntime's scores differ from torch's by {difference:.2g}, more than {SCORE_TOLERANCE}; "
                f"export safetensors alone"
            )
        write_bytes(path, beside.read_bytes())
    finally:
        beside.unlink(missing_ok=True)
    return difference


class OnnxOutputs(nn.Module):
    """A detector of one image whose outputs are tensors."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        (found,) = self.detector([image])
        return tuple(found[name] for name in OUTPUTS)


@torch.no_grad()
def _difference(session: onnxruntime.InferenceSession, outputs: OnnxOutputs, image: Tensor) -> float:
    """Of the scores in their order: boxes of equal scores may change places. 1 where another number is found."""
    theirs = session.run(["scores"], {"image": image.numpy()})[0]
    ours = outputs(image)[OUTPUTS.index("scores")].numpy()
    if len(ours) != len(theirs):
        return 1.0
    return float(np.abs(np.sort(ours) - np.sort(theirs)).max(initial=0.0))

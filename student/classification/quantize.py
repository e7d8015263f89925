"""int8 beside an ONNX export, by onnxruntime: from images where a dataset is given, else weights alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from storage.datasets.base import ImageDataset, ImageRecord, select
from student.classification.images import evaluation_cache, normalized_batches
from student.classification.runs import RunDescription
from student.core.evaluation import require_same_classes, select_labelled
from student.core.export_folder import Int8
from student.core.images import Images
from student.core.onnx import add_metadata, onnx_errors

CALIBRATED_ON = 128  # training images that ranges of activations are taken from
BATCH = 32
WARNINGS, ERRORS = 2, 3  # severities of onnxruntime's log; warnings are its default


@dataclass(frozen=True, kw_only=True)
class QuantizeOn:
    """What int8 is made and measured with: training images of `dataset` give the ranges of the activations, and `split`
    the accuracy. Without a dataset only weights are quantised ahead, and nothing is measured."""

    dataset: ImageDataset | None = None
    split: str = "test"


def quantize(
    run_dir: Path, description: RunDescription, on: QuantizeOn, folder: Path, channels: tuple[Sequence[float], ...]
) -> Int8:
    """Write `model.int8.onnx` beside `model.onnx` in `folder`; `channels` are mean and std of the pixels.

    Raises ExportInvalid where onnxruntime cannot quantise the model, and as `evaluate` for the dataset.
    """
    source, target = folder / "model.onnx", folder / "model.int8.onnx"
    dataset = on.dataset
    if dataset is None:
        with _quantizing():
            quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
            _copy_metadata(source, target)
        return Int8(kind="dynamic")
    require_same_classes(dataset, description, run_dir)
    tested = select_labelled(dataset, on.split)
    ranged = _spread(select(dataset, ("train",)))
    with evaluation_cache(description.config, dataset, ranged, folder) as images, _quantizing():
        quantize_static(
            source, target, _Reader(_pixels(images, channels)), quant_format=QuantFormat.QDQ, per_channel=True
        )
        _copy_metadata(source, target)
    with evaluation_cache(description.config, dataset, tested, folder) as images:
        top1_fp32, top1 = (_top1(model, images, channels) for model in (source, target))
        return Int8(kind="static", images=len(images), split=on.split, top1=top1, top1_fp32=top1_fp32)


def _spread(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """So many of the records, evenly over their order, which for a folder is that of the classes."""
    places = np.unique(np.linspace(0, len(records) - 1, min(CALIBRATED_ON, len(records))).astype(int))
    return [records[place] for place in places]


def _pixels(images: Images, channels: tuple[Sequence[float], ...]) -> Iterator[NDArray[np.float32]]:
    mean, std = channels
    return (pixels.numpy() for pixels in normalized_batches(images, mean, std, batch_size=BATCH))


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self, batches: Iterator[NDArray[np.float32]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def _top1(model: Path, images: Images, channels: tuple[Sequence[float], ...]) -> float:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    found = [session.run(["class_logits"], {"images": pixels})[0] for pixels in _pixels(images, channels)]
    return float((np.concatenate(found).argmax(axis=1) == images.labels.numpy()).mean())


def _copy_metadata(source: Path, target: Path) -> None:
    add_metadata(target, {prop.key: prop.value for prop in onnx.load(source).metadata_props})


@contextmanager
def _quantizing() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # hints about preprocessing that the export has done already
    onnxruntime.set_default_logger_severity(ERRORS)  # nor what it removes from the graph
    try:
        with onnx_errors("quantised", "export it without --int8"):
            yield
    finally:
        root.setLevel(level)
        onnxruntime.set_default_logger_severity(WARNINGS)

"""Write a network as ONNX, and check that onnxruntime computes what torch does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from storage.text import printable
from student.core.export_folder import ExportInvalid
from student.core.files import write_bytes

OPSET = 18


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """A module of one input whose outputs are a tuple of tensors, their names, and the axes that vary in size.

    `difference` compares torch's outputs with onnxruntime's, in the order of their names; above `tolerance` the export
    is rejected. `compared` names in the error what differs.
    """

    module: nn.Module
    input_name: str
    output_names: tuple[str, ...]
    dynamic_axes: Mapping[str, Mapping[int, str]]
    difference: Callable[[Sequence[Tensor], Sequence[np.ndarray]], float]
    tolerance: float
    compared: str
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the file, what its user has to know


def write_checked(model: OnnxModel, path: Path, examples: Sequence[Tensor]) -> float:
    """Write `model`, traced with the first of the `examples`, and compare both on all of them: the largest difference.

    Raises ExportInvalid, leaving no file, where it is above the tolerance or the model cannot be written as ONNX.
    """
    # The exporter gives the outermost module its mode back, and everything in it with it.
    module = model.module.eval()
    beside = path.with_suffix(".unfinished")
    try:
        with onnx_errors("written as ONNX", "export safetensors alone"), warnings.catch_warnings():
            # The tracer warns of values that may be constants; whether they are, the other examples show.
            warnings.simplefilter("ignore")
            # The tracing exporter: every timm model and torchvision's detectors go through it, and it needs no package
            # beyond onnx.
            torch.onnx.export(
                module,
                (examples[0],),
                str(beside),
                input_names=[model.input_name],
                output_names=list(model.output_names),
                dynamic_axes=model.dynamic_axes,
                opset_version=OPSET,
                dynamo=False,
            )
        if model.metadata:
            add_metadata(beside, model.metadata)
        session = onnxruntime.InferenceSession(str(beside), providers=["CPUExecutionProvider"])
        difference = max(_difference(model, module, session, example) for example in examples)
        if not difference <= model.tolerance:
            raise ExportInvalid(
                f"onnxruntime's {model.compared} differ from torch's by {difference:.2g}, more than "
                f"{model.tolerance}; export safetensors alone"
            )
        write_bytes(path, beside.read_bytes())
    finally:
        beside.unlink(missing_ok=True)
    return difference


def add_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Put `metadata` in place of that of the ONNX file at `path`."""
    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


@torch.no_grad()
def _difference(model: OnnxModel, module: nn.Module, session: onnxruntime.InferenceSession, example: Tensor) -> float:
    found = session.run(list(model.output_names), {model.input_name: example.numpy()})
    return model.difference(module(example), found)


@contextmanager
def onnx_errors(what: str, remedy: str) -> Iterator[None]:
    """Raise errors of ONNX's tools in the block as ExportInvalid: this model cannot be `what`. Errors of files pass."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # they raise errors of many types for operators that they do not know
        why = printable(str(error), 200)
        raise ExportInvalid(f"this model cannot be {what} ({why}); {remedy}") from error

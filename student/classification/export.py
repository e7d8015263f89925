"""Export a trained student: safetensors and config for timm, ONNX for everything else.

model.safetensors                 weights of the network
config.json                       timm.create_model(..., checkpoint_path=...), or "local-dir:FOLDER"; timm models only
model.onnx                        input `images` [B, 3, H, W], output `class_logits` (and `aspect_logits`)
model.int8.onnx                   the same in int8
preprocessing.json                sizes, mean, std, class names, aspects, temperature: what a user of either needs
README.md                         the model card
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from student.classification.calibration import Calibration, read_calibration
from student.classification.class_profile import ClassProfile, read_class_profile
from student.classification.config import TORCHVISION, StudentConfig
from student.classification.model import Student, without_aspects
from student.classification.model_card import model_card
from student.classification.quantize import QuantizeOn, quantize
from student.classification.runs import RunDescription, load_run
from student.core.aspects import Aspect
from student.core.export_folder import FILES, USE, Export, ExportInvalid, export_folder, require_formats
from student.core.files import write_bytes, write_json
from student.core.onnx import OnnxModel, write_checked
from student.core.pretrained import HUB

# onnxruntime adds up in another order than torch; more than this is another function.
TOLERANCE = 1e-4


def export(
    run_dir: Path,
    out_dir: Path,
    formats: Sequence[str] = ("safetensors", "onnx"),
    keep_aspects: bool = False,
    int8: QuantizeOn | None = None,
) -> Export:
    """Write the weights of the finished run in `run_dir` to `out_dir`, without its aspect outputs unless kept.

    Kept aspects follow the classes in the timm model's outputs and have an output of their own in ONNX. With `int8` a
    quantised ONNX model is written too. Raises
    ExportInvalid for an unknown format, for a folder that holds something else, and for a model that cannot be written
    as ONNX or that onnxruntime computes differently; nothing is written then.
    """
    require_formats(formats)
    if int8 is not None and "onnx" not in formats:
        raise ExportInvalid("int8 is made from ONNX; export onnx too, or leave --int8 out")
    run = load_run(run_dir)
    description = run.description
    student = run.load()
    if not keep_aspects and student.aspects:
        student = without_aspects(student, description.config)
    aspects = description.aspects if keep_aspects else ()
    if "safetensors" in formats:
        _require_timm_model(student, description.config, run_dir)
    difference, quantized = None, None
    calibration, profile = read_calibration(run_dir), read_class_profile(run_dir)
    with export_folder(out_dir) as folder:
        use = describe_use(description, student, aspects, calibration, profile)
        if "safetensors" in formats:
            use["weights"] = _write_weights(student, folder)
            if not description.config.backbone.startswith(TORCHVISION):
                values = timm_config(description, student, aspects)
                write_bytes(folder / "config.json", json.dumps(values, indent=2, ensure_ascii=False).encode())
        write_json(folder / USE, use)
        if "onnx" in formats:
            difference = write_onnx(student, folder / "model.onnx", use)
        if int8 is not None:
            quantized = quantize(run_dir, description, int8, folder, (use["mean"], use["std"]))
        card = model_card(run_dir, description, aspects, calibration, formats=formats, folder=out_dir.name)
        write_bytes(folder / "README.md", card.encode())
        written = [name for name in FILES if (folder / name).exists()]
    return Export(folder=out_dir, files=tuple(written), onnx_difference=difference, int8=quantized)


def _require_timm_model(student: Student, config: StudentConfig, run_dir: Path) -> None:
    """Raise ExportInvalid for a student with layers that no timm model has."""
    if student.aspect_head is not None:
        raise ExportInvalid(
            f"the aspects of the run in {run_dir} have a head of their own, which no timm model has; "
            f"export onnx alone, or without the aspects"
        )
    if config.hidden is not None:
        raise ExportInvalid(
            f"the run in {run_dir} has a hidden layer before its outputs, which no timm model has; export onnx alone"
        )


def _write_weights(student: Student, folder: Path) -> str:
    """Write the weights as safetensors, and return their SHA-256."""
    state = {name: tensor.contiguous() for name, tensor in student.network.state_dict().items()}
    weights = safetensors.torch.save(state, metadata={"format": "pt"})
    write_bytes(folder / "model.safetensors", weights)
    return hashlib.sha256(weights).hexdigest()


def describe_use(
    description: RunDescription,
    student: Student,
    aspects: Sequence[Aspect],
    calibration: Calibration | None,
    profile: ClassProfile | None,
) -> dict[str, Any]:
    """How to feed the model and read it, in plain values."""
    config = description.config
    return {
        "resize_short_side": config.shown_size,
        "center_crop": config.image_size,
        "interpolation": "bilinear",
        "mean": list(student.mean),
        "std": list(student.std),
        "class_names": list(description.class_names),
        "aspects": [dataclasses.asdict(aspect) for aspect in aspects],
        "calibration": None if calibration is None else calibration.to_dict(),
        "class_profile": None if profile is None or not aspects else profile.to_dict(),
        "config": {**config.to_dict(), **_names_of_files(config)},
    }


def _names_of_files(config: StudentConfig) -> dict[str, str | None]:
    """Files and folders of the config without their place, which says nothing elsewhere and may be private."""
    paths = {"network": config.network, "weights": config.weights}
    return {name: path if path is None or path.startswith(HUB) else PurePath(path).name for name, path in paths.items()}


def timm_config(description: RunDescription, student: Student, aspects: Sequence[Aspect]) -> dict[str, Any]:
    """The config.json that timm reads beside weights, from a folder or from the Hugging Face hub."""
    config = description.config
    outputs = student.classes + len(aspects)
    fixed = timm.get_pretrained_cfg_value(config.backbone, "fixed_input_size")
    return {
        "architecture": config.backbone.partition(".")[0],
        "num_classes": outputs,
        "num_features": getattr(student.network, "num_features", None),
        "label_names": [*description.class_names, *(aspect.key for aspect in aspects)],
        "model_args": {"img_size": config.image_size} if fixed else {},
        "pretrained_cfg": {
            "tag": "aspects",
            "custom_load": False,
            "input_size": [3, config.image_size, config.image_size],
            "fixed_input_size": bool(fixed),
            "interpolation": "bilinear",
            "crop_pct": config.image_size / config.shown_size,
            "crop_mode": "center",
            "mean": list(student.mean),
            "std": list(student.std),
            "num_classes": outputs,
            "pool_size": None,
            "first_conv": student.network.pretrained_cfg.get("first_conv"),  # type: ignore[union-attr, operator]
            "classifier": student.network.pretrained_cfg.get("classifier"),  # type: ignore[union-attr, operator]
        },
    }


def write_onnx(student: Student, path: Path, use: Mapping[str, Any]) -> float:
    """Write `student` with what its user needs as metadata, and compare onnxruntime with torch on random images; the
    largest difference of a logit. Raises as `write_checked`."""
    image_size = use["center_crop"]
    names = ("class_logits", "aspect_logits")[: 2 if student.aspects else 1]
    model = OnnxModel(
        module=OnnxOutputs(student.cpu()),
        input_name="images",
        output_names=names,
        dynamic_axes={name: {0: "batch"} for name in ("images", *names)},
        difference=_difference,
        tolerance=TOLERANCE,
        compared="logits",
        metadata=onnx_metadata(use),
    )
    example = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    return write_checked(model, path, (example, example[:1]))


def onnx_metadata(use: Mapping[str, Any]) -> dict[str, str]:
    """What `describe_use` says, as JSON values."""
    names = ("resize_short_side", "center_crop", "interpolation", "mean", "std", "class_names")
    calibration = use["calibration"]
    values = {name: use[name] for name in names}
    values |= {"temperature": 1.0 if calibration is None else calibration["temperature"]}
    values |= {"aspects": [aspect["key"] for aspect in use["aspects"]]}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


class OnnxOutputs(nn.Module):
    """A student whose outputs are those that exist, under their own names."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        logits = self.student(images_BCHW)
        return tuple(logits[:2]) if self.student.aspects else (logits.class_logits_BC,)


def _difference(ours: Sequence[Tensor], theirs: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(a.numpy() - b).max()) for a, b in zip(ours, theirs, strict=True))

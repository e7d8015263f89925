"""Export a trained student: safetensors and config for timm, ONNX for everything else.

model.safetensors                 weights of the network
config.json                       timm.create_model(..., checkpoint_path=...), or "local-dir:FOLDER"; timm models only
model.onnx                        input `images` [B, 3, H, W], output `class_logits` (and `aspect_logits`)
preprocessing.json                sizes, mean, std, class names, aspects: what a user of either needs
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from storage.images.decode import ImageUnreadable, decode_image
from student.classification.augment import normalize_pixels
from student.classification.config import TORCHVISION, StudentConfig
from student.classification.images import view_for_evaluation
from student.classification.model import Student, create_network, without_aspects
from student.classification.runs import RunDescription, load_run
from student.core.aspects import Aspect, yes_probability
from student.core.cache import ImagesInvalid
from student.core.export_folder import FILES, USE, Export, ExportInvalid, export_folder, require_formats
from student.core.files import RunInvalid, exists, read_json, write_bytes, write_json
from student.core.onnx import OnnxModel, write_checked
from student.core.runs import DESCRIPTION, load_weights, read_description
from student.core.setting_errors import ConfigInvalid

# onnxruntime adds up in another order than torch; more than this is another function.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The most likely classes of one image with their probabilities, best first, and p(yes) of each aspect."""

    path: Path
    classes: tuple[tuple[str, float], ...]
    aspects: dict[str, float]


def export(
    run_dir: Path,
    out_dir: Path,
    formats: Sequence[str] = ("safetensors", "onnx"),
    keep_aspects: bool = False,
) -> Export:
    """Write the weights of the finished run in `run_dir` to `out_dir`, without its aspect outputs unless kept.

    Kept aspects follow the classes in the timm model's outputs and have an output of their own in ONNX. Raises
    ExportInvalid for an unknown format, for a folder that holds something else, and for a model that cannot be written
    as ONNX or that onnxruntime computes differently; nothing is written then.
    """
    require_formats(formats)
    run = load_run(run_dir)
    description = run.description
    student = run.load()
    if not keep_aspects and student.aspects:
        student = without_aspects(student, description.config)
    aspects = description.aspects if keep_aspects else ()
    if "safetensors" in formats and student.aspect_head is not None:
        raise ExportInvalid(
            f"the aspects of the run in {run_dir} have a head of their own, which no timm model has; "
            f"export onnx alone, or without the aspects"
        )
    difference = None
    with export_folder(out_dir) as folder:
        use = describe_use(description, student, aspects)
        if "safetensors" in formats:
            state = {name: tensor.contiguous() for name, tensor in student.network.state_dict().items()}
            weights = safetensors.torch.save(state, metadata={"format": "pt"})
            write_bytes(folder / "model.safetensors", weights)
            use["weights"] = hashlib.sha256(weights).hexdigest()
            if not description.config.backbone.startswith(TORCHVISION):
                values = timm_config(description, student, aspects)
                write_bytes(folder / "config.json", json.dumps(values, indent=2, ensure_ascii=False).encode())
        write_json(folder / USE, use)
        if "onnx" in formats:
            difference = write_onnx(student, folder / "model.onnx", description.config.image_size)
        written = [name for name in FILES if (folder / name).exists()]
    return Export(folder=out_dir, files=tuple(written), onnx_difference=difference)


def describe_use(description: RunDescription, student: Student, aspects: Sequence[Aspect]) -> dict[str, Any]:
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
        "config": config.to_dict(),
    }


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


def write_onnx(student: Student, path: Path, image_size: int) -> float:
    """Write `student` and compare onnxruntime with torch on random images; the largest difference of a logit. Raises as
    `write_checked`."""
    names = ("class_logits", "aspect_logits")[: 2 if student.aspects else 1]
    model = OnnxModel(
        module=OnnxOutputs(student.cpu()),
        input_name="images",
        output_names=names,
        dynamic_axes={name: {0: "batch"} for name in ("images", *names)},
        difference=_difference,
        tolerance=TOLERANCE,
        compared="logits",
    )
    example = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    return write_checked(model, path, (example, example[:1]))


class OnnxOutputs(nn.Module):
    """A student whose outputs are those that exist, under their own names."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        logits = self.student(images_BCHW)
        return tuple(logits[:2]) if self.student.aspects else (logits.class_logits_BC,)


def predict(folder: Path, paths: Sequence[Path], *, top: int = 5) -> list[Prediction]:
    """Predictions of the exported student or finished run in `folder` for the images at `paths`, in their order.

    Raises ImagesInvalid, naming the file, where one cannot be read.
    """
    student, use = _load_any(folder)
    class_names, aspects = use["class_names"], [Aspect(**aspect) for aspect in use["aspects"]]
    views = [_view(path, use) for path in paths]
    if not views:
        return []
    with torch.no_grad():
        logits = student(normalize_pixels(torch.stack(views), use["mean"], use["std"]))
    predictions = []
    yes_probs_BQ = yes_probability(logits.aspect_logits_BQ, aspects)
    for path, class_probs, yes_probs in zip(paths, logits.class_logits_BC.softmax(dim=1), yes_probs_BQ, strict=True):
        best = class_probs.topk(min(top, len(class_names)))
        classes = tuple((class_names[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True))
        aspect_probs = {aspect.key: p for aspect, p in zip(aspects, yes_probs.tolist(), strict=True)}
        predictions.append(Prediction(path=path, classes=classes, aspects=aspect_probs))
    return predictions


def _load_any(folder: Path) -> tuple[Student, dict[str, Any]]:
    if exists(folder / DESCRIPTION):
        description = read_description(folder, RunDescription)
        student = load_run(folder).load()
        return student, describe_use(description, student, description.aspects)
    path = folder / "model.safetensors"
    if not exists(folder / USE) or not exists(path):
        raise ExportInvalid(f"no run and no safetensors export in {folder}; make one with 'aspects export'")
    try:
        use = read_json(folder / USE)
    except RunInvalid as error:
        raise ExportInvalid(f"{folder / USE} is damaged; export again") from error
    try:
        classes, aspects = len(use["class_names"]), TypeAdapter(list[Aspect]).validate_python(use["aspects"])
        config = StudentConfig.from_stored(use["config"]).untrained()
    except (KeyError, TypeError, ValidationError, ConfigInvalid) as error:
        raise ExportInvalid(f"{folder / USE} is damaged ({error}); export again") from error
    network = create_network(config, outputs=classes + len(aspects))
    try:
        load_weights(network, path, use.get("weights"))
    except RunInvalid as error:
        raise ExportInvalid(f"{path} is damaged, or of another export; export again") from error
    return Student(network, classes=classes, aspects=len(aspects)), use


def _view(path: Path, use: dict[str, Any]) -> Tensor:
    try:
        image = decode_image(path.read_bytes())
    except (OSError, ImageUnreadable) as error:
        raise ImagesInvalid(f"{path} cannot be read ({error}); leave it out or repair it") from error
    view = view_for_evaluation(image, resize_size=use["resize_short_side"], image_size=use["center_crop"])
    return torch.from_numpy(np.array(view))


def _difference(ours: Sequence[Tensor], theirs: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(a.numpy() - b).max()) for a, b in zip(ours, theirs, strict=True))

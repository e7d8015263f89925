"""README.md of an export: what the model is, what it learned from, its figures, and how it is loaded.

It is a model card as the Hugging Face Hub shows it: metadata in YAML, then Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from storage.text import printable
from student.classification.calibration import Calibration
from student.classification.config import TORCHVISION, StudentConfig
from student.classification.evaluate import Evaluation, read_evaluation
from student.classification.runs import RunDescription
from student.core.aspects import Aspect
from student.core.evaluation import EVALUATION_FILE

QUESTIONS_LISTED = 20
CLASSES_LISTED = 50

HEADER = """---
license: other
license_name: to-be-chosen
pipeline_tag: image-classification
tags: [image-classification, {library}, aspects]
{library_line}---

# {title}

License: **to be chosen** - replace this line and `license` above. The licenses of the images, of pretrained weights and
of the teacher's answers may restrict it.
"""

USE = """## Use

Images: the short side is resized to {resized} pixels (bilinear), the middle {size} x {size} is cut out, and RGB in 0..1
is normalised by the mean and std in `preprocessing.json`.
"""

TIMM = """```python
import timm

model = timm.create_model("local-dir:{folder}", pretrained=True).eval()   # or "hf-hub:OWNER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
class_names = model.pretrained_cfg["label_names"]
logits = model(transform(image).unsqueeze(0))
```

```python
from transformers import pipeline

pipeline("image-classification", model="{folder}")("image.jpg")
```
"""

ONNX = """```python
import json
import onnxruntime

session = onnxruntime.InferenceSession("{folder}/model.onnx")
use = session.get_modelmeta().custom_metadata_map      # sizes, mean, std, class_names, temperature: JSON values
logits = session.run(["class_logits"], {{"images": pixels}})[0]   # float32 [B, 3, {size}, {size}], normalised
```
"""

ASPECTS = """```python
from student.classification import load_classifier

load_classifier("{folder}").predict(["image.jpg"])    # calibrated probabilities
```
"""


def model_card(
    run_dir: Path,
    description: RunDescription,
    aspects: Sequence[Aspect],
    calibration: Calibration | None,
    *,
    formats: Sequence[str],
    folder: str,
) -> str:
    """The text; `aspects` are those that the export keeps, `folder` the place of the export in the examples."""
    config = description.config
    with_timm = "safetensors" in formats and not config.backbone.startswith(TORCHVISION)
    title = f"{config.backbone} for {len(description.class_names)} classes of {_text(description.dataset)}"
    library = "timm" if with_timm else "onnx"
    header = HEADER.format(title=title, library=library, library_line="library_name: timm\n" if with_timm else "")
    lines = [header, *_learned(description), *_figures(run_dir), *_outputs(description, aspects, calibration)]
    lines += [USE.format(resized=config.shown_size, size=config.image_size)]
    lines += [TIMM.format(folder=folder)] if with_timm else []
    lines += [ONNX.format(folder=folder, size=config.image_size)] if "onnx" in formats else []
    lines += [ASPECTS.format(folder=folder)] if "safetensors" in formats else []
    return "\n".join(lines)


def _learned(description: RunDescription) -> Iterator[str]:
    config = description.config
    yield "## Training"
    yield ""
    yield f"- dataset: {_text(description.dataset)}, {len(description.class_names)} classes"
    yield f"- backbone: {config.backbone}, {_start(config)}"
    yield f"- method: `{config.method}`, {config.epochs} epochs at {config.image_size} pixels, seed {config.seed}"
    if config.label_fraction < 1:
        yield f"- labels: {config.label_fraction:.0%} of the training images"
    if config.labels_per_class == 0:
        yield "- labels: none; the classes were learned from answers about them"
    elif config.labels_per_class is not None:
        yield f"- labels: {config.labels_per_class} training images of each class"
    if description.teacher:
        asked = f" to {len(description.aspects)} yes/no questions:" if description.aspects else " to yes/no questions"
        yield f"- answers of teacher `{_text(description.teacher)}`{asked}"
    for aspect in description.aspects[:QUESTIONS_LISTED]:
        yield f"  - {_text(aspect.text)}"
    if len(description.aspects) > QUESTIONS_LISTED:
        yield f"  - and {len(description.aspects) - QUESTIONS_LISTED} more"
    yield ""


def _start(config: StudentConfig) -> str:
    return "pretrained" if config.pretrained or config.weights else "from scratch"


def _figures(run_dir: Path) -> Iterator[str]:
    before, after = EVALUATION_FILE.split("{split}")
    splits = sorted(path.name.removeprefix(before).removesuffix(after) for path in run_dir.glob(f"{before}*{after}"))
    found = [evaluation for split in splits if (evaluation := read_evaluation(run_dir, split)) is not None]
    yield "## Figures"
    yield ""
    if not found:
        yield "Not evaluated before the export."
        yield ""
        return
    yield "| split | images | top-1 % | top-5 % | macro F1 % | ECE % | ECE % after calibration |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for evaluation in found:
        yield f"| {' | '.join(_row(evaluation))} |"
    yield ""


def _row(evaluation: Evaluation) -> Iterator[str]:
    yield _text(f"{evaluation.dataset}, {evaluation.split}")
    yield f"{evaluation.images:,}"
    reliabilities = (evaluation.reliability, evaluation.calibrated)
    eces = [None if found is None else found.ece for found in reliabilities]
    for share in (evaluation.top1, evaluation.top5, evaluation.macro_f1, *eces):
        yield "-" if share is None else f"{100 * share:.2f}"


def _outputs(description: RunDescription, aspects: Sequence[Aspect], calibration: Calibration | None) -> Iterator[str]:
    names = [_text(name) for name in description.class_names]
    more = f", and {len(names) - CLASSES_LISTED} more (`preprocessing.json`)" if len(names) > CLASSES_LISTED else ""
    yield "## Outputs"
    yield ""
    yield f"Logits of the classes: {', '.join(names[:CLASSES_LISTED])}{more}."
    if aspects:
        yield f"After them, or as `aspect_logits`, outputs for {len(aspects)} questions (`preprocessing.json`)."
    if calibration is not None:
        yield f"Probabilities are calibrated as softmax(logits / {calibration.temperature:.3f}), fitted on "
        yield f"{calibration.images} images; timm and transformers leave the division out."
    yield ""


def _text(text: str) -> str:
    """Within a line or table cell of Markdown."""
    return printable(text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import yaml

from storage.datasets import FileDataset, image_folder
from storage.images.decode import decode_image
from student.classification.classifier import load_classifier
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate, predict_logits
from student.classification.examples import TeacherAnswers
from student.classification.export import describe_use, export
from student.classification.images import evaluation_cache
from student.classification.quantize import QuantizeOn
from student.classification.runs import load_run
from student.classification.training import train
from student.core.examples import ExamplesInvalid
from student.core.export_folder import ExportInvalid
from tests.student.conftest import answers_for

BACKBONES = ["test_resnet", "test_vit", "test_efficientnet"]


@pytest.fixture(scope="module")
def run_dir(image_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = image_folder(image_root, name="colours")
    config = StudentConfig(
        backbone="test_resnet", method="makd", image_size=32, resize_size=36, epochs=8, batch_size=6, lr=0.05,
        alpha=2.0, warmup=1, val_fraction=0.25,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("export") / "run"
    train(config, dataset, TeacherAnswers(image=answers_for(dataset)), folder, progress=False)
    return folder


def truth(config: StudentConfig, dataset: FileDataset, run_dir: Path) -> tuple[list[Path], torch.Tensor, torch.Tensor]:
    """Paths of the test images and the run's own class and aspect logits for them."""
    from student.classification.runs import load_run

    records = [record for record in dataset.records if record.split == "test"]
    run = load_run(run_dir)
    with evaluation_cache(run.description.config, dataset, records, run_dir / "images", progress=False) as images:
        logits = predict_logits(run.load(), images, progress=False)
    return [dataset.places[record.image_id] for record in records], logits.class_logits_BC, logits.aspect_logits_BQ


@pytest.mark.parametrize("backbone", BACKBONES)
def test_timm_alone_gives_the_same_logits(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path, backbone: str
) -> None:
    run = train(
        config.replace(backbone=backbone, epochs=2, resize_size=36, drop_rate=0.0),
        dataset, teacher_answers, tmp_path / "run", progress=False,
    )  # fmt: skip
    export(run.run_dir, tmp_path / "out", formats=["safetensors"])
    paths, class_logits, _ = truth(config, dataset, run.run_dir)
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    data: Any = timm.data
    transform = data.create_transform(**data.resolve_model_data_config(model))
    with torch.no_grad():
        found = model(torch.stack([transform(decode_image(path.read_bytes())) for path in paths]))
    torch.testing.assert_close(found, class_logits, atol=1e-4, rtol=1e-4)


def test_timm_loads_the_weights_as_a_checkpoint(config: StudentConfig, run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "out", formats=["safetensors"])
    images = torch.randn(2, 3, 32, 32)
    model = timm.create_model(
        config.backbone, num_classes=3, checkpoint_path=str(tmp_path / "out" / "model.safetensors")
    ).eval()
    local = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert torch.equal(model(images), local(images))


@pytest.mark.parametrize("keep_aspects", [False, True])
def test_onnxruntime_gives_the_same_logits_for_any_batch(
    config: StudentConfig, dataset: FileDataset, run_dir: Path, tmp_path: Path, keep_aspects: bool
) -> None:
    done = export(run_dir, tmp_path / "out", formats=["onnx"], keep_aspects=keep_aspects)
    assert done.onnx_difference is not None
    assert done.onnx_difference <= 1e-4
    use = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    paths, class_logits, aspect_logits = truth(config, dataset, run_dir)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    images = np.stack([np.asarray(decode_image(path.read_bytes()).resize((32, 32)), np.float32) for path in paths])
    images = ((images / 255 - use["mean"]) / use["std"]).transpose(0, 3, 1, 2).astype(np.float32)
    outputs = session.run(None, {"images": images})
    assert [output.name for output in session.get_outputs()] == ["class_logits", "aspect_logits"][: 1 + keep_aspects]
    assert outputs[0].shape == class_logits.shape
    # Resized in one step here, so not to the last digit; the classes are the same.
    assert (outputs[0].argmax(axis=1) == class_logits.argmax(dim=1).numpy()).all()
    if keep_aspects:
        assert outputs[1].shape == aspect_logits.shape
    assert not list((tmp_path / "out").glob("*.unfinished"))


@pytest.mark.parametrize("name", ["model.safetensors", "preprocessing.json"])
def test_an_export_with_a_flipped_bit_predicts_nothing(run_dir: Path, tmp_path: Path, name: str) -> None:
    export(run_dir, tmp_path / "out", formats=["safetensors"])
    use = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    (tmp_path / "out" / "preprocessing.json").write_text(json.dumps(use | {"later": 1}))
    load_classifier(tmp_path / "out")
    data = bytearray((tmp_path / "out" / name).read_bytes())
    data[-5 if name == "model.safetensors" else data.index(b"resize_short_side") + 20] ^= 1
    (tmp_path / "out" / name).write_bytes(data)
    with pytest.raises(ExportInvalid, match=rf"{name} is damaged.*; export again"):
        load_classifier(tmp_path / "out")


def test_impossible_exports_and_predictions_are_one_line(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportInvalid, match="export format 'tflite' is unknown; use safetensors or onnx"):
        export(run_dir, tmp_path / "out", formats=["tflite"])
    with pytest.raises(ExportInvalid, match=r"no run at .*, or name a folder of 'aspects export'"):
        load_classifier(tmp_path)


def test_transformers_names_the_classes(dataset: FileDataset, run_dir: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    export(run_dir, tmp_path / "out", formats=["safetensors"])
    paths = [str(dataset.places[record.image_id]) for record in dataset.records if record.split == "test"]
    found = [best[0]["label"] for best in pipeline("image-classification", model=str(tmp_path / "out"))(paths)]
    assert found == load_classifier(tmp_path / "out").predict(paths)["predicted"].to_list()


def test_onnx_says_how_it_is_used(run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "out", formats=["onnx"], keep_aspects=True)
    metadata = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx")).get_modelmeta().custom_metadata_map
    said = {name: json.loads(value) for name, value in metadata.items()}
    use = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    for name in ("class_names", "resize_short_side", "center_crop", "interpolation", "mean", "std"):
        assert said[name] == use[name]
    assert said["temperature"] == load_classifier(run_dir).temperature != 1
    assert said["aspects"] == ["is_warm", "is_leafy"]


def test_the_card_names_the_training_data_and_the_figures(dataset: FileDataset, run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation-*"))
    run_dir = tmp_path / "run"
    export(run_dir, tmp_path / "before", formats=["onnx"])
    assert "Not evaluated before the export." in (tmp_path / "before" / "README.md").read_text()
    scores = evaluate(run_dir, dataset)
    export(run_dir, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["pipeline_tag"] == "image-classification"
    assert front["library_name"] == "timm"
    for said in ("test_resnet for 3 classes of colours", "`makd`", "`abc123` to 2 yes/no questions", "Is it of a warm"):
        assert said in card
    assert f"| colours, test | 12 | {100 * scores.top1:.2f} |" in card
    assert 'timm.create_model("local-dir:out"' in card


@pytest.mark.parametrize("static", [False, True])
def test_int8_is_smaller_and_as_good(dataset: FileDataset, run_dir: Path, tmp_path: Path, static: bool) -> None:
    on = QuantizeOn(dataset=dataset if static else None)
    done = export(run_dir, tmp_path / "out", formats=["onnx"], int8=on)
    assert done.int8 is not None
    assert done.int8.kind == ("static" if static else "dynamic")
    whole, small = (tmp_path / "out" / name for name in ("model.onnx", "model.int8.onnx"))
    assert small.stat().st_size < whole.stat().st_size / 2
    metadata = [onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map for path in (whole, small)]
    assert metadata[0].items() <= metadata[1].items()
    if static:
        assert (done.int8.images, done.int8.split, done.int8.top1_fp32) == (12, "test", evaluate(run_dir, dataset).top1)
        assert done.int8.top1 is not None
        assert done.int8.top1 >= 0.9


def test_int8_needs_onnx_and_a_dataset_of_the_same_classes(dataset: FileDataset, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportInvalid, match="int8 is made from ONNX; export onnx too"):
        export(run_dir, tmp_path / "out", formats=["safetensors"], int8=QuantizeOn())
    other = dataclasses.replace(dataset, class_names=("a", "b", "c"))
    with pytest.raises(ExamplesInvalid, match="has other classes than the run"):
        export(run_dir, tmp_path / "out", int8=QuantizeOn(dataset=other))
    assert not (tmp_path / "out").exists()


def test_an_export_says_nothing_of_where_files_lay(run_dir: Path) -> None:
    run = load_run(run_dir)
    given = {"network": "/home/someone/large", "weights": "/home/someone/weights.pth"}
    description = dataclasses.replace(run.description, config=run.description.config.replace(**given))
    stored = describe_use(description, run.load(), (), None, None)["config"]
    assert (stored["network"], stored["weights"]) == ("large", "weights.pth")
    hub = dataclasses.replace(description, config=description.config.replace(weights="hf-hub:someone/net"))
    assert describe_use(hub, run.load(), (), None, None)["config"]["weights"] == "hf-hub:someone/net"

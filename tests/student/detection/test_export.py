from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch

from storage.datasets import DetectionDataset
from student.core.export_folder import ExportInvalid
from student.detection.config import DetectorConfig
from student.detection.examples import DetectionAnswers
from student.detection.export import export_detector
from student.detection.training import train_detector


@pytest.mark.parametrize("detector", ["faster-rcnn", "fcos", "retinanet"])
def test_onnxruntime_finds_the_same(
    detector_config: DetectorConfig,
    scenes: DetectionDataset,
    detection_answers: DetectionAnswers,
    tmp_path: Path,
    detector: str,
) -> None:
    config = detector_config.replace(detector=detector, epochs=2, score_threshold=0.01, detections=5)
    run = train_detector(config, scenes, detection_answers, tmp_path / "run", progress=False)
    written = export_detector(tmp_path / "run", tmp_path / "out")
    assert written.onnx_difference is not None
    assert written.onnx_difference < 1e-4
    trained = run.load()
    image = torch.rand(3, 48, 40, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        (found,) = trained([image])
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    boxes, scores, labels = session.run(["boxes", "scores", "labels"], {"image": image.numpy()})
    np.testing.assert_allclose(scores, found["scores"].numpy(), atol=1e-4)
    assert boxes.shape == (len(scores), 4)
    assert set(labels.tolist()) <= {0, 1, 2, 3}
    weights = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == trained.network.state_dict().keys()  # without the aspects
    use = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    assert use["class_names"] == list(scenes.class_names)


def test_detectors_that_cannot_be_exported_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExportInvalid, match="use safetensors or onnx"):
        export_detector(tmp_path, tmp_path / "out", ["tflite"])
    with pytest.raises(ExportInvalid, match=r"call Detector\.explain"):
        export_detector(tmp_path, tmp_path / "out", keep_aspects=True)

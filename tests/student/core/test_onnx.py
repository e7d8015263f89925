from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from student.core.export_folder import ExportInvalid
from student.core.onnx import OnnxModel, write_checked


class Doubled(nn.Module):
    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        return (2 * values,)


def model_that_differs_by(difference: float) -> OnnxModel:
    def compare(ours: Sequence[Tensor], theirs: Sequence[np.ndarray]) -> float:
        assert np.array_equal(ours[0].numpy(), theirs[0])
        return difference

    return OnnxModel(
        module=Doubled(),
        input_name="values",
        output_names=("doubled",),
        dynamic_axes={"values": {0: "batch"}, "doubled": {0: "batch"}},
        difference=compare,
        tolerance=0.5,
        compared="values",
    )


EXAMPLES = (torch.ones(2, 3), torch.ones(1, 3))


def test_exported_models_take_any_batch_size(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert write_checked(model_that_differs_by(0.25), path, EXAMPLES) == 0.25
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["doubled"], {"values": np.full((5, 3), 3, np.float32)})
    assert found.tolist() == [[6, 6, 6]] * 5


@pytest.mark.parametrize("difference", [0.75, float("nan")])
def test_a_model_that_differs_is_refused_and_leaves_no_file(tmp_path: Path, difference: float) -> None:
    with pytest.raises(ExportInvalid, match=r"onnxruntime's values differ from torch's by .*, more than 0.5"):
        write_checked(model_that_differs_by(difference), tmp_path / "model.onnx", EXAMPLES)
    assert list(tmp_path.iterdir()) == []

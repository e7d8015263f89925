from __future__ import annotations

import pytest
import torch

from student.core.evaluation import calibration_error, score_aspects


def test_aspects_are_scored_against_the_teacher() -> None:
    logits = torch.tensor([[3.0, -9.0], [2.0, 0.0], [-1.0, 9.0], [5.0, 1.0]])
    teacher = torch.tensor([[0.9, 0.7], [0.8, 0.9], [0.1, 0.8], [0.5, float("nan")]])
    ranked, always_yes = score_aspects(logits.sigmoid(), teacher, ("ranked", "always_yes"))
    assert (ranked.auroc, ranked.images) == (1.0, 4)
    assert (always_yes.auroc, always_yes.images) == (None, 3)
    assert score_aspects((-logits).sigmoid(), teacher, ("ranked", "always_yes"))[0].auroc == 0.0


def test_calibration_error_is_the_gap_in_each_bin() -> None:
    assert calibration_error(torch.tensor([0.2, 0.8]), torch.tensor([0.2, 0.8])) == pytest.approx(0, abs=1e-6)
    assert calibration_error(torch.tensor([0.9] * 4), torch.tensor([0.5, 0.6, 0.4, 0.5])) == pytest.approx(0.4)
    # Within one bin errors cancel, between bins they do not.
    assert calibration_error(torch.tensor([0.9, 0.1]), torch.tensor([0.7, 0.3])) == pytest.approx(0.2)

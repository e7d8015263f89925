from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.student.detection.small_detectors import KINDS, detector_of, two_boxes


def test_box_aspects_of_proposals_by_hand() -> None:
    """Faster R-CNN: the logits of every matched proposal against its own box's answers, unanswered ones left out."""
    detector = detector_of("faster-rcnn")
    images, targets = two_boxes()
    seen: list[Tensor] = []
    assert detector.box_aspects is not None
    hook = detector.network.roi_heads.box_head.register_forward_hook(lambda _, __, output: seen.append(output))
    torch.manual_seed(0)
    losses = detector(images, targets)
    hook.remove()
    (index,), (label,) = detector.network.roi_heads.matched
    assert {0, 1} <= set(index[label > 0].tolist())  # the boxes themselves are among the proposals
    logits = detector.box_aspects.outputs(seen[0])
    terms = []
    for row in torch.nonzero(label > 0).flatten().tolist():
        for question in range(2):
            p_yes = targets[0]["aspects"][index[row], question]
            if not p_yes.isnan():
                q = logits[row, question].sigmoid()
                terms.append(-(p_yes * q.log() + (1 - p_yes) * (1 - q).log()))
    torch.testing.assert_close(losses["box_aspects"], torch.stack(terms).mean())


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_box_aspects_of_places_by_hand(kind: str) -> None:
    detector = detector_of(kind)
    images, targets = two_boxes()
    seen: list[Tensor] = []
    tower = detector.network.head.classification_head.conv
    hook = tower.register_forward_hook(lambda _, __, output: seen.append(output))
    losses = detector(images, targets)
    hook.remove()
    assert detector.box_aspects is not None
    maps = [detector.box_aspects.outputs(one)[0] for one in seen]
    (index,) = detector.network.head.matched
    anchors = detector.network.anchor_generator.num_anchors_per_location()[0]
    terms, row = [], 0
    for one in maps:
        for y in range(one.shape[1]):
            for x in range(one.shape[2]):
                for _ in range(anchors):
                    box, row = int(index[row]), row + 1
                    if box >= 0:
                        for question in range(2):
                            p_yes = targets[0]["aspects"][box, question]
                            if not p_yes.isnan():
                                terms.append(functional.binary_cross_entropy_with_logits(one[question, y, x], p_yes))
    assert row == len(index)
    torch.testing.assert_close(losses["box_aspects"], torch.stack(terms).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_is_described_where_it_was_learned(kind: str) -> None:
    """Trained on one image, the aspects of its two boxes come out as they were taught."""
    detector = detector_of(kind, hidden=128)
    images, targets = two_boxes()
    images[0][0, 4:24, 4:24] = images[0][1, 30:58, 30:62] = 2.0  # one red, one green
    targets[0]["aspects"] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for _ in range(80):
        losses = detector(images, targets)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    (described,) = detector.eval().describe(images, [targets[0]["boxes"]])
    assert described.round().tolist() == targets[0]["aspects"].tolist()

from __future__ import annotations

import torch

from student.detection.augment import BoxAugmenter
from student.detection.config import DetectorConfig


def image_and_target() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A black image with two white boxes."""
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    boxes = torch.tensor([[5.0, 5, 15, 20], [30, 10, 50, 35]])
    for left, top, right, bottom in boxes.int().tolist():
        image[:, top:bottom, left:right] = 255
    aspects = torch.tensor([[0.1], [0.9]])
    return image, {"boxes": boxes, "labels": torch.tensor([0, 1]), "aspects": aspects, "image_aspects": torch.ones(1)}


def test_boxes_stay_on_their_objects(detector_config: DetectorConfig) -> None:
    augment = BoxAugmenter(detector_config)
    image, target = image_and_target()
    kept = set()
    for seed in range(30):
        seen, its = augment(image, target, seed)
        assert seen.dtype == torch.float32
        assert seen.max() <= 1
        for label, aspects in zip(its["labels"], its["aspects"], strict=True):
            assert aspects == target["aspects"][label]
        for left, top, right, bottom in its["boxes"].round().int().tolist():
            # White to its borders, but for a line where the crop cut half of a pixel.
            assert seen[0, top + 1 : bottom - 1, left + 1 : right - 1].min() > 0.5
        kept.add(len(its["boxes"]))
    assert kept == {1, 2}


def test_a_view_depends_on_its_seed_alone(detector_config: DetectorConfig) -> None:
    augment = BoxAugmenter(detector_config)
    image, target = image_and_target()
    before = torch.get_rng_state()
    one, other = augment(image, target, 3), augment(image, target, 3)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1]["boxes"], other[1]["boxes"])
    assert torch.equal(before, torch.get_rng_state())

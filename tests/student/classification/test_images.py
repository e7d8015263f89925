from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from storage.datasets import FileDataset
from storage.images.decode import decode_image
from student.classification.config import StudentConfig
from student.classification.images import evaluation_cache, shrink_for_training, view_for_evaluation


def test_evaluation_images_are_resized_and_cut_to_one_shape(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    config = config.replace(resize_size=36)
    with evaluation_cache(config, dataset, dataset.records, tmp_path, progress=False) as cache:
        stack = cache.stack(slice(0, 5))
        assert stack.shape == (5, 32, 32, 3)
        image = decode_image(dataset.read(cache.records[3].image_id))
        expected = view_for_evaluation(image, resize_size=36, image_size=32)
        np.testing.assert_array_equal(stack[3].numpy(), np.asarray(expected))


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 80), (50, 40)), ((30, 20), (30, 20)), ((900, 100), (80, 40)), ((100, 900), (40, 80))]
)
def test_training_images_keep_their_shape_up_to_a_limit(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink_for_training(Image.new("RGB", size), size=40).size == expected


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_a_thin_strip_is_not_made_huge(size: tuple[int, int]) -> None:
    assert view_for_evaluation(Image.new("RGB", size, "red"), resize_size=256, image_size=224).size == (224, 224)


def test_a_panorama_is_evaluated_by_its_middle() -> None:
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 200, 3), dtype=np.uint8))
    whole = v2.functional.center_crop(v2.functional.resize(wide, [64], InterpolationMode.BILINEAR), [56, 56])
    assert np.array_equal(np.asarray(view_for_evaluation(wide, resize_size=64, image_size=56)), np.asarray(whole))

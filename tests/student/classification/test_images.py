from __future__ import annotations

from pathlib import Path

import numpy as np

from storage.datasets import FileDataset
from storage.images.decode import decode_image
from student.classification.config import StudentConfig
from student.classification.images import evaluation_cache, stack
from student.core.resizing import view_for_evaluation


def test_evaluation_images_are_resized_and_cut_to_one_shape(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    config = config.replace(resize_size=36)
    with evaluation_cache(config, dataset, dataset.records, tmp_path, progress=False) as cache:
        batch = stack(next(cache.in_order(5)))
        assert batch.shape == (5, 32, 32, 3)
        image = decode_image(dataset.read(cache.records[3].image_id))
        expected = view_for_evaluation(image, resize_size=36, image_size=32)
        np.testing.assert_array_equal(batch[3].numpy(), np.asarray(expected))

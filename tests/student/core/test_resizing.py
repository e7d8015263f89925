from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from storage.images.decode import decode_image
from student.core.resizing import (
    TrainingShrink,
    crop_middle,
    resize_short_side,
    shrink_for_training,
    shrink_longer_side,
    shrunk_size,
    view_for_evaluation,
)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("sides", [(75, 50), (50, 75), (41, 97), (40, 40), (33, 34), (500, 333)])
def test_pixels_are_those_of_torchvision(sides: tuple[int, int]) -> None:
    image = noise(*sides)
    resized = v2.functional.resize(image, [40], InterpolationMode.BILINEAR)
    assert np.array_equal(np.asarray(resize_short_side(image, 40)), np.asarray(resized))
    cropped = v2.functional.center_crop(resized, [40, 37])
    assert np.array_equal(np.asarray(crop_middle(resized, 37, 40)), np.asarray(cropped))


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 80), (50, 40)), ((30, 20), (30, 20)), ((900, 100), (80, 40)), ((100, 900), (40, 80))]
)
def test_training_images_keep_their_shape_up_to_a_limit(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink_for_training(Image.new("RGB", size), size=40).size == expected


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_a_thin_strip_is_not_made_huge(size: tuple[int, int]) -> None:
    assert view_for_evaluation(Image.new("RGB", size, "red"), resize_size=256, image_size=224).size == (224, 224)


def test_a_panorama_is_evaluated_by_its_middle() -> None:
    wide = noise(200, 16)
    whole = v2.functional.center_crop(v2.functional.resize(wide, [64], InterpolationMode.BILINEAR), [56, 56])
    assert np.array_equal(np.asarray(view_for_evaluation(wide, resize_size=64, image_size=56)), np.asarray(whole))


@pytest.mark.parametrize(
    ("sides", "size", "expected"),
    [((80, 20), 40, (40, 10)), ((30, 40), 64, (30, 40)), ((1, 500), 10, (1, 10)), ((640, 481), 416, (416, 313))],
)
def test_the_longer_side_is_shrunk_and_never_enlarged(
    sides: tuple[int, int], size: int, expected: tuple[int, int]
) -> None:
    assert shrink_longer_side(Image.new("RGB", sides), size=size).size == expected
    assert shrunk_size(sides, size) == expected


@pytest.mark.parametrize(("size", "decoded"), [(20, (50, 75)), (40, (100, 150)), (60, (200, 300)), (110, (400, 600))])
def test_drafts_are_at_least_twice_as_large_as_what_is_kept(size: int, decoded: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    noise(600, 400).save(buffer, "JPEG", exif=_turned())
    preparation = TrainingShrink(size=size, draft=True)
    assert decode_image(buffer.getvalue(), smallest=preparation.smallest).size == decoded
    assert preparation(decode_image(buffer.getvalue(), smallest=preparation.smallest)).size == (size, size * 3 // 2)
    assert TrainingShrink(size=size).smallest is None


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif

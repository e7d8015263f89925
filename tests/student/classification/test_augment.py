import math

import pytest
import torch
from torchvision.transforms import v2

from student.classification.augment import (
    Augmenter,
    crop_batch,
    jitter_batch,
    mix,
    normalize_pixels,
    pad_together,
    random_boxes,
)
from student.classification.config import StudentConfig

CPU = torch.device("cpu")


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_image(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draws())


def crop(image: torch.Tensor, box: list[float], size: int, flip: bool = False) -> torch.Tensor:
    batch, canvas = pad_together([image])
    return crop_batch(batch.float(), torch.tensor([box]), torch.tensor([flip]), canvas, size)[0]


def test_every_image_of_a_batch_gets_its_own_crop(config: StudentConfig) -> None:
    image = random_image(40, 40)
    batch = Augmenter(config, (0.5,) * 3, (0.25,) * 3)([image] * 8, draws(), CPU)
    assert batch.shape == (8, 3, 32, 32)
    assert len({tuple(one.flatten().tolist()) for one in batch}) == 8


def test_the_same_generator_gives_the_same_batch(config: StudentConfig) -> None:
    augment = Augmenter(config, (0.5,) * 3, (0.25,) * 3)
    images = [random_image(40, 50), random_image(60, 36)]
    assert torch.equal(augment(images, draws(3), CPU), augment(images, draws(3), CPU))
    assert not torch.equal(augment(images, draws(3), CPU), augment(images, draws(4), CPU))


def test_the_whole_image_at_its_own_size_is_left_alone_or_mirrored() -> None:
    image = random_image(32, 32)
    torch.testing.assert_close(crop(image, [0, 0, 32, 32], 32), image.float(), atol=0.02, rtol=0)
    torch.testing.assert_close(crop(image, [0, 0, 32, 32], 32, flip=True), image.float().flip(-1), atol=0.02, rtol=0)


def test_a_crop_is_at_its_box_on_any_canvas() -> None:
    small, large = random_image(40, 48), random_image(80, 90)
    batch, canvas = pad_together([small, large])
    boxes = torch.tensor([[5.0, 7, 16, 16], [11.0, 3, 16, 16]])
    cropped = crop_batch(batch.float(), boxes, torch.tensor([False, False]), canvas, 16)
    torch.testing.assert_close(cropped[0], small[:, 5:21, 7:23].float(), atol=0.05, rtol=0)
    torch.testing.assert_close(cropped[1], large[:, 11:27, 3:19].float(), atol=0.05, rtol=0)


def test_enlarging_is_torchvisions_resized_crop() -> None:
    image = random_image(40, 48)
    expected = v2.functional.resized_crop(image.float(), 10, 12, 12, 15, [32, 32], antialias=True)
    found = crop(image, [10, 12, 12, 15], 32)
    # Apart from the outermost pixels, which see their neighbours beyond the box here and not there.
    torch.testing.assert_close(found[:, 3:-3, 3:-3], expected[:, 3:-3, 3:-3], atol=0.05, rtol=0)


def test_boxes_follow_their_rules() -> None:
    sizes = torch.tensor([[40, 60]] * 2000)
    top, left, height, width = random_boxes(sizes, (0.2, 0.8), (0.75, 4 / 3), draws()).unbind(dim=1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 40).all()
    assert (left + width <= 60).all()
    share = height * width / 2400
    # Rounding to whole pixels moves both a little; boxes that do not fit make large shares rarer.
    assert 0.19 < share.min() < 0.22
    assert 0.6 < share.max() < 0.82
    assert abs((width / height).log().mean()) < 0.05
    assert (width / height).log().abs().max() < math.log(4 / 3) + 0.1
    assert top.unique().numel() > 10


def test_a_box_that_cannot_fit_becomes_the_centre() -> None:
    boxes = random_boxes(torch.tensor([[10, 100]]), (0.9, 1.0), (0.75, 4 / 3), draws())
    assert boxes.tolist() == [[0, 43, 10, 13]]


def test_jitter_is_torchvisions_with_a_factor_for_each_image() -> None:
    images = torch.rand(2, 3, 8, 8, generator=draws())
    factors = torch.tensor([[0.7, 1.3, 0.6], [1.2, 0.8, 1.4]])
    for image, found, (brightness, contrast, saturation) in zip(
        images, jitter_batch(images, factors), factors.tolist(), strict=True
    ):
        expected = v2.functional.adjust_brightness(image, brightness)
        expected = v2.functional.adjust_contrast(expected, contrast)
        expected = v2.functional.adjust_saturation(expected, saturation)
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_policies_treat_each_image_on_its_own(config: StudentConfig, policy: str) -> None:
    config = config.replace(policy=policy, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0)
    torch.manual_seed(0)
    batch = Augmenter(config, (0.5,) * 3, (0.25,) * 3)([random_image(32, 32)] * 12, draws(), CPU)
    assert len({tuple(one.flatten().tolist()) for one in batch}) > 3


def test_pixels_are_normalised() -> None:
    pixels = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    expected = torch.tensor([2.0, 5.0, 10.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(normalize_pixels(pixels, (0.5, 0.5, 0.5), (0.25, 0.1, 0.05)), expected)


def test_mixup_blends_each_image_with_its_partner(config: StudentConfig) -> None:
    batch = torch.rand(6, 3, 8, 8)
    mixed, share, partners = mix(config.replace(mixup=0.4), batch, draws())
    assert 0 < share < 1
    assert sorted(partners.tolist()) == list(range(6))
    torch.testing.assert_close(mixed, share * batch + (1 - share) * batch[partners])
    again, same_share, _ = mix(config.replace(mixup=0.4), batch, draws())
    assert share == same_share
    assert torch.equal(mixed, again)


def test_cutmix_pastes_a_box_of_the_partner_and_counts_its_pixels(config: StudentConfig) -> None:
    batch = torch.rand(6, 3, 16, 16)
    for seed in range(5):
        mixed, share, partners = mix(config.replace(cutmix=1.0), batch, draws(seed))
        pasted = (mixed != batch).any(dim=1)
        expected = torch.where(pasted[:, None], batch[partners], batch)
        assert torch.equal(mixed, expected)
        foreign = [index for index in range(6) if partners[index] != index]
        assert [1 - pasted[index].float().mean().item() for index in foreign] == pytest.approx([share] * len(foreign))


def test_without_mixing_the_batch_is_itself(config: StudentConfig) -> None:
    batch = torch.rand(3, 3, 8, 8)
    mixed, share, partners = mix(config, batch, draws())
    assert mixed is batch
    assert (share, partners.tolist()) == (1.0, [0, 1, 2])
    kinds = {
        (mix(config.replace(mixup=1.0, cutmix=1.0), batch, draws(seed))[0] == batch).any().item() for seed in range(8)
    }
    assert kinds == {True, False}

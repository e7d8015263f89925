from __future__ import annotations

import pickle
import shutil
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.datasets import FileDataset, image_folder
from storage.errors import StorageUnavailable
from storage.images.decode import decode_image
from student.classification.augment import Augmenter
from student.classification.config import StudentConfig
from student.classification.images import training_cache
from student.core.cache import ImageCache, SharedCaches
from student.core.images import Images, ImagesInvalid


def pixels_of(dataset: FileDataset, image_id: str) -> np.ndarray:
    return np.asarray(decode_image(dataset.read(image_id)))


def test_small_images_are_kept_pixel_by_pixel(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    config = config.replace(cache_size=64)
    with training_cache(config, dataset, dataset.records, tmp_path, progress=False) as cache:
        assert [record.image_id for record in cache.records] == [record.image_id for record in dataset.records]
        for index, record in enumerate(cache.records):
            expected = pixels_of(dataset, record.image_id)
            assert cache.image(index).shape == (3, *expected.shape[:2])
            np.testing.assert_array_equal(cache.image(index).permute(1, 2, 0).numpy(), expected)
        assert cache.labels.tolist() == [record.label for record in dataset.records]
    assert list(tmp_path.iterdir()) == []


def test_another_process_maps_the_file_instead_of_copying_it(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    with training_cache(config, dataset, dataset.records, tmp_path, progress=False) as cache:
        assert isinstance(cache, ImageCache)
        first = cache.image(0)
        pickled = pickle.dumps(cache)
        copy = pickle.loads(pickled)
        assert torch.equal(copy.image(5), cache.image(5))
        assert len(pickled) < cache.path.stat().st_size / 4
        # Shared: what is written through one is seen by the other.
        copy.image(0)[0, 0, 0] = 255 - int(first[0, 0, 0])
        assert torch.equal(copy.image(0), cache.image(0))


@pytest.mark.parametrize("cut", [True, False])
def test_a_cache_that_another_process_has_changed_is_one_line(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, cut: bool
) -> None:
    config = config.replace(cache="disk", cache_folder=str(tmp_path))
    with training_cache(config, dataset, dataset.records, tmp_path, progress=False) as cache:
        assert isinstance(cache, ImageCache)
        cache.path.write_bytes(b"cut") if cut else cache.path.unlink()
        with pytest.raises(StorageUnavailable, match=r"pixels\.uint8 was changed while it was in use"):
            cache.image(0)


def test_images_on_a_cpu_stay_where_they_are(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    with training_cache(config, dataset, dataset.records, tmp_path, progress=False) as cache:
        assert cache.on(torch.device("cpu")) is cache


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_images_on_a_gpu_are_the_same(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    device = torch.device("cuda")
    augment = Augmenter(config, (0.5,) * 3, (0.5,) * 3)
    with training_cache(config, dataset, dataset.records, tmp_path, progress=False) as cache:
        moved = cache.on(device)
        assert moved.image(0).is_cuda
        assert torch.equal(moved.image(7).cpu(), cache.image(7))
        batches = [
            augment([images.image(index) for index in range(6)], torch.Generator().manual_seed(0), device)
            for images in (cache, moved)
        ]
        torch.testing.assert_close(batches[0], batches[1])


def test_damaged_images_are_named_or_dropped(config: StudentConfig, image_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(image_root, root)
    (root / "train/blue/000.png").write_bytes(b"")
    (root / "train/red/001.png").write_bytes(b"no image")
    (root / "train/red/002.png").unlink()
    (root / "train/red/002.png").mkdir()
    dataset = image_folder(image_root, name="colours")
    broken = FileDataset(
        name="colours",
        class_names=dataset.class_names,
        records=dataset.records,
        places={image_id: root / image_id for image_id in dataset.places},
    )
    with (
        pytest.raises(ImagesInvalid, match=r"^3 of 36 images of dataset 'colours' cannot be read: train/blue/000.png"),
        training_cache(config, broken, broken.records, tmp_path, progress=False),
    ):
        pass
    assert not list(tmp_path.glob("*.uint8"))
    with training_cache(
        config.replace(damaged_images="drop"), broken, broken.records, tmp_path, progress=False
    ) as cache:
        assert cache.dropped == ("train/blue/000.png", "train/red/001.png", "train/red/002.png")
        assert len(cache) == 33
        first = cache.records[0]
        assert first.image_id == "train/blue/001.png"
        np.testing.assert_array_equal(cache.image(0).permute(1, 2, 0).numpy(), pixels_of(dataset, first.image_id))


def test_students_share_a_cache_until_the_stack_ends(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path
) -> None:
    def decode(folder: Path) -> AbstractContextManager[Images]:
        decoded.append(folder)
        return training_cache(config, dataset, dataset.records, folder)

    decoded: list[Path] = []
    with ExitStack() as stack:
        caches = SharedCaches(tmp_path, stack)
        assert caches.get(("train", 37), decode) is caches.get(("train", 37), decode)
        assert caches.get(("train", 64), decode) is not caches.get(("train", 37), decode)
        assert decoded == [tmp_path / "images-train-37", tmp_path / "images-train-64"]
    assert list(tmp_path.iterdir()) == []

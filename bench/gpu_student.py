"""Training on a device: our loop against the model alone, and the gain by answers at the paper's size."""

from __future__ import annotations

import io
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.busy import finish_sampling, start_sampling, watching_gpu
from bench.caltech import read_caltech
from bench.train import speed_in_memory
from storage.datasets.base import ImageRecord, select
from storage.platform.allocator import keep_freed_memory
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers
from student.classification.images import evaluation_cache, training_cache
from student.classification.recipes import recipe
from student.classification.task import TrainingImages
from student.classification.training import train
from student.core.images import Images

CLASSES = 100
TURNS = 3
# Images, epochs of a turn, and settings.
TRAINING: dict[str, tuple[int, int, dict[str, Any]]] = {
    "cuda": (10_240, 4, {"backbone": "resnet18", "image_size": 224, "cache_size": 256, "batch_size": 256}),
    "cpu": (64, 2, {"backbone": "test_resnet", "image_size": 32, "cache_size": 32, "batch_size": 16}),
}
# The recipe `lavid` in fewer, larger steps, its rate scaled with the batch.
PROOF: dict[str, dict[str, Any]] = {
    "cuda": {"epochs": 60, "batch_size": 128, "lr": 0.08},
    "cpu": {"backbone": "test_resnet", "epochs": 1, "image_size": 32, "cache_size": 32, "resize_size": 32},
}
THINNED = {"cuda": 1, "cpu": 80}  # every n-th image
# Method and settings. The twin has the same terms at inner stages, and learns nothing from answers.
STUDENTS: dict[str, dict[str, Any]] = {
    "base": {"method": "base"},
    "twin": {"method": "recommended", "alpha": 0.0},
    "lavid": {"method": "lavid"},
    "recommended": {"method": "recommended"},
}


@dataclass(frozen=True, kw_only=True)
class NoiseImages:
    """So many images of 256 x 341 pixels; a few files stand in for all of them. Follows `ImageDataset`."""

    count: int
    files: Sequence[bytes]
    name: str = "noise"
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> Sequence[str]:
        return [f"class {number}" for number in range(CLASSES)]

    @property
    def records(self) -> Sequence[ImageRecord]:
        labels = [number % CLASSES for number in range(self.count)]
        names = self.class_names
        return [
            ImageRecord(image_id=str(number), split="train", label=label, label_name=names[label])
            for number, label in enumerate(labels)
        ]

    def read(self, image_id: str) -> bytes:
        return self.files[int(image_id) % len(self.files)]

    def subset(self, records: Sequence[ImageRecord]) -> NoiseImages:
        return self


def measure_training(device: str) -> Iterator[dict[str, Any]]:
    """Images a second of whole epochs of our loop, and of the model alone on one batch in memory, taking turns."""
    keep_freed_memory()
    count, epochs, settings = TRAINING[device]
    config = StudentConfig(
        epochs=epochs,
        method="base",
        lr=0.01,
        val_fraction=0.0,
        precision="bf16-mixed",
        accelerator=device,  # type: ignore[arg-type]
        checkpoint_every=epochs + 1,
        **settings,
    )
    dataset = NoiseImages(count=count, files=[_file(seed) for seed in range(8)])
    speeds: dict[str, list[float]] = {"ours": [], "alone": []}
    gpu: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with training_cache(config, dataset, dataset.records, folder) as images:
            on_device = images.on(torch.device(device)) is not images
            for turn in range(TURNS):
                start_sampling(None)
                with watching_gpu(gpu):
                    speeds["ours"].append(_speed_of_ours(config, dataset, images, folder / str(turn)))
                busy = finish_sampling(None)
                speeds["alone"].append(speed_in_memory(config, dataset, count))
    shares = [ours / alone for ours, alone in zip(speeds["ours"], speeds["alone"], strict=True)]
    yield {
        **settings,
        "precision": config.precision,
        "images_on_device": on_device,
        "images_per_second": {name: round(statistics.median(values), 1) for name, values in speeds.items()},
        "ours_of_alone": round(statistics.median(shares), 3),
        "by_turn": {name: [round(value, 1) for value in values] for name, values in speeds.items()},
        **gpu,
        **busy,
    }


def _speed_of_ours(config: StudentConfig, dataset: NoiseImages, images: Images, run_dir: Path) -> float:
    """Of the epochs behind the first one, in which kernels are chosen."""
    run = train(config, dataset, TeacherAnswers(), run_dir, progress=False, images=TrainingImages(shown=images))
    return statistics.median(epoch.images_per_second for epoch in run.epochs[1:])


def _file(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 43, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((341, 256)).save(file, "JPEG")
    return file.getvalue()


def prove(device: str, seeds: Sequence[int], epochs: int | None) -> Iterator[dict[str, Any]]:
    """Top-1 on the test images in percent, a line for each student, seed by seed."""
    changes = PROOF[device] if epochs is None else {**PROOF[device], "epochs": epochs}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset, teacher_answers = read_caltech(folder / "store", THINNED[device])
        shared = recipe(
            "lavid",
            accelerator=device,
            precision="bf16-mixed",
            val_fraction=0.0,
            keep="last",
            checkpoint_every=50,
            **changes,
        )
        with (
            training_cache(shared, dataset, select(dataset, ("train",)), folder / "train") as images,
            evaluation_cache(shared, dataset, select(dataset, ("test",)), folder / "test") as shown,
        ):
            for seed in seeds:
                for name, own in STUDENTS.items():
                    config, place = shared.replace(seed=seed, **own), folder / name / str(seed)
                    run = train(
                        config, dataset, teacher_answers, place, progress=False, images=TrainingImages(shown=images)
                    )
                    scores = evaluate(place, dataset, None, "test", images=shown, accelerator=config.accelerator)
                    yield {
                        "student": name,
                        "seed": seed,
                        "top1": round(100 * scores.top1, 2),
                        "loss": round(scores.loss, 4),
                        "test_images": scores.images,
                        "train_images": run.train_images,
                        **changes,
                        "training_seconds": round(sum(epoch.seconds for epoch in run.epochs), 1),
                        "images_per_second": round(statistics.median(e.images_per_second for e in run.epochs), 1),
                    }

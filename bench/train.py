"""Speed of training against the model alone: images a second of three ways, taking turns.

ours    `student.classification.training.train` on real images: augmentation, losses, logging and all
limit   the same student, losses and optimizer, fed one random batch that is already in memory
plain   usual code: a PyTorch DataLoader with two workers that decode with Pillow and augment with torchvision

Images of 64 px are flowers, those of 224 px from Caltech-101. Prints one line of JSON for each size.

    python bench/train.py
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.platform import torchvision_ops

torchvision_ops.install()  # before torchvision is imported

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from bench.arguments import positive, run_benchmark, several
from storage.datasets import image_folder
from storage.datasets.base import ImageDataset, select
from storage.platform.allocator import keep_freed_memory
from student.classification.config import StudentConfig
from student.classification.examples import Examples, TeacherAnswers
from student.classification.images import training_cache
from student.classification.model import Student, build_student
from student.classification.objective import Objective
from student.classification.task import TrainingImages
from student.classification.training import train
from student.core.backbones import IMAGENET_MEAN, IMAGENET_STD, to_channels_last
from student.core.images import Images
from student.core.processor import usable_precision
from student.core.schedule import build_optimizer, parameter_groups
from student.core.settings import present_accelerator

PROJECT = Path(__file__).parents[1]
SIZES = {64: ("flowers102_64", 64, 64), 224: ("caltech101", 160, 32)}  # folder, short side in the cache, batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=several(positive), default="64,224", help="pixels, separated by commas")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--turns", type=positive, default=3)
    parser.add_argument("--images", type=positive, default=640, help="images of one turn of one way")
    asked = parser.parse_args()
    data = Path(os.environ.get("ASPECTS_DATA", PROJECT / ".." / "shared" / "data"))
    for size in asked.sizes:
        folder, cached, batch = SIZES[size]
        if not (data / folder).is_dir():
            sys.exit(f"no images at {data / folder}; set ASPECTS_DATA to the folder that holds {folder}")
        config = StudentConfig(
            backbone=asked.backbone,
            image_size=size,
            cache_size=max(size, cached),
            epochs=2,
            batch_size=batch,
            method="base",
            val_fraction=0.0,
            precision="bf16-mixed",
            accelerator=present_accelerator(),
            checkpoint_every=99,
        )
        print(json.dumps(measure(config, data / folder, turns=asked.turns, images=asked.images)), flush=True)


def measure(config: StudentConfig, folder: Path, *, turns: int, images: int) -> dict[str, object]:
    """Images a second of each way in each turn, and the medians' shares of the limit."""
    keep_freed_memory()
    dataset = first_images(folder, images)
    speeds: dict[str, list[float]] = {"limit": [], "ours": [], "plain": []}
    records = select(dataset, ("train",))
    with tempfile.TemporaryDirectory() as scratch, training_cache(config, dataset, records, Path(scratch)) as cache:
        ways: dict[str, Callable[[int], float]] = {
            "limit": lambda turn: speed_in_memory(config, dataset, images),
            "ours": lambda turn: speed_of_ours(config, dataset, cache, Path(scratch) / str(turn)),
            "plain": lambda turn: speed_of_plain(config, dataset, folder, images),
        }
        for turn, (name, way) in itertools.product(range(turns), ways.items()):
            speeds[name].append(way(turn))
    shares = {
        name: [mine / limit for mine, limit in zip(speeds[name], speeds["limit"], strict=True)] for name in speeds
    }
    return {
        "benchmark": "train",
        "backbone": config.backbone,
        "image_size": config.image_size,
        "batch_size": config.batch_size,
        "precision": usable_precision(config),
        "device": config.accelerator,
        "threads": torch.get_num_threads(),
        "images_per_second": {name: round(statistics.median(values), 1) for name, values in speeds.items()},
        "ours_of_limit": round(statistics.median(shares["ours"]), 3),
        "plain_of_limit": round(statistics.median(shares["plain"]), 3),
        "by_turn": {name: [round(value, 1) for value in values] for name, values in speeds.items()},
    }


def first_images(folder: Path, images: int) -> ImageDataset:
    """As many training images as a turn needs, from all over the classes."""
    whole = image_folder(folder)
    records = select(whole, ("train",))
    step = max(1, len(records) // images)
    return dataclasses.replace(whole, records=records[::step][:images])


def speed_of_ours(config: StudentConfig, dataset: ImageDataset, cache: Images, run_dir: Path) -> float:
    """Of the second epoch: the first one warms up."""
    run = train(config, dataset, TeacherAnswers(), run_dir, progress=False, images=TrainingImages(shown=cache))
    return run.epochs[-1].images_per_second


def speed_in_memory(config: StudentConfig, dataset: ImageDataset, images: int) -> float:
    pixels = torch.randn(config.batch_size, 3, config.image_size, config.image_size)
    pixels = pixels.to(config.accelerator).contiguous(memory_format=torch.channels_last)
    return speed(config, dataset, lambda: (pixels for _ in range(images // config.batch_size)), to_channels_last)


def speed_of_plain(config: StudentConfig, dataset: ImageDataset, folder: Path, images: int) -> float:
    augment = v2.Compose(
        [
            v2.RandomResizedCrop(config.image_size, scale=config.crop_scale, ratio=config.crop_ratio),
            v2.RandomHorizontalFlip(config.flip),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    folder_images = datasets.ImageFolder(
        str(folder / "train"), transform=augment, loader=lambda path: Image.open(path).convert("RGB")
    )
    loader = DataLoader(
        folder_images, config.batch_size, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )

    def epoch() -> Iterator[Tensor]:
        for number, (pixels, _) in enumerate(loader, start=1):
            yield pixels.to(config.accelerator).contiguous(memory_format=torch.channels_last)
            if number * config.batch_size >= images:
                return

    return speed(config, dataset, epoch, _channels_last)


def _channels_last(student: Student) -> Student:
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # which torch's types leave out
    return student


def speed(
    config: StudentConfig,
    dataset: ImageDataset,
    batches: Callable[[], Iterator[Tensor]],
    prepared: Callable[[Student], Student],
) -> float:
    """Images a second of a training step on `batches`, the second time that they are gone through."""
    device = torch.device(config.accelerator)
    student = prepared(build_student(config, classes=len(dataset.class_names), aspects=0).to(device)).train()
    optimizer = build_optimizer(config, parameter_groups(config, student))
    # Drawn, not all the same: a loss that reaches zero leaves numbers too small for fast arithmetic.
    labels = torch.randint(len(dataset.class_names), (config.batch_size,))
    nothing = torch.arange(0)
    examples = Examples(train_indices=nothing, val_indices=nothing, labels_N=labels, targets=(), aspects=())
    objective = Objective(method=config.objective, examples=examples)
    everything = torch.arange(config.batch_size)
    for _ in range(2):
        started, count = time.perf_counter(), 0
        for pixels in batches():
            with torch.autocast(device.type, torch.bfloat16, enabled=usable_precision(config) == "bf16-mixed"):
                logits = student(pixels)
            loss = objective(logits, everything)["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            count += len(pixels)
        loss.item()  # a GPU may still compute
        seconds = time.perf_counter() - started
    return count / seconds


if __name__ == "__main__":
    run_benchmark(main)

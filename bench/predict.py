"""Images/s of predicting JPEG files against the bare network on tensors in memory, and peak memory by images.

python bench/predict.py [--backbone resnet50] [--images 256] [--folder FOLDER]

Each round times both, so that other programs slow both down; the best round of each counts. The goal is 80 % of the
bare network's speed, and a peak that does not grow from 1,000 to 8,000 images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.arguments import positive, run_benchmark
from storage.datasets.image_paths import image_paths
from storage.table_writer import open_table
from student.classification import Classifier
from student.classification.config import StudentConfig
from student.classification.model import Student, create_network
from student.classification.predict import as_source
from student.core.progress import note

CLASSES = 100
FILES = 64  # different ones; more images are the same files again
SIZE = (500, 375)  # as Flickr's and ImageNet's


def write_images(folder: Path) -> list[Path]:
    """JPEG files of smooth noise, about as large as those of cameras at this size."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number:03d}.jpg" for number in range(FILES)]
    for path in paths:
        small = Image.fromarray(random.integers(0, 256, (SIZE[1] // 5, SIZE[0] // 5, 3), dtype=np.uint8))
        small.resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def build(backbone: str, image_size: int) -> Classifier:
    """A classifier with random weights."""
    config = StudentConfig(backbone=backbone, image_size=image_size, epochs=1, method="base")
    student = Student(create_network(config, outputs=CLASSES).eval(), classes=CLASSES, aspects=0)
    names = tuple(f"class {number}" for number in range(CLASSES))
    return Classifier(
        student=student,
        class_names=names,
        aspects=(),
        resize_size=config.shown_size,
        image_size=image_size,
        mean=student.mean,
        std=student.std,
    ).to("cpu")


def repeated(paths: list[Path], images: int) -> list[Path]:
    return list(itertools.islice(itertools.cycle(paths), images))


@torch.inference_mode()
def bare_speed(classifier: Classifier, images: int, batch_size: int) -> float:
    size = classifier.image_size
    pixels = torch.randn(batch_size, 3, size, size).contiguous(memory_format=torch.channels_last)
    started = time.perf_counter()
    for _ in range(images // batch_size):
        classifier.student(pixels)
    return images // batch_size * batch_size / (time.perf_counter() - started)


def predict_speed(classifier: Classifier, paths: list[Path], batch_size: int, out: Path) -> float:
    started = time.perf_counter()
    with open_table(out) as table:
        for frame in classifier.predictor().frames(map(as_source, paths), batch_size=batch_size):
            table.write(frame)
    return len(paths) / (time.perf_counter() - started)


def peak_megabytes(paths: list[Path], images: int, batch_size: int) -> float:
    """Of a process of its own that predicts so many images with a small network."""
    command = [sys.executable, __file__, "--measure-memory", str(images), "--batch-size", str(batch_size)]
    done = subprocess.run([*command, "--folder", str(paths[0].parent)], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_memory(paths: list[Path], images: int, batch_size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        predict_speed(build("test_resnet", 224), repeated(paths, images), batch_size, Path(folder) / "out.parquet")
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=positive, default=224)
    parser.add_argument("--images", type=positive, default=256)
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--folder", type=Path, help="images to use in place of noise")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--measure-memory", type=positive, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = write_images(folder) if given.folder is None else image_paths([str(given.folder)])[0]
        if given.measure_memory is not None:
            measure_memory(paths, given.measure_memory, given.batch_size)
            return
        classifier = build(given.backbone, given.image_size)
        bare, predicted = [], []
        for number in range(given.rounds):
            bare.append(bare_speed(classifier, given.images, given.batch_size))
            out = folder / "out.parquet"
            predicted.append(predict_speed(classifier, repeated(paths, given.images), given.batch_size, out))
            note(f"round {number + 1}: bare {bare[-1]:.1f} images/s, predict {predicted[-1]:.1f} images/s")
        share = max(predicted) / max(bare)
        print(f"{given.backbone} at {given.image_size} pixels, {torch.get_num_threads()} threads")
        print(f"bare network {max(bare):.1f} images/s, predict {max(predicted):.1f} images/s: {share:.0%}")
        if not given.no_memory:
            peaks = [peak_megabytes(paths, images, given.batch_size) for images in (1000, 8000)]
            print(f"peak memory: {peaks[0]:.0f} MB of 1,000 images, {peaks[1]:.0f} MB of 8,000")


if __name__ == "__main__":
    run_benchmark(main)

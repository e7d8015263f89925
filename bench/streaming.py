"""Training on streamed images against training on cached ones: speed, and seconds to the first update.

speed   the same student, seed and images of 224 px from JPEGs of 500 px, cached in memory and streamed, taking turns:
        images a second of the second epoch, and the losses; beside them what decoding costs on one core
start   seconds from calling `train` to the first update for 1,281,167 listed images, each a JPEG of 500 px, and the
        memory of the process

The JPEGs are made of Caltech-101, enlarged to 500 px with noise, so that they are as large as those of cameras. Prints
one line of JSON for each part.

    python bench/streaming.py
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import itertools
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from storage.platform import torchvision_ops

torchvision_ops.install()  # before torchvision is imported

import numpy as np
import torch
from PIL import Image

from bench.arguments import natural, positive, run_benchmark
from bench.data import data_folder
from storage.answers.read import Answers
from storage.datasets import image_folder
from storage.datasets.base import ImageDataset, ImageRecord, select
from storage.images.decode import decode_image
from storage.questions import AspectQuestion, QuestionSet
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from student.core import loop
from student.core.decoding import decode
from student.core.resizing import TrainingShrink
from student.core.settings import present_accelerator

SIDE, NOISE, QUALITY = 500, 6.0, 90
LISTED = 1_281_167  # training images of ImageNet-1k


class Started(Exception):
    """The first update is done."""


@dataclass(frozen=True, kw_only=True)
class ListedImages:
    """Images that are all one file, as a dataset that knows no more than their names."""

    records: Sequence[ImageRecord]
    data: bytes = field(repr=False)
    name: str = "listed"
    class_names: Sequence[str] = tuple(f"class {number}" for number in range(1000))
    notes: tuple[str, ...] = ()

    def read(self, image_id: str) -> bytes:
        return self.data

    def subset(self, records: Sequence[ImageRecord]) -> ListedImages:
        return dataclasses.replace(self, records=records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("speed", "start"))
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--turns", type=positive, default=3)
    parser.add_argument("--images", type=positive, default=384)
    parser.add_argument("--threads", type=positive, help="of the training process")
    parser.add_argument("--workers", type=natural, help="processes that decode")
    parser.add_argument("--listed", type=positive, default=LISTED)
    asked = parser.parse_args()
    config = StudentConfig(
        backbone=asked.backbone,
        image_size=224,
        epochs=2,
        batch_size=32,
        method="base",
        val_fraction=0.0,
        accelerator=present_accelerator(),
        checkpoint_every=99,
        threads=asked.threads,
        workers=asked.workers,
    )
    with tempfile.TemporaryDirectory() as scratch:
        if asked.only in (None, "speed"):
            measured = measure_speed(config, Path(scratch), asked.turns, asked.images)
            print(json.dumps({"benchmark": "streaming", "part": "speed", **measured}), flush=True)
        if asked.only in (None, "start"):
            measured = measure_start(config, scratch, asked.listed)
            print(json.dumps({"benchmark": "streaming", "part": "start", **measured}), flush=True)


def measure_speed(config: StudentConfig, folder: Path, turns: int, images: int) -> dict[str, Any]:
    """Images a second and losses of both ways in turns."""
    write_jpegs(folder / "images" / "train", images)
    dataset = image_folder(folder / "images")
    sizes = [len(dataset.read(record.image_id)) for record in dataset.records]
    speeds: dict[str, list[float]] = {"memory": [], "stream": []}
    losses: dict[str, list[float]] = {}
    for turn, place in itertools.product(range(turns), speeds):
        run = train(config.replace(cache=place), dataset, TeacherAnswers(), folder / f"{place}-{turn}", progress=False)
        speeds[place].append(run.epochs[-1].images_per_second)
        losses[place] = [log.loss for log in run.epochs]
    shares = [stream / memory for memory, stream in zip(speeds["memory"], speeds["stream"], strict=True)]
    return {
        "backbone": config.backbone,
        "images": images,
        "kilobytes_per_image": round(statistics.mean(sizes) / 1000),
        "device": config.accelerator,
        "threads": config.threads,
        "workers": config.workers,
        "milliseconds_on_one_core": decoding_costs(dataset, config.stored_size),
        "images_per_second": {place: round(statistics.median(values), 1) for place, values in speeds.items()},
        "stream_of_memory": round(statistics.median(shares), 3),
        "by_turn": {place: [round(value, 1) for value in values] for place, values in speeds.items()},
        "largest_difference_of_losses": max(
            abs(one - other) for one, other in zip(losses["memory"], losses["stream"], strict=True)
        ),
    }


def decoding_costs(dataset: ImageDataset, size: int, images: int = 64) -> dict[str, float]:
    """Milliseconds an image: reading, reading and decoding, and with resizing to the size that is kept."""
    ids = [record.image_id for record in dataset.records[:images]]
    preparation = TrainingShrink(size=size)
    ways: dict[str, Callable[[str], object]] = {
        "read": lambda image_id: dataset.read(image_id),
        "decoded": lambda image_id: decode_image(dataset.read(image_id)),
        "prepared": lambda image_id: decode(dataset, image_id, preparation),
    }
    costs = {}
    for name, way in ways.items():
        started = time.process_time()
        for image_id in ids:
            way(image_id)
        costs[name] = round(1000 * (time.process_time() - started) / len(ids), 2)
    return costs


def measure_start(config: StudentConfig, scratch: str, listed: int) -> dict[str, Any]:
    """Seconds until the first update, of `train` with answers to two questions about every image."""
    buffer = io.BytesIO()
    noisy(Image.new("RGB", (SIDE, SIDE * 3 // 4), "grey"), np.random.default_rng(0)).save(buffer, "JPEG", quality=80)
    records = [
        ImageRecord(image_id=f"train/{n % 1000}/{n:07d}.JPEG", split="train", label=n % 1000, label_name=f"{n % 1000}")
        for n in range(listed)
    ]
    dataset = ListedImages(records=records, data=buffer.getvalue())
    questions = QuestionSet(tuple(AspectQuestion(key=f"q{n}", text=f"Question {n}?") for n in range(2)))
    answers = Answers(
        dataset=dataset.name,
        teacher="made",
        questions=questions,
        image_ids=tuple(record.image_id for record in records),
        image_sha256=(None,) * listed,
        splits=("train",) * listed,
        label_names=tuple(record.label_name for record in records),
        errors=(None,) * listed,
        yes=np.full((listed, 2), -0.7, dtype=np.float32),
        no=np.full((listed, 2), -0.7, dtype=np.float32),
    )
    step = loop._step

    def first_step(*arguments: Any) -> None:
        step(*arguments)
        raise Started

    started, started_cpu = time.perf_counter(), time.process_time()
    with mock.patch.object(loop, "_step", first_step):
        try:
            train(config.replace(method="makd"), dataset, TeacherAnswers(image=answers), Path(scratch) / "start")
        except Started:
            seconds, on_cpu = time.perf_counter() - started, time.process_time() - started_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "listed": listed,
        "seconds_to_first_update": round(seconds, 1),
        "cpu_seconds_to_first_update": round(on_cpu, 1),  # of this process: what it takes on a machine that is not busy
        "peak_gigabytes": round(peak, 2),
    }


def write_jpegs(folder: Path, count: int) -> None:
    """JPEGs with their longer side at 500 px, of the training images of Caltech-101, in folders of their classes."""
    whole = image_folder(data_folder("caltech101"))
    records = select(whole, ("train",))
    random = np.random.default_rng(0)
    for number, record in enumerate(records[:: max(1, len(records) // count)][:count]):
        image = decode_image(whole.read(record.image_id))
        scale = SIDE / max(image.size)
        larger = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        place = folder / record.label_name
        place.mkdir(parents=True, exist_ok=True)
        noisy(larger, random).save(place / f"{number:05d}.jpg", quality=QUALITY)


def noisy(image: Image.Image, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    grain = random.normal(0, NOISE, (*pixels.shape[:2], 1))
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    torch.manual_seed(0)
    run_benchmark(main)

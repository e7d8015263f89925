"""The real images that benchmarks read, and answers about them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from storage.answers.read import Answers, load_answers
from storage.datasets import FileDataset, image_folder
from teacher.extraction.precomputed import PrecomputedAnswers, import_answers, read_makd

PROJECT = Path(__file__).parents[1]
FLOWERS = "flowers102_64"


def data_root() -> Path:
    return Path(os.environ.get("ASPECTS_DATA", PROJECT / ".." / "shared" / "data"))


def data_folder(name: str) -> Path:
    """A folder of the data. Ends the program without it."""
    folder = data_root() / name
    if not folder.is_dir():
        sys.exit(f"no images at {folder}; set ASPECTS_DATA to the folder that holds {name}")
    return folder


def read_answers(file: PrecomputedAnswers, dataset: FileDataset, store: Path) -> Answers:
    """The answers about the training images of `dataset`, imported into `store`."""
    return load_answers(import_answers(file, dataset, ("train",), str(store)).directory)


def read_flowers(store: Path) -> tuple[FileDataset, Answers]:
    """Oxford 102 Flowers at 64 px, and p(yes) of InternVL2-8B to 50 questions about each training image."""
    folder = data_folder(FLOWERS)
    dataset = image_folder(folder, name=FLOWERS)
    return dataset, read_answers(read_makd(folder / "internvl2_yes_probability.json"), dataset, store)

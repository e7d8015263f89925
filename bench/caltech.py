"""As bench/flowers.py with answers about the classes alone: Caltech-101 at 64 px, ResNet18 from scratch.

The answers are Qwen2.5-72B's about the classes (files of LaViD's); none are about the 5,784 training images. Prints a
line of JSON for each method; the 2,893 test images are looked at once per student. With the same --run-dir it resumes.

A student takes about 6 minutes on one core of a CPU with bfloat16 instructions, as in bench/flowers.py; all 8 methods
with five seeds 4 hours.

    python bench/caltech.py --run-dir runs/caltech
    python bench/caltech.py --backbone mobilenetv3_small_100 --run-dir runs/caltech-mobilenet
"""

from __future__ import annotations

from pathlib import Path

from bench.arguments import run_benchmark
from bench.data import data_folder, data_root
from bench.flowers import RECIPE, grid_of, options, print_results
from storage.answers.read import load_answers
from storage.datasets import FileDataset, image_folder
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from teacher.extraction.precomputed import import_answers, read_lavid

EPOCHS = 11  # as many updates as with the flowers
BEST = "recommended-classes"  # what `recommended` is for such answers
METHODS = [
    *("base", "label-smoothing", "labels-deep-1", "labels-deep"),
    *("lavid", "lavid+labels-deep", "makd-deep", BEST),
]
ALIASES = {"Faces": "face", "Faces_easy": "face"}


def main() -> None:
    asked = options(__doc__, "caltech", EPOCHS, METHODS).parse_args()
    dataset, teacher_answers = read_caltech(asked.run_dir / "store")
    print_results(run_experiment(grid_of(RECIPE, asked), dataset, teacher_answers, asked.run_dir), BEST)


def read_caltech(store: Path, step: int = 1) -> tuple[FileDataset, TeacherAnswers]:
    """Every `step`-th image, and the answers about their classes, imported into `store`. Ends the program without the
    images."""
    dataset = image_folder(data_folder("caltech101"), name="caltech101")
    dataset = dataset.subset(dataset.records[::step])
    lavid = data_root() / "lavid"
    file = read_lavid(lavid / "caltech101_qwen2.5-72B_chat_50-5.json", lavid / "caltech101_chat_50-5.txt", ALIASES)
    imported = import_answers(file, dataset, ("train",), str(store))
    assert not imported.without_answers
    return dataset, TeacherAnswers(classes=load_answers(imported.directory))


if __name__ == "__main__":
    run_benchmark(main)

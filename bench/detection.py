"""Detectors trained with and without a teacher's answers. Rendered scenes with several objects each, in pairs of one
seed.

The bundled tiny teacher answers 50 questions about every image and about every box (cut out with its margin), through
vLLM. Faster R-CNN learns from none of the answers, from those about images, about boxes, or from both. Prints one line
of JSON for each. With the same --run-dir it resumes.

    python bench/detection.py --run-dir runs/detection

With --images the same on the 128 training images of coco128, which are memorised: mAP50 on these images themselves, as
a curve over the epochs, with and without answers. The tiny teacher knows rendered scenes alone: this shows that all of
it runs on real images.

    python bench/detection.py --images --run-dir runs/coco128
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

from bench.arguments import natural, positive, run_benchmark, student_arguments
from bench.data import data_folder
from bench.flowers import describe, percent
from storage.answers.read import Answers, read_answers
from storage.answers.reuse import known_answers
from storage.datasets import BoxImages, BoxView, DetectionDataset, ImageDataset, open_detection_dataset
from storage.datasets.scenes.detection import write_detection_scenes
from storage.questions import load_questions
from student.core.results import Results
from student.detection.config import DetectorConfig, detection_recipe
from student.detection.examples import DetectionAnswers
from student.detection.experiment import DetectorGrid, run_detection_experiment
from teacher.engines.config import resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.extraction.extract import Extraction, plan_extraction
from teacher.extraction.finish import finish_directory
from teacher.extraction.processes import WorkerProcess, readers_of

PROJECT = Path(__file__).parents[1]
QUESTIONS = PROJECT / "questions" / "scenes.yaml"
# Fresh ones: the weights of the recipe were chosen on scenes of seed 0.
SCENES = 1
METHODS = ("base", "image", "box", "both")
# Memorised: the images are not augmented.
BY_HEART = {
    "image_size": 128,
    "epochs": 50,
    "flip": 0.0,
    "alpha": 1.0,
    "watch": "train",
    "watch_every": 5,
}


def main() -> None:
    parser = student_arguments(
        __doc__, "detection", seeds="0,1,2", engine="vllm", seeds_of="paired seeds (with --coco128 the first only)"
    )
    parser.add_argument("--coco128", action="store_true", help="memorise coco128 instead of rendered scenes")
    parser.add_argument("--train", type=natural, default=160, help="rendered training scenes")
    parser.add_argument("--test", type=natural, default=120, help="rendered test scenes")
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas; base is always one")
    parser.add_argument("--epochs", type=positive, default=None, help="instead of the recipe's")
    parser.add_argument("--detector", default="faster-rcnn", help="faster-rcnn, fcos or retinanet")
    asked = parser.parse_args()
    splits: tuple[str, ...]
    if asked.coco128:
        dataset, splits, changes = open_coco128(asked.run_dir), ("train",), dict(BY_HEART)
    else:
        folder = asked.run_dir / "scenes"
        if not (folder / "ground_truth.parquet").exists():
            write_detection_scenes(folder, train=asked.train, test=asked.test, seed=SCENES)
        dataset, splits, changes = open_detection_dataset(str(folder)), ("train", "test"), {}
    changes |= {"detector": asked.detector, "threads": asked.threads}
    if asked.epochs is not None:
        changes["epochs"] = asked.epochs
    config = detection_recipe("demo", **changes)
    teacher_answers = ask_everything(dataset, splits, asked.run_dir / "store", asked.engine)
    methods, seeds = asked.methods.split(","), asked.seeds
    if asked.coco128:
        learn_by_heart(config, dataset, teacher_answers, asked.run_dir, methods, seeds[0])
    else:
        grid = DetectorGrid(settings=config.to_dict(), axes={"method": methods}, seeds=seeds)
        print_results(run_detection_experiment(grid, dataset, teacher_answers, asked.run_dir))


def open_coco128(run_dir: Path) -> DetectionDataset:
    """coco128, its images and boxes put together as YOLO folders."""
    folder = data_folder("coco128")
    together = run_dir / "coco128"
    together.mkdir(parents=True, exist_ok=True)
    for name, target in (
        ("images", folder / "images"),
        ("labels", folder / "object_detection" / "labels"),
        ("config.yaml", folder / "object_detection" / "config.yaml"),
    ):
        if not (together / name).is_symlink():
            (together / name).symlink_to(target.resolve())
    return open_detection_dataset(str(together))


def ask_everything(dataset: DetectionDataset, splits: tuple[str, ...], store: Path, engine: str) -> DetectionAnswers:
    """The tiny teacher's answers about all images and boxes of `splits`; asks what the store does not have."""
    workers: list[WorkerProcess] = []
    try:
        images = ask(dataset, splits, store, engine, workers)
        boxes = ask(BoxImages(dataset, BoxView()), splits, store, engine, workers)
    finally:
        for one in workers:
            one.close()
    return DetectionAnswers(images=images, boxes=boxes)


def ask(
    images: ImageDataset, splits: tuple[str, ...], store: Path, engine: str, workers: list[WorkerProcess]
) -> Answers:
    """One dataset's answers, with a line of JSON. The first that has something to ask starts the worker."""
    teacher, questions = resolve(tiny_teacher()), load_questions(QUESTIONS)

    plan = plan_extraction(images, splits, questions, teacher, str(store))
    if plan.missing and not workers:
        workers.append(WorkerProcess(engine, teacher, EngineOptions(), readers_of(1)))
    started = time.perf_counter()
    known = known_answers(str(store), [images.name], teacher.fingerprint)
    jobs = Extraction(plan=plan, dataset=images).jobs(known)
    done = [workers[0].ask(job, lambda report: None) for job in jobs]
    seconds = time.perf_counter() - started
    failures = finish_directory(plan.directory, plan.header, plan.shards, {})
    line = {
        "benchmark": "asking",
        "dataset": images.name,
        "rows": plan.images,
        "too_small_to_see": len(failures),
        "answers_asked": sum(shard.asked for shard in done),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(line), flush=True)
    return read_answers(plan.directory)


def learn_by_heart(
    config: DetectorConfig,
    dataset: DetectionDataset,
    teacher_answers: DetectionAnswers,
    run_dir: Path,
    methods: list[str],
    seed: int,
) -> None:
    from student.detection.training import train_detector

    for method in methods:
        chosen = config.replace(method=method, seed=seed)
        run = train_detector(chosen, dataset, teacher_answers, run_dir / method / f"seed-{seed}")
        curve = {log.epoch: percent(log.watched_map50) for log in run.epochs if log.watched_map50 is not None}
        line = {
            "benchmark": "coco128 by heart",
            "method": method,
            "train_images": run.train_images,
            "map50_by_epoch": curve,
            "map": percent(run.epochs[-1].watched_map),
            "loss": [round(run.epochs[place].detection, 3) for place in (0, -1)],
            "images_per_second": round(run.epochs[-1].images_per_second, 1),
            "training_seconds": round(sum(log.seconds for log in run.epochs)),
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(line), flush=True)


def print_results(results: Results) -> None:
    """A line of JSON for each method: mAP on the test scenes in percent, and what it gains over base."""
    for summary in results.metric("map"):
        rows = results.table.filter(results.table["cell"] == summary.cell)
        line = {
            "benchmark": "detection",
            "method": summary.cell,
            "detector": results.settings["detector"],
            "train_images": results.train_images,
            "test_images": results.images,
            "map": [percent(value) for value in summary.values],
            "map_mean": percent(summary.mean),
            "map_std": percent(summary.std),
            "over_base": describe(summary.gain),
            **{
                f"{name}_mean": percent(float(rows[name].to_numpy().mean()))
                for name in ("map50", "map75", "small", "medium")
            },
            "box_auroc_mean": rows["box_auroc"].mean(),
            "image_auroc_mean": rows["image_auroc"].mean(),
            "training_seconds": round(rows["seconds"].sum()),
            "images_per_second": round(float(rows["images_per_second"].to_numpy().mean()), 1),
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    run_benchmark(main)

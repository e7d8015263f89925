"""What bench/pages.py shows: synthetic answers, corrections, a student's run, an unfinished extraction, boxes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.data import FLOWERS, data_folder
from storage.answers.schema import AnswerHeader, ShardAnswers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.corrections import Correction, CorrectionFolder
from storage.datasets.base import ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from student.classification.out_of_fold import OUT_OF_FOLD, OutOfFold, write_out_of_fold
from student.core.files import write_bytes, write_json
from student.core.stored_detections import write_detections
from teacher.extraction import SHARD_SIZE

CLASSES = 100
NAMES = tuple(f"class_{label:03}" for label in range(CLASSES))
DATASET, TEACHER = "images", "0123456789ab"
CORRECTED = 2_000  # labels, and as many answers
BOXED = 5_000  # images with boxes, as many as in COCO's validation split
BOXES = 7  # of an image, as in COCO
SIDE = 64  # pixels of the images


def records_of(count: int) -> list[ImageRecord]:
    labels = [number * CLASSES // count for number in range(count)]
    return [
        ImageRecord(
            image_id=f"train/{NAMES[label]}/{number:07}.jpg", split="train", label=label, label_name=NAMES[label]
        )
        for number, label in enumerate(labels)
    ]


def question_set(count: int) -> QuestionSet:
    return QuestionSet(
        tuple(AspectQuestion(key=f"question_{number:02}", text=f"Is it of kind {number}?") for number in range(count))
    )


def link_images(root: Path, image_ids: Sequence[str]) -> None:
    """A hard link for each image to one of 500 small real ones, beside `root` on the same file system."""
    copies = []
    for file in sorted(data_folder(FLOWERS).glob("train/*/*.jpg"))[:500]:
        copies.append(root.with_name("originals") / file.parent.name / file.name)
        copies[-1].parent.mkdir(parents=True, exist_ok=True)
        copies[-1].write_bytes(file.read_bytes())
    for folder in {(root / image_id).parent for image_id in image_ids}:
        folder.mkdir(parents=True)
    for number, image_id in enumerate(image_ids):
        os.link(copies[number % len(copies)], root / image_id)


def write_store(store: Path, records: Sequence[ImageRecord], count: int) -> None:
    """Answers to `count` questions, and to one question less the first quarter of an extraction; corrections."""
    generator = np.random.default_rng(0)
    means = generator.normal(0, 3, (CLASSES, count))
    for questions, share in ((question_set(count), 1.0), (question_set(count - 1), 0.25)):
        header = AnswerHeader(
            dataset=DATASET,
            teacher_fingerprint=TEACHER,
            teacher={"model": "synthetic"},
            questions=questions,
            libraries={},
        )
        directory = AnswerDirectory.locate(str(store), DATASET, TEACHER, questions.fingerprint)
        shards = cut_shards(records, SHARD_SIZE)
        for shard in shards[: max(1, round(share * len(shards)))]:
            labels = [record.label for record in shard.records]
            log_odds = means[labels, : len(questions)] + generator.normal(0, 1.5, (len(labels), len(questions)))
            yes, no = (-np.logaddexp(0, sign * log_odds).astype(np.float32) for sign in (-1, 1))
            shared: dict[str, Any] = {"image_sha256": ["0" * 64] * len(labels), "errors": [None] * len(labels)}
            directory.write_shard(shard, header, ShardAnswers(records=shard.records, yes=yes, no=no, **shared))
        if share == 1:
            directory.complete(header, shards, {"splits": ["train"]})
    write_corrections(store, records, count)


def write_corrections(store: Path, records: Sequence[ImageRecord], count: int) -> None:
    asked, rows = question_set(count).questions, []
    for number, record in enumerate(records[:: max(1, len(records) // CORRECTED)][:CORRECTED]):
        question, other = asked[number % len(asked)], NAMES[(record.label + 1) % CLASSES]
        rows.append(Correction(image_id=record.image_id, kind="label", value=other, old=record.label_name))
        answer = {"key": question.key, "text": question.text, "value": "yes"}
        rows.append(Correction(image_id=record.image_id, kind="answer", p_yes=0.4, old="no", **answer))  # type: ignore[arg-type]
    CorrectionFolder.open(str(store), DATASET).record(rows)


def write_runs(runs: Path, records: Sequence[ImageRecord], count: int) -> None:
    """A student evaluated on all images, whose training is unfinished, and out-of-fold predictions of all images."""
    generator, run = np.random.default_rng(1), runs / "student"
    labels = np.array([record.label for record in records])
    log_p = np.float32(4) * np.eye(CLASSES, dtype=np.float32)[labels]
    log_p += generator.normal(0, 1, log_p.shape).astype(np.float32)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    ids = tuple(record.image_id for record in records)
    write_out_of_fold(
        runs / "labels" / OUT_OF_FOLD,
        OutOfFold(
            image_ids=ids,
            class_names=NAMES,
            log_p_NC=log_p,
            folds_N=np.arange(len(ids)) % 5,
            identity=json.dumps({"dataset": DATASET}),
        ),
    )
    asked = question_set(count).questions
    described = {"dataset": DATASET, "class_names": NAMES, "teacher": TEACHER, "digest": "0" * 16, "network": None}
    aspects = [{"key": question.key, "text": question.text, "link": "logit"} for question in asked]
    config = {"method": "recommended", "seed": 0, "backbone": "resnet18", "epochs": 30}
    write_json(run / "run.json", {**described, "config": config, "aspects": aspects})
    p_yes = generator.random((count, len(ids)), dtype=np.float32)
    table = pl.DataFrame({"image_id": ids, **dict(zip(question_set(count).keys, p_yes, strict=True))})
    write_bytes(run / "aspects-train.parquet", parquet(table))
    predicted = log_p.argmax(axis=1)
    of_label = np.exp(log_p[np.arange(len(ids)), labels])
    predictions = pl.DataFrame(
        {
            "image_id": ids,
            "label": [NAMES[label] for label in labels],
            "predicted": [NAMES[label] for label in predicted],
            "probability": np.exp(log_p.max(axis=1)),
            "label_probability": of_label,
            "label_rank": (1 + (log_p > np.log(of_label)[:, None]).sum(axis=1)).astype(np.int32),
        }
    )
    data = parquet(predictions)
    write_bytes(run / "predictions-train.parquet", data)
    write_json(run / "evaluation-train.json", evaluation(len(ids), data, question_set(count).keys))


def evaluation(images: int, predictions: bytes, keys: Sequence[str]) -> dict[str, Any]:
    about_class = {"images": images // CLASSES, "top1": 0.5, "precision": 0.5, "f1": 0.5}
    return {
        "dataset": DATASET,
        "split": "train",
        "digest": "0" * 16,
        "images": images,
        "dropped_images": 0,
        "best_epoch": 1,
        "top1": 0.5,
        "top5": 0.9,
        "macro_accuracy": 0.5,
        "loss": 1.0,
        "per_class": [{"class_name": name, **about_class} for name in NAMES],
        "aspects": [{"key": key, "images": images, "auroc": 0.9, "ece": 0.1} for key in keys],
        "aspect_auroc": 0.9,
        "aspect_ece": 0.1,
        "predictions": hashlib.sha256(predictions).hexdigest(),
    }


def parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def write_boxes(folder: Path) -> None:
    """BOXED images with BOXES boxes each, and a detector that has found most of them."""
    generator = np.random.default_rng(2)
    names = [f"{number:06}.jpg" for number in range(BOXED)]
    link_images(folder / "scenes", [f"test/{name}" for name in names])
    corners = generator.integers(0, SIDE - 24, (BOXED, BOXES, 2))
    labels = generator.integers(0, 80, (BOXED, BOXES))
    boxes = [
        {"id": row * BOXES + box, "image_id": row, "category_id": int(labels[row, box]) + 1, "area": 400, "iscrowd": 0}
        | {"bbox": [*corners[row, box].tolist(), 20, 20]}
        for row in range(BOXED)
        for box in range(BOXES)
    ]
    images = [{"id": row, "file_name": name, "width": SIDE, "height": SIDE} for row, name in enumerate(names)]
    categories = [{"id": label + 1, "name": f"thing_{label:02}"} for label in range(80)]
    document = {"images": images, "annotations": boxes, "categories": categories}
    path = folder / "scenes" / "annotations" / "instances_test.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document), encoding="utf-8")
    flat, moved = corners.reshape(-1, 2), generator.integers(-6, 7, (BOXED * BOXES, 2))
    left, top = (flat + moved).T.astype(float)
    found = pl.DataFrame(
        {
            "image_id": np.repeat([f"test/{name}" for name in names], BOXES),
            "label": [f"thing_{label:02}" for label in labels.ravel()],
            "score": generator.random(BOXED * BOXES),
            "left": left,
            "top": top,
            "right": left + 20,
            "bottom": top + 20,
        }
    )
    config = {"detector": "fcos", "method": "base", "seed": 0, "epochs": 1}
    described = {"dataset": "scenes", "class_names": [one["name"] for one in categories], "config": config}
    write_json(
        folder / "runs" / "run.json", {**described, "aspects": [], "teacher": None, "digest": "0", "network": None}
    )
    write_detections(folder / "runs", "test", found)

"""Paths of a new user: from images and a table of answers to predictions and exports, and from few labels to more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import timm
import torch
import yaml

from storage.images.decode import decode_image
from student.classification.runs import load_run
from tests.flows.conftest import Aspects
from tests.student.conftest import COLOURS, write_images

SETTINGS = (
    "backbone=test_resnet",
    "image_size=32",
    "batch_size=4",
    "lr=0.05",
    "warmup=1",
    "epochs=12",
    "alpha=2",
    "crop_scale=[0.3,1.0]",
    "color_jitter=0",
    "policy=null",
    "val_fraction=0",
    "mixup=0",
    "cutmix=0",
)


def write_answers(folder: Path) -> None:
    """A table of what is seen in each training image, and the questions that it answers."""
    questions = [
        {"key": "is_warm", "text": "Is it of a warm colour?"},
        {"key": "is_leafy", "text": "Has it the colour of leaves?"},
    ]
    (folder / "questions.yaml").write_text(yaml.safe_dump({"questions": questions}))
    ids = sorted(str(path.relative_to(folder / "images")) for path in folder.glob("images/train/*/*.png"))
    rows = {
        "image_id": ids,
        "is_warm": [0.95 if "/red/" in image_id else 0.05 for image_id in ids],
        "is_leafy": [0.9 if "/green/" in image_id else 0.1 for image_id in ids],
    }
    pl.DataFrame(rows).write_csv(folder / "answers.csv")


def succeed(aspects: Aspects, *arguments: object) -> str:
    outcome = aspects(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_from_images_to_the_same_label_in_timm_and_onnxruntime(aspects: Aspects, tmp_path: Path) -> None:
    write_images(tmp_path / "images", train=8, test=2)
    write_answers(tmp_path)
    imported = ("answers.csv", "--format", "attributes", "-q", "questions.yaml", "-d", "images", "-s", "store")
    succeed(aspects, "import-answers", *imported)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    train = ("-d", "images", "-s", "store", "--method", "makd", "--seeds", "0", "--runs", "runs", *settings)
    succeed(aspects, "train", *train)

    run, new = Path("runs/makd/seed-0"), tmp_path / "new.png"
    write_images(tmp_path / "later", train=9, test=0)
    (tmp_path / "later" / "train" / "red" / "008.png").rename(new)
    succeed(aspects, "predict", run, "new.png", "-o", "new.parquet")
    (row,) = pl.read_parquet("new.parquet").to_dicts()
    assert row["predicted"] == "red"
    reasons = {reason["text"]: reason["p_yes"] for reason in row["reasons_for"]}
    assert reasons["Is it of a warm colour?"] > 0.5
    assert row["reasons_against"] == []

    succeed(aspects, "export", run, "exported")
    image = decode_image(new.read_bytes())
    model: Any = timm.create_model("local-dir:exported", pretrained=True).eval()
    data: Any = timm.data
    transform = data.create_transform(**data.resolve_model_data_config(model))
    with torch.no_grad():
        logits = model(transform(image).unsqueeze(0))
    assert sorted(COLOURS) == model.pretrained_cfg["label_names"]
    assert model.pretrained_cfg["label_names"][int(logits.argmax())] == "red"

    session = onnxruntime.InferenceSession("exported/model.onnx")
    use = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    pixels = np.asarray(image.resize((use["center_crop"],) * 2), np.float32) / 255
    normalized = ((pixels - use["mean"]) / use["std"]).transpose(2, 0, 1)[None].astype(np.float32)
    (found,) = session.run(["class_logits"], {"images": normalized})
    assert use["class_names"][int(found[0].argmax())] == "red"


def test_from_one_label_a_class_to_confirmed_names(aspects: Aspects, tmp_path: Path) -> None:
    write_images(tmp_path / "images", train=8, test=2)
    write_answers(tmp_path)
    table = pl.read_csv(tmp_path / "answers.csv")
    unlabelled = tmp_path / "images" / "unlabelled"
    unlabelled.mkdir()
    moved = {}
    for image_id in table["image_id"]:
        if not image_id.endswith("/000.png"):
            _, name, file = image_id.split("/")
            moved[image_id] = f"unlabelled/{name}-{file}"
            (tmp_path / "images" / image_id).rename(tmp_path / "images" / moved[image_id])
    table.with_columns(pl.col("image_id").replace(moved)).write_csv(tmp_path / "answers.csv")
    imported = ("answers.csv", "--format", "attributes", "-q", "questions.yaml", "-d", "images", "-s", "store")
    assert "24 images with answers" in succeed(aspects, "import-answers", *imported)

    succeed(aspects, "labels", "audit", "-d", "images", "-s", "store", "-o", "named.csv")
    named = pl.read_csv("named.csv").filter(pl.col("status") == "no label")
    truth = named["image_id"].str.extract(r"unlabelled/(\w+)-")
    assert named["suggested"].to_list() == truth.to_list()
    assert len(named) == len(moved) == 21
    named.select("image_id", label="suggested").write_csv("confirmed.csv")
    succeed(aspects, "corrections", "import", "confirmed.csv", "--format", "labels", "-s", "store", "-d", "images")

    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    train = ("train", "-d", "images", "-s", "store", "--method", "base", "--seeds", "0", *settings)
    succeed(aspects, *train, "--runs", "few")
    succeed(aspects, *train, "--runs", "confirmed", "--corrections", "use")
    images = [load_run(Path(runs) / "base" / "seed-0").train_images for runs in ("few", "confirmed")]
    assert images == [3, 24]

"""`aspects predict`, on a student of a few weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from storage.datasets import image_folder
from student.classification.examples import TeacherAnswers
from student.classification.training import train
from tests.flows.conftest import Aspects
from tests.student.conftest import answers_for, write_images
from tests.student.old_runs import CLASSIFIER


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset in `images` and a run of it in `run`."""
    folder = tmp_path_factory.mktemp("predicting")
    write_images(folder / "images", train=4, test=2)
    dataset = image_folder(folder / "images", name="images")
    config = CLASSIFIER.replace(epochs=1, warmup=0, val_fraction=0.25)
    train(config, dataset, TeacherAnswers(image=answers_for(dataset)), folder / "run", progress=False)
    return folder


@pytest.mark.parametrize("name", ["out.parquet", "new/out.jsonl", "out.csv"])
def test_a_table_has_a_row_for_each_image(aspects: Aspects, trained: Path, tmp_path: Path, name: str) -> None:
    outcome = aspects("predict", trained / "run", trained / "images" / "test", "-o", name, "--probabilities")
    assert (outcome.code, outcome.out) == (0, f"6 predictions: {name}\n")
    readers: dict[str, Callable[[Path], pl.DataFrame]]
    readers = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    table = readers[Path(name).suffix](tmp_path / name)
    assert table["path"].to_list() == sorted(str(path) for path in trained.glob("images/test/*/*"))
    assert set(table["predicted"]) <= {"blue", "green", "red"}
    assert {"probability", "abstained", "top", "reasons_for", "reasons_against", "p_blue"} <= set(table.columns)


def test_images_of_a_dataset_have_their_ids(aspects: Aspects, trained: Path, tmp_path: Path) -> None:
    outcome = aspects("predict", trained / "run", "-d", trained / "images", "--split", "train", "-o", "out.parquet")
    assert outcome.code == 0
    ids = pl.read_parquet(tmp_path / "out.parquet")["image_id"]
    assert (len(ids), ids[0]) == (12, "train/blue/000.png")


def test_few_predictions_are_printed(aspects: Aspects, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # paths of temporary folders are long
    outcome = aspects("predict", trained / "run", trained / "images" / "test" / "red", "--top", 1)
    assert outcome.code == 0
    assert "reasons for" in outcome.out
    assert "001.png" in outcome.out


def test_columns_of_all_classes_and_aspects_need_a_file(
    aspects: Aspects, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    image = trained / "images" / "test" / "red" / "001.png"
    plain = aspects("predict", trained / "run", image)
    shown = aspects("predict", trained / "run", image, "--aspects", "--probabilities")
    assert (shown.code, shown.out) == (0, plain.out)
    assert "001.png" in shown.out
    assert "are columns of a file; give -o predictions.parquet" in shown.err
    assert "columns of a file" not in plain.err


def test_a_folder_of_runs_names_them(aspects: Aspects, trained: Path) -> None:
    outcome = aspects("predict", trained, trained / "images" / "test")
    assert outcome.code == 2
    assert "is no run but holds 1: run; name one, e.g. " in outcome.err


def test_many_predictions_need_a_file(aspects: Aspects, trained: Path, tmp_path: Path) -> None:
    for number in range(51):
        shutil.copy(trained / "images" / "test" / "red" / "000.png", tmp_path / f"{number}.png")
    outcome = aspects("predict", trained / "run", ".")
    assert outcome.code == 2
    assert outcome.err == "error: 51 images are too many to print; give -o predictions.parquet\n"


def test_broken_images_are_rows_and_only_broken_ones_a_failure(aspects: Aspects, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    whole = trained / "images" / "test" / "red" / "000.png"
    outcome = aspects("predict", trained / "run", whole, "broken.png", "-o", "out.parquet")
    assert outcome.code == 0
    assert "note: 1 of 2 images could not be read; the column 'error' has the reason of each" in outcome.err
    assert pl.read_parquet("out.parquet")["error"].to_list() == [None, "not an image that Pillow knows"]
    outcome = aspects("predict", trained / "run", "broken.png", "-o", "out.parquet")
    assert outcome.code == 1
    assert "error: none of 1 images could be read" in outcome.err
    assert len(pl.read_parquet("out.parquet")) == 1


def test_uncalibrated_probabilities_are_said_once(aspects: Aspects, trained: Path, tmp_path: Path) -> None:
    image = trained / "images" / "test" / "red" / "000.png"
    assert "not calibrated" not in aspects("predict", trained / "run", image).err
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / "calibration.json").unlink()
    assert aspects("predict", "run", image).err.count("probabilities are not calibrated") == 1
    outcome = aspects("predict", "run", image, "--abstain-for-precision", 0.9)
    assert outcome.code == 2
    assert "there are no calibration images to choose a threshold" in outcome.err

"""`aspects labels audit`, on generated images with planted wrong labels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from storage.corrections import Correction, CorrectionFolder
from storage.datasets import image_folder
from student.classification.examples import TeacherAnswers
from student.classification.out_of_fold import OUT_OF_FOLD
from student.classification.training import train
from tests.flows.conftest import Aspects
from tests.student.conftest import answers_for, write_images
from tests.student.old_runs import CLASSIFIER

WRONG = "train/blue/red-000.png"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in `images`, of which one red image lies among the blue ones, and human answers about it in
    `answers.csv`."""
    folder = tmp_path_factory.mktemp("labels")
    write_images(folder / "images", train=6, test=2)
    answers = answers_for(image_folder(folder / "images", name="images"))
    red = answers.image_ids.index("train/red/000.png")
    shutil.move(folder / "images" / "train" / "red" / "000.png", folder / "images" / WRONG)
    ids = [WRONG if row == red else image_id for row, image_id in enumerate(answers.image_ids)]
    columns = dict(zip(answers.questions.keys, answers.p_yes.T, strict=True))
    pl.DataFrame({"image_id": ids, **columns}).write_csv(folder / "answers.csv")
    return folder


@pytest.fixture
def store(place: Path, aspects: Aspects) -> Path:
    if not (place / "store").exists():
        file, images = place / "answers.csv", place / "images"
        options = ("--format", "attributes", "-d", images, "--splits", "train,test", "-s", place / "store")
        assert aspects("import-answers", file, *options).code == 0
    return place / "store"


@pytest.fixture
def run(place: Path) -> Path:
    """A trained student, whose settings out-of-fold students can take."""
    if not (place / "run").exists():
        dataset = image_folder(place / "images", name="images")
        config = CLASSIFIER.replace(method="base", epochs=1, warmup=0, val_fraction=0.0, keep="last")
        train(config, dataset, TeacherAnswers(), place / "run", progress=False)
    return place / "run"


def test_the_wrong_label_is_named_first(
    aspects: Aspects, place: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = aspects("labels", "audit", "-d", place / "images", "-s", store, "--show", 1)
    assert outcome.code == 0
    assert WRONG in outcome.out
    assert "is_warm 0." in outcome.out
    assert "1 of 24 labels are wrong with a probability of 50 % or more, by answers" in outcome.out


@pytest.mark.parametrize("name", ["out.parquet", "new/out.csv", "out.jsonl"])
def test_the_table_has_a_row_for_each_image(
    aspects: Aspects, place: Path, store: Path, tmp_path: Path, name: str
) -> None:
    outcome = aspects("labels", "audit", "-d", place / "images", "-s", store, "-o", name)
    assert outcome.out.startswith(f"24 images: {name}\n")
    readers: dict[str, Callable[[Path], pl.DataFrame]]
    readers = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}
    table = readers[Path(name).suffix](tmp_path / name)
    assert len(table) == 24
    first = table.row(0, named=True)
    assert (first["image_id"], first["label"], first["suggested"]) == (WRONG, "blue", "red")
    assert first["wrong"] > 0.5


@pytest.mark.parametrize(("allowed", "code"), [(0, 3), (1, 0)])
def test_the_exit_code_says_whether_too_many_labels_are_suspicious(
    aspects: Aspects, place: Path, store: Path, allowed: int, code: int
) -> None:
    outcome = aspects("labels", "audit", "-d", place / "images", "-s", store, "--fail-above", allowed)
    assert outcome.code == code
    assert outcome.err.count("error") == 0


def test_students_judge_labels_with_the_settings_of_a_run_and_are_kept(
    aspects: Aspects, place: Path, store: Path, run: Path
) -> None:
    command = ("labels", "audit", "-d", place / "images", "-s", store, "--runs", run, "--folds", 2)
    first = aspects(*command)
    assert first.code == 0, first.err
    assert "by answers and student" in first.out
    (found,) = (run / "label-audit").glob(f"*-2-folds/{OUT_OF_FOLD}")
    written = found.stat().st_mtime_ns
    again = aspects(*command)
    assert (again.code, again.out) == (0, first.out)
    assert found.stat().st_mtime_ns == written
    log_p = pl.read_parquet(found)["log_p"].to_numpy()
    assert np.exp(log_p).sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_images_without_a_label_are_listed_the_least_sure_first(
    aspects: Aspects, place: Path, store: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(store, tmp_path / "store")
    ids = [record.image_id for record in image_folder(place / "images", name="images").records]
    unsure = [image_id for image_id in ids if not image_id.endswith("/001.png")]
    rows = [Correction(image_id=image_id, kind="label", value=None) for image_id in unsure]
    CorrectionFolder.open(str(own), "images").record(rows)
    options = ("--corrections", "use", "--show", 1, "-o", "named.csv")
    outcome = aspects("labels", "audit", "-d", place / "images", "-s", own, *options)
    assert outcome.code == 0
    named = pl.read_csv(tmp_path / "named.csv").filter(pl.col("status") == "no label")
    sure = named["p_suggested"].to_list()
    assert len(named) > 10
    assert sure == sorted(sure)
    listed = outcome.out.split("images without a label, the least sure first")[1]
    assert named["image_id"][0] in listed
    assert named["image_id"][1] not in listed


def test_corrected_labels_are_judged_where_asked(aspects: Aspects, place: Path, store: Path, tmp_path: Path) -> None:
    own = shutil.copytree(store, tmp_path / "store")
    folder = CorrectionFolder.open(str(own), "images")
    folder.record([Correction(image_id=WRONG, kind="label", value="red", old="blue")])
    command = ("labels", "audit", "-d", place / "images", "-s", own, "--show", 0, "--fail-above", 0)
    assert aspects(*command).code == 3
    outcome = aspects(*command, "--corrections", "use")
    assert (outcome.code, outcome.out.splitlines()[0]) == (0, "corrections: 1 label and 0 answers corrected")
    folder.record([Correction(image_id="train/green/001.png", kind="label", value="red", old="green")])
    assert aspects(*command, "--corrections", "use").code == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--student", "--corrections", "use"), "--corrections use reads them from a store; give --store too"),
        ((), "labels are judged by answers (--store), by students (--student), or by both; give one"),
        (("-s", "{store}", "--threshold", "nan"), "Invalid value for '--threshold'"),
        (("-s", "{store}", "--splits", "val"), "has no split 'val'; it has train, test"),
        (("-s", "{store}", "-o", "out.txt"), "out.txt has no known suffix"),
        (("--student", "--set", "method=kd"), "learns from a KD teacher"),
        (("--runs", "{run}", "--recipe", "small"), "is a student with its own settings; give one"),
    ],
)
def test_mistakes_are_one_line(
    aspects: Aspects, place: Path, store: Path, run: Path, options: tuple[str, ...], message: str
) -> None:
    given = [option.format(store=store, run=run) for option in options]
    outcome = aspects("labels", "audit", "-d", place / "images", *given)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1

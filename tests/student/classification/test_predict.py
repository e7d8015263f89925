from __future__ import annotations

import dataclasses
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from storage.datasets import FileDataset, image_folder
from storage.errors import StorageUnavailable
from storage.images.decode import decode_image
from storage.images.unreachable import IN_A_ROW, ImagesUnreachable
from student.classification import Classifier, load_classifier
from student.classification.calibration import Calibration, CalibrationInvalid, write_calibration
from student.classification.evaluate import predict_logits
from student.classification.examples import TeacherAnswers
from student.classification.export import export
from student.classification.images import evaluation_cache
from student.classification.predict import BATCHES_AHEAD, Predictor, Source, flattened
from student.classification.runs import load_run
from student.classification.training import train
from student.core.aspects import yes_probability
from student.core.prediction_columns import PredictionColumns
from tests.student.conftest import answers_for
from tests.student.old_runs import CLASSIFIER

NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def images(image_root: Path) -> FileDataset:
    return image_folder(image_root, name="colours")


@pytest.fixture(scope="module")
def run_dir(images: FileDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of all methods' kinds of outputs, with a temperature that is not 1."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    config = CLASSIFIER.replace(resize_size=36, epochs=6, image_size=32)
    train(config, images, TeacherAnswers(image=answers_for(images)), folder, progress=False)
    write_calibration(folder, torch.eye(3)[[0, 1, 1, 2, 2, 0]] * 4, torch.arange(6) % 3, dataset="c", split="val")
    return folder


@pytest.fixture(scope="module")
def paths(images: FileDataset) -> list[Path]:
    return [images.places[record.image_id] for record in images.records if record.split == "test"]


@pytest.fixture(scope="module")
def classifier(run_dir: Path) -> Classifier:
    return load_classifier(run_dir)


def test_predictions_of_run_and_exports_are_the_evaluations(
    images: FileDataset, run_dir: Path, paths: list[Path], tmp_path: Path
) -> None:
    records = [record for record in images.records if record.split == "test"]
    run = load_run(run_dir)
    with evaluation_cache(run.description.config, images, records, tmp_path, progress=False) as cache:
        logits = predict_logits(run.load(), cache, progress=False)
    export(run_dir, tmp_path / "plain")
    export(run_dir, tmp_path / "aspects", formats=["safetensors"], keep_aspects=True)
    p_yes = yes_probability(logits.aspect_logits_BQ, run.description.aspects)
    for folder, has_aspects in ((run_dir, True), (tmp_path / "plain", False), (tmp_path / "aspects", True)):
        loaded = load_classifier(folder)
        assert loaded.temperature not in (0, 1)
        found = loaded.predict(map(str, paths), probabilities=True, aspects=True, batch_size=5)
        expected = (logits.class_logits_BC / loaded.temperature).softmax(dim=1)
        assert found["path"].to_list() == [str(path) for path in paths]
        assert found["predicted"].to_list() == [NAMES[i] for i in expected.argmax(dim=1)]
        probabilities = found.select(f"p_{name}" for name in NAMES).to_numpy()
        assert probabilities == pytest.approx(expected.numpy(), abs=1e-5)
        assert found["probability"].to_numpy() == pytest.approx(probabilities.max(axis=1))
        assert ("yes_is_warm" in found.columns) is has_aspects
        if has_aspects:
            assert found["yes_is_warm"].to_numpy() == pytest.approx(p_yes[:, 0].numpy(), abs=1e-5)
            assert found["reasons_for"].list.len().sum() > 0


def test_paths_pillow_images_arrays_and_tensors_are_the_same_image(classifier: Classifier, paths: list[Path]) -> None:
    image = decode_image(paths[0].read_bytes())
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    found = classifier.predict([paths[0], image, np.array(image), pixels, pixels / 255])
    assert found["path"].to_list() == [str(paths[0]), None, None, None, None]
    assert found["probability"].n_unique() == 1


def test_top_classes_are_in_the_order_of_their_probabilities(classifier: Classifier, paths: list[Path]) -> None:
    found = classifier.predict(paths, top=2)
    for row in found.iter_rows(named=True):
        assert len(row["top"]) == 2
        assert row["top"][0] == {"class": row["predicted"], "probability": row["probability"]}
        assert row["top"][0]["probability"] >= row["top"][1]["probability"]
    assert classifier.predict(paths[:1], top=9)["top"].list.len().to_list() == [3]


def test_reasons_speak_for_and_against_and_the_strongest_comes_first(classifier: Classifier, paths: list[Path]) -> None:
    found = classifier.predict(paths, reasons=1)
    for row in found.iter_rows(named=True):
        assert all(reason["evidence"] > 0 for reason in row["reasons_for"])
        assert all(reason["evidence"] < 0 for reason in row["reasons_against"])
        assert len(row["reasons_for"]) <= 1
    both = classifier.predict(paths[:1], reasons=2)
    strongest = both["reasons_for"].to_list()[0]
    assert strongest == sorted(strongest, key=lambda reason: -reason["evidence"])
    assert strongest[0]["text"] in ("Is it of a warm colour?", "Has it the colour of leaves?")
    assert "reasons_for" not in classifier.predict(paths[:1], reasons=0).columns
    without = dataclasses.replace(classifier, profile=None).predict(paths[:1])
    assert without["reasons_for"].to_list() == [[]]


def test_unreadable_images_are_rows_with_their_reasons(
    classifier: Classifier, paths: list[Path], tmp_path: Path
) -> None:
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(b"nothing")
    found = classifier.predict([broken, paths[0], missing, tmp_path])
    assert found["error"].to_list() == [
        "not an image that Pillow knows", None, "No such file or directory", "is a folder, not a file"
    ]  # fmt: skip
    assert found["predicted"].is_null().to_list() == [True, False, True, True]
    assert classifier.predict([broken])["predicted"].to_list() == [None]
    assert classifier.predict([]).schema == found.schema


def test_images_that_a_server_does_not_give_are_rows_until_none_comes(
    classifier: Classifier, paths: list[Path]
) -> None:
    def given(path: Path, *, fails: bool, code: int = errno.ETIMEDOUT) -> Source:
        def read() -> Image.Image:
            if fails:
                raise StorageUnavailable(f"cannot read {path.name} right now") from OSError(code, os.strerror(code))
            return decode_image(path.read_bytes())

        return Source(name=path.name, open=read)

    predictor = Predictor(classifier=classifier, columns=PredictionColumns())
    whole, failing = given(paths[0], fails=False), [given(paths[1], fails=True)] * (IN_A_ROW - 1)
    rows = pl.concat(predictor.frames([*failing, whole, *failing], batch_size=4))
    assert rows["predicted"].is_null().sum() == len(rows) - 1 == 2 * len(failing)
    assert rows["error"].unique().sort().to_list() == [None, "cannot read 001.png right now"]
    with pytest.raises(
        ImagesUnreachable, match=r"^8 images in a row cannot be read \(.*timed out\); run the same command"
    ):
        list(predictor.frames([whole, *failing, failing[0]], batch_size=4))
    forbidden = [given(paths[1], fails=True, code=errno.EACCES)] * IN_A_ROW  # waiting would not help
    assert pl.concat(predictor.frames(forbidden))["error"].null_count() == 0


def test_below_the_threshold_no_class_is_predicted(classifier: Classifier, paths: list[Path]) -> None:
    found = classifier.predict(paths)
    threshold = found["probability"].sort()[5]
    some = classifier.predict(paths, abstain_below=threshold)
    assert some["abstained"].to_list() == (found["probability"] < threshold).to_list()
    assert some["predicted"].is_null().to_list() == some["abstained"].to_list()
    assert some["probability"].to_list() == found["probability"].to_list()
    assert some["top"].to_list() == found["top"].to_list()


def test_a_threshold_for_a_precision_needs_calibration_images(classifier: Classifier) -> None:
    with pytest.raises(CalibrationInvalid, match=r"no calibration images .* --calibrate'"):
        dataclasses.replace(classifier, calibration=None).threshold_for(0.9)
    calibration = Calibration(
        dataset="c", split="val", images=20, weights="", temperature=1.0, ece_before=0.0, ece_after=0.0,
        confidences=(0.9,) * 10 + (0.5,) * 10, correct=(1,) * 10 + (0,) * 10,
    )  # fmt: skip
    assert dataclasses.replace(classifier, calibration=calibration).threshold_for(0.9) == 0.9


def test_few_images_are_decoded_ahead_of_the_network(classifier: Classifier, paths: list[Path]) -> None:
    opened = 0
    lock = threading.Lock()

    def sources() -> Iterator[Source]:
        def read() -> Image.Image:
            nonlocal opened
            with lock:
                opened += 1
            return decode_image(paths[0].read_bytes())

        for number in range(1000):
            yield Source(name=str(number), open=read)

    frames = classifier.predictor().frames(sources(), batch_size=4, threads=2)
    assert next(frames)["path"].to_list() == ["0", "1", "2", "3"]
    frames.close()
    assert opened <= (BATCHES_AHEAD + 1) * 4 + 1


def test_an_older_run_predicts_without_calibration_and_reasons(
    run_dir: Path, paths: list[Path], tmp_path: Path
) -> None:
    for name in ("run.json", "result.json", "student.safetensors"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    found = load_classifier(tmp_path)
    assert (found.calibration, found.profile, found.temperature) == (None, None, 1.0)
    assert found.predict(paths[:1])["reasons_for"].to_list() == [[]]


def test_lists_are_flattened_for_csv(classifier: Classifier, paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    flat = flattened(classifier.predict([paths[0], tmp_path / "broken.png"], top=2))
    assert flat.schema["top"] == pl.String
    first, second = flat["top"].to_list()
    assert first.count("; ") == 1
    assert second is None


def test_a_reason_in_a_csv_says_which_answer_speaks() -> None:
    reasons = [[{"text": "Is it red?", "p_yes": 0.11}, {"text": "Is it round?", "p_yes": 0.97}], [], None]
    flat = flattened(pl.DataFrame({"reasons_for": reasons}))
    assert flat["reasons_for"].to_list() == ["Is it red? no 0.89; Is it round? yes 0.97", "", None]

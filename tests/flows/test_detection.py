"""Images with boxes, with the bundled teacher on the transformers engine; bench/detection.py runs vLLM."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.option_values import OptionInvalid
from flows.parameters import (
    BoxParameters,
    DatasetParameters,
    DetectionParameters,
    DetectorTrainingParameters,
    EngineParameters,
    Experiment,
    StudentParameters,
)
from flows.work import asking
from flows.work.detection import BOXES, IMAGES, QuestionsMissing, detect_aspects, evaluation_split
from flows.work.experiment import check_experiment, run_experiment
from flows.work.inputs import Inputs
from storage.answers.damage import AnswersMissing
from storage.datasets import DatasetInvalid, open_detection_dataset
from storage.datasets.scenes.detection import write_detection_scenes
from storage.errors import AspectsError
from student.core.files import RunInvalid
from student.core.setting_errors import ConfigInvalid
from tests.flows.hosts import Notes, plain_host
from tests.flows.work.engines import use_engine, use_local_workers

Detect = Callable[..., Any]
SMALLEST = 12.0  # pixels; some of the scenes' boxes are smaller


@pytest.fixture(scope="module")
def boxed_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "boxed"
    write_detection_scenes(folder, train=8, test=3, seed=2)
    return folder


@pytest.fixture(scope="module")
def detect(boxed_scenes: Path, few_questions: Path) -> Detect:
    """`detect_aspects` on the scenes; keyword arguments replace its parameters."""

    def run(store: Path, notes: Notes | None = None, **changes: Any) -> Any:
        parameters = {
            "dataset": DatasetParameters(source=str(boxed_scenes)),
            "questions": str(few_questions),
            "box_questions": str(few_questions),
            "boxes": BoxParameters(margin=0.5, smallest=SMALLEST),
            "engine": EngineParameters(name="transformers"),
            "store": str(store),
            "shard_size": 10,
            "train": False,
        }
        return detect_aspects(plain_host(notes), DetectionParameters(**{**parameters, **changes}))

    return run


@pytest.fixture(scope="module")
def asked(detect: Detect, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    store = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_local_workers(monkeypatch)
        summaries, _ = detect(store)
    return store, summaries


@pytest.fixture
def store(asked: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(asked[0], tmp_path / "store"))


def student(runs: Path, **settings: Any) -> StudentParameters:
    small = {"backbone": "test_resnet", "epochs": 1, "warmup": 0, "channels": 32, "hidden": 16, "image_size": 64}
    return StudentParameters(recipe="demo", settings={**small, "batch_size": 4, **settings}, seeds=[0], runs=str(runs))


def test_images_and_boxes_have_a_row_each(asked: tuple[Path, Any], boxed_scenes: Path) -> None:
    store, summaries = asked
    dataset = open_detection_dataset(str(boxed_scenes))
    images = [record.image_id for record in dataset.records if record.split == "train"]
    tables = {
        what: pl.read_parquet(f"{store}/answers/dataset={name}/**/*.parquet")
        for what, name in ((IMAGES, "boxed"), (BOXES, "boxed.crop"))
    }
    assert tables[IMAGES]["image_id"].to_list() == images
    boxes = [(image_id, str(box.number)) for image_id in images for box in dataset.boxes[image_id]]
    assert list(zip(tables[BOXES]["image_id"], tables[BOXES]["box_id"], strict=True)) == boxes
    first = dataset.boxes[images[0]][0].corners
    assert tuple(tables[BOXES]["box"][0].values()) == first
    small = tables[BOXES].filter(pl.col("error").is_not_null())
    assert 0 < len(small) < len(boxes)
    assert small["error"].str.contains("too small to see").all()
    assert summaries[BOXES].asked == 4 * (len(boxes) - len(small))
    assert len(summaries[BOXES].failures) == len(small)
    assert summaries[IMAGES].asked == 4 * len(images)


def test_a_second_run_starts_no_teacher(detect: Detect, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> None:
        raise AssertionError("a teacher was started")

    monkeypatch.setattr(asking, "WorkerProcess", start)
    summaries, _ = detect(store)
    assert [summary.asked for summary in summaries.values()] == [0, 0]


def test_detectors_are_trained_on_everything_that_was_asked(
    detect: Detect, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    monkeypatch.setenv("ASPECTS_CACHE", str(tmp_path / "cache"))
    page = str(tmp_path / "report.html")
    _, results = detect(store, notes, train=True, detector=student(tmp_path / "runs"), report=page)
    assert results.table["cell"].to_list() == ["base", "both"]
    assert results.metrics[:3] == ("map", "map50", "map75")
    assert results.images == 3
    report = (tmp_path / "runs" / "report.md").read_text()
    assert "gain: mAP over base, in pairs of one seed" in report
    assert notes.pages["report"] == report
    assert [row["method"] for row in notes.tables["results"]] == ["base", "both"]
    assert "data:image/webp;base64," in Path(page).read_text()
    assert notes.lines[-1].endswith("--task detection")


def test_one_question_set_is_enough(detect: Detect, store: Path, tmp_path: Path) -> None:
    runs = tmp_path / "{answers}"
    _, results = detect(store, questions=None, train=True, detector=student(runs))
    assert results.table["cell"].to_list() == ["base", "box"]
    (folder,) = tmp_path.glob("*/results.json")
    assert "{" not in folder.parent.name


def test_a_grid_of_detectors_is_an_experiment_like_any_other(
    store: Path, boxed_scenes: Path, few_questions: Path, tmp_path: Path
) -> None:
    experiment = Experiment(
        task="detection",
        dataset=DatasetParameters(source=str(boxed_scenes)),
        store=str(store),
        box_questions=str(few_questions),
        recipe="demo",
        settings=student(tmp_path).settings,
        grid={"method": ["box"], "alpha": [1.0, 5.0]},
        seeds=[0],
        runs=str(tmp_path / "grid"),
    )
    with pytest.raises(OptionInvalid, match="is a folder"):
        run_experiment(plain_host(Notes()), experiment.model_copy(update={"report": str(tmp_path)}))
    assert not (tmp_path / "grid").exists()
    check_experiment(experiment, Inputs())
    results = run_experiment(plain_host(Notes()), experiment)
    assert results.table["cell"].to_list() == ["base", "box,alpha=1.0", "box,alpha=5.0"]
    assert (tmp_path / "grid" / "results.png").exists()


def test_mistakes_are_found_before_anything_is_asked(detect: Detect, tmp_path: Path) -> None:
    with pytest.raises(QuestionsMissing, match="--questions about images, --box-questions about boxes"):
        detect(tmp_path, questions=None, box_questions=None)
    with pytest.raises(ConfigInvalid, match="detector 'yolo' is unknown; use one of 'faster-rcnn', 'fcos'"):
        detect(tmp_path, train=True, detector=student(tmp_path, detector="yolo"))
    with pytest.raises(DatasetInvalid, match="no detection dataset at nowhere"):
        detect(tmp_path, dataset=DatasetParameters(source="nowhere"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"question_count": 40}, "question_count is 40"),
        ({"without_group": "smell"}, "no question is of the group 'smell'"),
        ({"watch": "tset"}, "no split 'tset'"),
        ({"backbone": "vit_tiny_patch16_224"}, "backbone 'vit_tiny_patch16_224' gives no maps of 64 px"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_training_errors_are_raised_before_the_first_question(
    detect: Detect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    engine = use_engine(monkeypatch)
    with pytest.raises(AspectsError, match=message):
        detect(tmp_path / "store", train=True, detector=student(tmp_path / "runs", **settings))
    assert engine.asked == 0
    assert not list(tmp_path.iterdir())


def test_a_folder_of_classifiers_takes_no_detector(
    detect: Detect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = use_engine(monkeypatch)
    place = tmp_path / "runs" / "base" / "seed-0"
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps({"config": {"backbone": "resnet18", "image_size": 32, "epochs": 1}}))
    with pytest.raises(RunInvalid, match=r"seed-0 holds the run of a classifier, not of a detector; choose another"):
        detect(tmp_path / "store", train=True, detector=student(tmp_path / "runs"))
    assert engine.asked == 0


def test_training_needs_boxes_before_anything_is_asked(detect: Detect, boxed_scenes: Path, tmp_path: Path) -> None:
    for split, what in (("train", "train"), ("test", "test")):
        folder = Path(shutil.copytree(boxed_scenes, tmp_path / split))
        file = folder / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "annotations": []}))
        dataset = DatasetParameters(source=str(folder))
        with pytest.raises(DatasetInvalid, match=f"has no boxes in split '{what}'; detectors need some there"):
            detect(tmp_path / "store", dataset=dataset, train=True, detector=student(tmp_path / "runs"))
        experiment = Experiment(task="detection", dataset=dataset, grid={"alpha": [1.0]}, runs=str(tmp_path / "runs"))
        with pytest.raises(DatasetInvalid, match=f"has no boxes in split '{what}'"):
            check_experiment(experiment, Inputs())
    (folder / "annotations" / "instances_test.json").unlink()
    with pytest.raises(DatasetInvalid, match="has no split 'test'; it has train"):
        detect(tmp_path / "store", dataset=dataset, train=True, detector=student(tmp_path / "runs"))
    assert not (tmp_path / "store").exists()


def test_answers_that_are_not_there_are_named(detect: Detect, boxed_scenes: Path, tmp_path: Path) -> None:
    from flows.work.detection import train_detectors

    with pytest.raises(AnswersMissing, match=r"no complete answers for dataset 'boxed\.crop'"):
        train_detectors(
            plain_host(),
            DetectorTrainingParameters(
                dataset=DatasetParameters(source=str(boxed_scenes)),
                store=str(tmp_path / "empty"),
                box_questions="questions/scenes.yaml",
            ),
        )


def test_evaluation_uses_test_or_its_equivalent(boxed_scenes: Path, tmp_path: Path) -> None:
    assert evaluation_split(open_detection_dataset(str(boxed_scenes))) == "test"
    moved = Path(shutil.copytree(boxed_scenes, tmp_path / "moved"))
    (moved / "annotations" / "instances_test.json").rename(moved / "annotations" / "instances_val2017.json")
    (moved / "test").rename(moved / "val2017")
    assert evaluation_split(open_detection_dataset(str(moved))) == "val"
    (moved / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(DatasetInvalid, match="no split 'test'; it has train"):
        evaluation_split(open_detection_dataset(str(moved)))

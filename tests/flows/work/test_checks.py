"""What training needs is checked before the teacher is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.parameters import DatasetParameters, EngineParameters, ExtractionParameters, StudentParameters
from flows.work.checks import RunsImpossible, check_writable, evaluation_split
from flows.work.extraction import extract_aspects
from flows.work.extraction_summary import ExtractionSummary
from storage.datasets.base import DatasetInvalid
from storage.datasets.folder import image_folder
from storage.datasets.scenes.classification import write_scenes
from storage.errors import AspectsError
from student.core.examples import ExamplesInvalid
from student.core.files import RunInvalid
from tests.flows.hosts import Notes, plain_host
from tests.flows.work.engines import CountingEngine, use_engine

SMALL = {
    "epochs": 1,
    "warmup": 0,
    "image_size": 32,
    "cache_size": 32,
    "val_fraction": 0.0,
    "threads": 1,
    "backbone": "test_resnet",
    "batch_size": 8,
}
Run = Callable[..., ExtractionSummary]


@pytest.fixture
def root(scenes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scenes, tmp_path / "photos"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> CountingEngine:
    return use_engine(monkeypatch)


@pytest.fixture
def run(root: Path, few_questions: Path, tmp_path: Path) -> Run:
    """Ask, then train one student by base and one by `recommended`."""

    def work(notes: Notes | None = None, runs: str = "runs", seeds: tuple[int, ...] = (0,), **changes: Any) -> Any:
        settings = {**SMALL, **changes.pop("settings", {})}
        given = {
            "dataset": DatasetParameters(source=str(root)),
            "questions": str(few_questions),
            "engine": EngineParameters(name="transformers"),
            "store": str(tmp_path / "store"),
            "student": StudentParameters(settings=settings, seeds=list(seeds), runs=str(tmp_path / runs)),
        }
        return extract_aspects(plain_host(notes), ExtractionParameters(**{**given, **changes}))

    return work


def test_splits_that_stand_for_test(root: Path) -> None:
    assert evaluation_split(image_folder(root)) == "test"
    for name in ("val", "validation"):
        shutil.copytree(root, root.parent / name)
        (root.parent / name / "test").rename(root.parent / name / name)
        assert evaluation_split(image_folder(root.parent / name)) in ("val", "validation")
    shutil.rmtree(root / "test")
    with pytest.raises(DatasetInvalid, match="no split 'test'"):
        evaluation_split(image_folder(root))


def test_students_are_evaluated_on_val_where_there_is_no_test(run: Run, root: Path, engine: CountingEngine) -> None:
    (root / "test").rename(root / "val")
    notes = Notes()
    results = run(notes).results
    assert results is not None
    assert results.split == "val"
    assert notes.lines.count("there is no split 'test': students are evaluated on split 'val'") == 1
    assert engine.asked > 0


def test_no_split_to_evaluate_on(run: Run, root: Path, engine: CountingEngine) -> None:
    shutil.rmtree(root / "test")
    refused(run, DatasetInvalid, "no split 'test'; it has train")
    assert engine.asked == 0
    assert run(train=False).asked == engine.asked > 0  # only training needs it


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"splits": ["test"]}, RunsImpossible, r"learn from split 'train', and only test is asked about"),
        ({"splits": ["train", "tset"]}, DatasetInvalid, "no split 'tset'"),
        ({"settings": {"epochs": 0}}, AspectsError, "epochs"),
        ({"settings": {"method": "mkad"}}, AspectsError, "method 'mkad' is unknown"),
        ({"settings": {"backbone": "resnt18"}}, AspectsError, "resnt18"),
        ({"settings": {"without_group": "smell"}}, ExamplesInvalid, "no question is of the group 'smell'"),
        ({"settings": {"question_count": 40}}, ExamplesInvalid, "40"),
        ({"runs": "file/runs"}, RunsImpossible, r"file is no folder; choose another --runs"),
        ({"runs": "file/{answers}"}, RunsImpossible, r"file is no folder"),
        ({"seeds": (1, 1)}, AspectsError, "each once"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_training_errors_are_raised_before_the_first_question(
    run: Run, engine: CountingEngine, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    (tmp_path / "file").write_text("")
    refused(run, error, message, **changes)
    assert engine.asked == 0
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "runs").exists()


def test_a_runs_folder_of_another_run(run: Run, engine: CountingEngine, root: Path, tmp_path: Path) -> None:
    run()
    asked = engine.asked
    write_scenes(tmp_path / "more", train_per_class=1, test_per_class=1, seed=9)
    new = sorted((tmp_path / "more" / "train").glob("*/*.png"))[0]
    shutil.copy(new, root / "train" / new.parent.name / "new.png")
    refused(run, RunInvalid, r"holds a run with epochs 1, not 2", settings={"epochs": 2})
    assert engine.asked == asked


def refused(run: Run, error: type[Exception], message: str, **changes: Any) -> None:
    with pytest.raises(error, match=message):
        run(**changes)


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "runs")
    assert list(tmp_path.iterdir()) == []

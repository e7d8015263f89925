"""Whether students learn at inner stages: by default not on a pretrained backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.work.grids import compared_students
from storage.datasets import FileDataset
from storage.datasets.base import UNLABELLED
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.runs import load_run
from student.classification.training import train
from student.core.files import digest_of_file, read_json, write_json
from student.core.runs import DESCRIPTION, RESULT, WEIGHTS
from student.core.setting_errors import ConfigInvalid

METHODS = ["base", "recommended-without-answers", "recommended"]


@pytest.fixture
def config(probe: StudentConfig) -> StudentConfig:
    return probe.replace(freeze=False, epochs=1, method="recommended", labels_per_class=1)


def grid_of(config: StudentConfig) -> StudentGrid:
    return StudentGrid(settings=config.to_dict(), axes={"method": METHODS}, seeds=[0])


@pytest.mark.parametrize("inner_stages", [None, False, True])
def test_a_pretrained_backbone_learns_at_inner_stages_where_it_is_said_to(
    inner_stages: bool | None,
    config: StudentConfig,
    dataset: FileDataset,
    teacher_answers: TeacherAnswers,
    tmp_path: Path,
) -> None:
    config = config.replace(inner_stages=inner_stages)
    run = train(config, dataset, teacher_answers, tmp_path / "run", progress=False)
    assert (run.epochs[-1].inner > 0) == bool(inner_stages)
    assert len(run.load().inner_heads) == (2 if inner_stages else 0)
    assert config.twin == ("recommended-without-answers" if inner_stages else "self-training")


def test_a_backbone_without_pretrained_weights_learns_at_inner_stages(config: StudentConfig) -> None:
    scratch = config.replace(weights=None)
    assert scratch.objective.inner == 2
    assert scratch.replace(inner_stages=False).objective.inner == 0
    assert config.replace(freeze=True, inner_stages=True).objective.inner == 0


def test_methods_with_nothing_at_inner_stages_are_the_same_run_with_and_without_them(config: StudentConfig) -> None:
    for method in ("makd", "base", "recommended-without-answers"):
        runs = [config.replace(method=method, inner_stages=inner).effective() for inner in (None, False)]
        assert runs[0] == runs[1]
    assert config.replace(inner_stages=True).effective() != config.effective()


def test_a_run_of_an_older_release_keeps_its_inner_stages(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    older = config.replace(inner_stages=True)
    run_experiment(grid_of(older), dataset, teacher_answers, tmp_path, progress=False)
    before = {}
    for method in METHODS:  # a release without the setting
        place = tmp_path / method / "seed-0"
        stored = read_json(place / DESCRIPTION)
        del stored["config"]["inner_stages"]
        write_json(place / DESCRIPTION, stored)
        write_json(place / RESULT, {**read_json(place / RESULT), "run": digest_of_file(place / DESCRIPTION)})
        before[method] = (place / RESULT).read_bytes()
    assert len(load_run(tmp_path / "recommended" / "seed-0").load().inner_heads) == 2
    train(config, dataset, teacher_answers, tmp_path / "recommended" / "seed-0", progress=False)
    results = run_experiment(grid_of(config), dataset, teacher_answers, tmp_path, progress=False)
    assert results.table["cell"].to_list() == METHODS
    assert next(one.twin for one in results.metric("top1") if one.cell == "recommended") == METHODS[1]
    assert {method: (tmp_path / method / "seed-0" / RESULT).read_bytes() for method in METHODS} == before
    fresh = run_experiment(grid_of(config), dataset, teacher_answers, tmp_path / "fresh", progress=False)
    assert fresh.table["cell"].to_list() == ["base", "self-training", "recommended"]
    assert next(one.answers_gain for one in fresh.metric("top1") if one.cell == "recommended") is not None


def test_with_all_labels_the_twin_is_the_labels_alone(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    labelled = config.replace(labels_per_class=None)
    asked = StudentGrid(
        settings=labelled.to_dict(), axes={"method": ["base", "self-training", "recommended"]}, seeds=[0]
    )
    results = run_experiment(asked, dataset, teacher_answers, tmp_path, progress=False)
    base, trained = (tmp_path / method / "seed-0" / WEIGHTS for method in ("base", "self-training"))
    assert base.read_bytes() == trained.read_bytes()
    recommended = next(one for one in results.metric("top1") if one.cell == "recommended")
    assert recommended.twin == "base"
    assert recommended.answers_gain == recommended.gain
    assert compared_students(labelled, [0], dataset).axes["method"] == ["base", "recommended"]
    for hiding in ({"labels_per_class": 1}, {"label_fraction": 0.5}):
        methods = compared_students(labelled.replace(**hiding), [0], dataset).axes["method"]
        assert methods == ["base", "self-training", "recommended"]
    some = [
        replace(record, split=UNLABELLED) if number == 0 else record for number, record in enumerate(dataset.records)
    ]
    assert "self-training" in compared_students(labelled, [0], dataset.subset(some)).axes["method"]


def test_compiling_names_the_setting_that_allows_it(config: StudentConfig) -> None:
    assert config.replace(compile=True).objective.inner == 0
    with pytest.raises(ConfigInvalid, match="at inner stages, which torch\\.compile would leave out; give --set inner"):
        config.replace(compile=True, inner_stages=True)

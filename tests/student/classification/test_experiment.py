import dataclasses
import json
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from storage.answers.read import Answers
from storage.datasets import FileDataset
from storage.datasets.base import select
from storage.questions import AspectQuestion, QuestionSet
from student.classification.config import StudentConfig
from student.classification.evaluate import Evaluation, read_evaluation
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.group_scores import find_groups
from student.classification.plots import plot_features
from student.classification.runs import EpochLog, load_run
from student.classification.training import train
from student.core.files import RunInvalid
from student.core.plots import plot_results
from student.core.setting_errors import ConfigInvalid
from tests.student.grids import grid_of


class Stopped(Exception):
    pass


def test_students_are_trained_evaluated_and_written(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    results = run_experiment(grid_of(config, [0, 3]), dataset, teacher_answers, tmp_path, progress=False)
    assert results.table.select("seed", "cell").rows() == [(0, "base"), (0, "makd"), (3, "base"), (3, "makd")]
    assert (results.images, results.train_images, results.val_images) == (12, 18, 6)
    assert [auroc is None for auroc in results.table["aspect_auroc"]] == [True, False, True, False]
    assert pl.read_parquet(tmp_path / "results.parquet").equals(results.table)
    written = json.loads((tmp_path / "results.json").read_text())
    assert [cell["cell"] for cell in written["summary"] if cell["metric"] == "top1"] == ["base", "makd"]
    assert results.difference("makd", "base") == results.metric("top1")[1].gain
    assert {path.name for path in tmp_path.iterdir()} == {"base", "makd", "results.parquet", "results.json"}
    # Text that means a formula, and a character that the font lacks.
    results = dataclasses.replace(results, dataset="$x^{ \U0001f600 [/b]\n")
    plot_results(results, tmp_path / "results.png")
    plot_features(results, dataset, tmp_path, tmp_path / "features.png")
    for name in ("results.png", "features.png"):
        assert Image.open(tmp_path / name).convert("L").getextrema() == (0, 255)


def test_each_student_is_scored_on_the_answers_that_it_learned(
    config: StudentConfig, dataset: FileDataset, answers: Answers, tmp_path: Path
) -> None:
    others = (AspectQuestion(key="of_ice", text="Is it of ice?"), AspectQuestion(key="of_fire", text="Is it of fire?"))
    both = TeacherAnswers(image=answers, classes=dataclasses.replace(answers, questions=QuestionSet(others)))
    results = run_experiment(grid_of(config, [0], method=["makd", "lavid"]), dataset, both, tmp_path, progress=False)
    assert [auroc is None for auroc in results.table["aspect_auroc"]] == [True, False, False]
    scored = {
        name: json.loads((tmp_path / name / "seed-0/evaluation-test.json").read_text()) for name in ("makd", "lavid")
    }
    keys = {name: [aspect["key"] for aspect in evaluation["aspects"]] for name, evaluation in scored.items()}
    assert keys == {"makd": ["is_warm", "is_leafy"], "lavid": ["of_ice", "of_fire"]}


def test_the_worst_group_is_a_metric_that_gains_can_be_in(
    config: StudentConfig, dataset: FileDataset, answers: Answers, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    grid = grid_of(config.replace(epochs=2, warmup=0), [0], method=["base"], balance=[None, "Is it of a warm colour?"])
    grid = grid.fit_to_answers(teacher_answers)
    plain = run_experiment(grid, dataset, teacher_answers, tmp_path, progress=False)
    assert ("worst_group" in plain.table.columns, plain.metrics[0]) == (False, "top1")
    groups = find_groups(dataset, select(dataset, ("test",)), ["is_warm"], answers)
    run_grouped = partial(run_experiment, grid, dataset, teacher_answers, tmp_path, progress=False, groups=groups)
    results = run_grouped(metric="worst_group")
    assert [cell.cell for cell in results.metric("top1")] == ["base", "base,balance=is_warm"]
    assert results.metrics == ("worst_group", "top1", "top5", "macro_accuracy")
    place = tmp_path / "base,balance=is_warm" / "seed-0"
    scores = read_evaluation(place, "test")
    assert scores is not None
    assert [(one.class_name, one.answer) for one in scores.groups] == [("blue", "no"), ("green", "no"), ("red", "yes")]
    assert scores.worst_group == min(one.top1 for one in scores.groups) == results.metric("worst_group")[1].mean
    assert Evaluation.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores
    before = (place / "evaluation-test.json").stat().st_mtime_ns
    run_grouped()
    assert (place / "evaluation-test.json").stat().st_mtime_ns == before, "scored by the same groups already"
    with pytest.raises(ConfigInvalid, match="metric 'worst_group' is not measured on split 'test'; take top1, top5"):
        run_experiment(grid, dataset, teacher_answers, tmp_path, progress=False, metric="worst_group")


def test_a_stopped_experiment_resumes_and_a_grown_one_trains_its_new_cells(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    def stop_in_second_run(cell: str, seed: int, log: EpochLog) -> None:
        if cell == "makd" and log.epoch == 2:
            raise Stopped

    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    with pytest.raises(Stopped):
        run_experiment(
            grid_of(config, [0]), dataset, teacher_answers, stopped, progress=False, on_epoch=stop_in_second_run
        )
    assert pl.read_parquet(stopped / "results.parquet")["cell"].to_list() == ["base"]
    trained: list[tuple[str, int, int]] = []

    def note(cell: str, seed: int, log: EpochLog) -> None:
        trained.append((cell, seed, log.epoch))

    went_on = run_experiment(grid_of(config, [0]), dataset, teacher_answers, stopped, progress=False, on_epoch=note)
    assert trained == [("makd", 0, 3)]
    expected = run_experiment(grid_of(config, [0]), dataset, teacher_answers, whole, progress=False)
    measured = ["cell", "seed", "top1", "top5", "val_top1", "loss"]
    assert went_on.table.select(measured).equals(expected.table.select(measured))
    losses = [[log.loss for log in load_run(folder / "makd" / "seed-0").epochs] for folder in (stopped, whole)]
    assert losses[0] == losses[1]
    trained.clear()
    grown = grid_of(config, [0], method=["makd", "class-mean"])
    run_experiment(grown, dataset, teacher_answers, stopped, progress=False, on_epoch=note)
    assert {cell for cell, _, _ in trained} == {"class-mean"}


def test_a_larger_network_is_trained_first_and_learned_from(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    grid = StudentGrid(
        settings=config.replace(val_fraction=0.0).to_dict(),
        axes={"method": ["kd", "lskd+makd"]},
        seeds=[0],
        network={"backbone": "test_resnet", "epochs": 2},
    )
    results = run_experiment(grid, dataset, teacher_answers, tmp_path, progress=False)
    assert results.table["cell"].to_list() == ["base", "kd", "lskd+makd"]
    assert load_run(tmp_path / "network").description.config.epochs == 2
    logs = {name: load_run(tmp_path / name / "seed-0").epochs[-1] for name in ("base", "kd", "lskd+makd")}
    assert [logs[name].distillation > 0 for name in logs] == [False, True, True]
    assert [logs[name].aspects > 0 for name in logs] == [False, False, True]


@pytest.mark.parametrize("axes", [{"method": ["base"]}, {"method": ["base"], "epochs": [1, 2]}])
@pytest.mark.parametrize("metric", ["top5", "macro_accuracy"])
def test_any_metric_can_be_plotted(
    config: StudentConfig,
    dataset: FileDataset,
    teacher_answers: TeacherAnswers,
    tmp_path: Path,
    metric: str,
    axes: dict[str, list[int]],
) -> None:
    grid = grid_of(config.replace(epochs=1, warmup=0), [0], **axes)
    results = run_experiment(grid, dataset, teacher_answers, tmp_path, progress=False, metric=metric)
    plot_results(results, tmp_path / "results.png")
    assert Image.open(tmp_path / "results.png").convert("L").getextrema() == (0, 255)


def test_a_kd_teacher_is_checked_before_any_student_is_trained(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    grid = grid_of(config.replace(network=str(tmp_path / "network")), [0, 1], method=["base", "kd"])
    with pytest.raises(RunInvalid, match=r"no run at .*network"):
        grid.check(dataset, teacher_answers, None)
    train(config.replace(method="base"), dataset, teacher_answers, tmp_path / "network", progress=False)
    grid.check(dataset, teacher_answers, None)
    few = dataclasses.replace(grid, settings={**grid.settings, "labels_per_class": 2})
    with pytest.raises(ConfigInvalid, match="has seen labels that this student may not"):
        few.check(dataset, teacher_answers, None)
    others = dataclasses.replace(dataset, class_names=("a", "b", "c"))
    with pytest.raises(ConfigInvalid, match="was trained on other classes"):
        grid.check(others, teacher_answers, None)


def test_best_weights_without_validation_images_are_said_to_be_the_last(
    config: StudentConfig, dataset: FileDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_each = config.replace(method="base", labels_per_class=1, keep="best", val_fraction=None)
    run = train(one_each, dataset, TeacherAnswers(), tmp_path, progress=False)
    assert (run.val_images, run.best_epoch) == (0, config.epochs)
    assert "no labelled image is left for validation: the last epoch is kept" in capsys.readouterr().err

import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest
import torch

from storage.answers.read import Answers
from storage.datasets import DatasetInvalid, FileDataset
from storage.questions import QuestionSet
from student.classification.config import StudentConfig
from student.classification.evaluate import Evaluation, evaluate, read_evaluation
from student.classification.examples import TeacherAnswers
from student.classification.images import evaluation_cache
from student.classification.metrics import score_labels
from student.classification.model import Logits, Student
from student.classification.training import train
from student.core.evaluation import why_unscored
from student.core.examples import ExamplesInvalid
from student.core.files import RunInvalid


class LoudAspects(torch.nn.Module):
    """Says class 1 and shouts every aspect."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, 1.0, 0.0, 99.0, 99.0]).repeat(len(images), 1)


def test_an_aspect_never_reaches_the_argmax() -> None:
    logits = Student(LoudAspects(), classes=3, aspects=2)(torch.zeros(4, 3, 8, 8))
    assert isinstance(logits, Logits)
    assert score_labels(logits.class_logits_BC, torch.tensor([1, 1, 1, 0]))["top1"] == 0.75


def test_a_run_is_evaluated_on_the_split_asked_for(
    config: StudentConfig, dataset: FileDataset, answers: Answers, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    run = train(config.replace(epochs=8), dataset, teacher_answers, tmp_path, progress=False)
    scores = evaluate(tmp_path, dataset, answers)
    assert (scores.split, scores.images, scores.dropped_images) == ("test", 12, 0)
    assert (scores.top1, scores.macro_accuracy, scores.top5) == (1.0, 1.0, 1.0)
    assert [score.key for score in scores.aspects] == ["is_warm", "is_leafy"]
    assert scores.aspect_auroc == 1.0
    assert scores.best_epoch == run.best_epoch
    assert read_evaluation(tmp_path, "test") == scores
    assert Evaluation.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores
    assert evaluate(tmp_path, dataset, answers, split="train").images == 24
    said = pl.read_parquet(tmp_path / "aspects-train.parquet")
    assert said["image_id"].to_list() == [record.image_id for record in dataset.records if record.split == "train"]
    assert said.columns[1:] == list(answers.questions.keys)
    assert all(said[key].is_between(0, 1).all() for key in answers.questions.keys)


def test_without_answers_for_the_split_aspects_are_left_out(
    config: StudentConfig, dataset: FileDataset, answers: Answers, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    train(config, dataset, teacher_answers, tmp_path, progress=False)
    assert evaluate(tmp_path, dataset).aspects == ()
    rows = [row for row, split in enumerate(answers.splits) if split == "train"]
    train_only = dataclasses.replace(
        answers, image_ids=tuple(answers.image_ids[row] for row in rows), yes=answers.yes[rows], no=answers.no[rows]
    )
    assert evaluate(tmp_path, dataset, train_only).aspect_auroc is None


def test_decoded_images_give_the_same_scores(config: StudentConfig, dataset: FileDataset, tmp_path: Path) -> None:
    train(config.replace(epochs=1, warmup=0, method="base"), dataset, TeacherAnswers(), tmp_path, progress=False)
    records = [record for record in dataset.records if record.split == "test"]
    with evaluation_cache(config, dataset, records, tmp_path / "images", progress=False) as images:
        assert evaluate(tmp_path, dataset, images=images) == evaluate(tmp_path, dataset, batch_size=5)


def test_impossible_evaluations_are_one_line(
    config: StudentConfig, dataset: FileDataset, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    with pytest.raises(RunInvalid, match="no run at"):
        evaluate(tmp_path, dataset)
    train(config.replace(epochs=1, warmup=0), dataset, teacher_answers, tmp_path, progress=False)
    with pytest.raises(DatasetInvalid, match="has no split 'validation'; it has train, test"):
        evaluate(tmp_path, dataset, split="validation")
    with pytest.raises(ExamplesInvalid, match="has other classes than the run"):
        evaluate(tmp_path, dataclasses.replace(dataset, class_names=("a", "b", "c")))
    (tmp_path / "result.json").unlink()
    with pytest.raises(RunInvalid, match="is not finished; train it again"):
        evaluate(tmp_path, dataset)


def test_aspects_that_are_not_scored_are_reported(
    config: StudentConfig, dataset: FileDataset, answers: Answers, teacher_answers: TeacherAnswers, tmp_path: Path
) -> None:
    run = train(config.replace(epochs=1, warmup=0), dataset, teacher_answers, tmp_path, progress=False)
    learned = run.description.aspects

    def lines(given: Answers, split: str = "test") -> list[str]:
        scores = evaluate(tmp_path, dataset, given, split)
        return why_unscored(learned, scores.aspects, scores.images, split)

    def only(rows: list[int]) -> Answers:
        ids = tuple(answers.image_ids[row] for row in rows)
        return dataclasses.replace(answers, image_ids=ids, yes=answers.yes[rows], no=answers.no[rows])

    train_rows = [row for row, split in enumerate(answers.splits) if split == "train"]
    test_rows = [row for row, split in enumerate(answers.splits) if split == "test"]
    assert lines(answers) == []
    (line,) = lines(only(train_rows))
    assert line.startswith("no aspects of images are scored: the store has no answers about images of split 'test'")
    assert "'aspects extract --splits test'" in line
    (line,) = lines(only([*train_rows, *test_rows[:5]]))
    assert line.startswith("aspects are scored on 5 of 12 images")
    one = dataclasses.replace(
        answers, questions=QuestionSet(answers.questions.questions[:1]), yes=answers.yes[:, :1], no=answers.no[:, :1]
    )
    assert lines(one)[0].startswith("1 of 2 aspects of images are scored")
    assert why_unscored((), (), 12, "test") == ["no aspects of images are scored: this student learned none"]

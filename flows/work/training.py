"""Answers from the store in; students by the labels alone, a method and its twin without answers out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.parameters import SMALL_STUDENT, DatasetParameters, StudentParameters
from flows.work.checks import ANSWERS_PLACE, check_grid, check_writable, evaluation_split, say_split
from flows.work.grids import compared_methods, say_processor_notes, show_results
from flows.work.host import Host, Reporter
from storage.answers.read import Answers, ReadAnswers, complete_directories, find_answers, read_answers
from storage.datasets.base import ImageDataset
from storage.questions import load_questions

if TYPE_CHECKING:  # torch takes seconds, and an extraction imports this file too
    from student.classification.examples import TeacherAnswers
    from student.classification.grid import StudentGrid
    from student.classification.runs import EpochLog
    from student.core.results import Results


def train_student(
    host: Host,
    dataset: DatasetParameters,
    store: str = "store",
    teacher: str | None = None,
    questions: str | None = None,
    class_teacher: str | None = None,
    student: StudentParameters = SMALL_STUDENT,
) -> Results:
    """Train on the complete answers that `store` has for the dataset; finished students in `student.runs` are kept.

    `teacher` (a fingerprint, see `aspects show`) and `questions` (the YAML file) choose where there are several;
    `class_teacher` are answers about the classes, for methods that learn from both.
    """
    from student.classification.examples import digest_of, fit_to_answers, training_records
    from student.classification.grid import StudentGrid

    config = student.config()
    images = host.inputs.images(dataset)
    split = evaluation_split(images)
    say_split(host.reporter, split)
    needed = bool(config.objective.answer_terms)
    named, read = (teacher, questions, class_teacher), host.inputs.answers
    teacher_answers = load_teacher_answers(store, images.name, *named, needed=needed, read=read)
    config = fit_to_answers(config, teacher_answers)
    if teacher_answers.about_classes_alone:
        host.reporter.say(f"the answers in {store} are about classes, not about single images")
    seeds = ", ".join(str(seed) for seed in student.seeds)
    methods = compared_methods(config.method)
    host.reporter.say(f"training {config.backbone} for {config.epochs} epochs by {', '.join(methods)}; seeds {seeds}")
    digest = digest_of(images, training_records(images), teacher_answers)
    runs = Path(student.runs.replace(ANSWERS_PLACE, digest)).expanduser()
    grid = StudentGrid(settings=config.to_dict(), axes={"method": methods}, seeds=student.seeds)
    results = train_grid(host.reporter, grid, images, teacher_answers, runs, split=split)
    host.reporter.say(f"students and report: {runs}")
    return results


def train_grid(
    reporter: Reporter,
    grid: StudentGrid,
    images: ImageDataset,
    teacher_answers: TeacherAnswers,
    runs: Path,
    *,
    split: str,
) -> Results:
    """Train what is missing of the grid; log its epochs, show its results on the run's page and in runs/report.md."""
    from student.classification.experiment import require_split, run_experiment
    from student.classification.usefulness import answers_uses
    from student.core.experiment import write_parquet

    def log_epoch(cell: str, seed: int, log: EpochLog) -> None:
        val_top1 = "" if log.val_top1 is None else f", val top-1 {100 * log.val_top1:.1f} %"
        reporter.detail(f"{cell}, seed {seed}: epoch {log.epoch}, loss {log.loss:.3f}{val_top1}")

    grid = grid.fit_to_answers(teacher_answers)
    require_split(grid, images, runs, split)
    check_writable(runs)
    check_grid(grid, images, teacher_answers, runs)
    say_processor_notes(reporter, grid.cells(runs)[0].config)
    results = run_experiment(
        grid, images, teacher_answers, runs, split=split, progress=reporter.progress_bars, on_epoch=log_epoch
    )
    uses = None
    if teacher_answers.image is not None:
        # Where labels are hidden, the report knows no more of them than the student that is shown the fewest.
        few = min((cell.config for cell in grid.cells(runs)), key=lambda config: config.label_fraction)
        uses = answers_uses(images, teacher_answers.image, few.replace(seed=grid.seeds[0]))
        write_parquet(runs / "questions.parquet", uses)
    show_results(reporter, results, uses, runs)
    return results


def load_teacher_answers(
    store: str,
    dataset: str,
    teacher: str | None,
    questions: str | None,
    class_teacher: str | None,
    *,
    needed: bool = True,
    read: ReadAnswers = read_answers,
) -> TeacherAnswers:
    """What the store knows about the dataset: answers about images, about classes, or both, as their teachers'
    descriptions say. What is not named is taken where there is a single one; where answers about images are named,
    those about classes are taken only if they are named too.

    Raises AnswersMissing as `find_teacher_answers` does; where there is nothing at all only if it is `needed`.
    """
    from student.classification.examples import TeacherAnswers

    named = teacher is not None or questions is not None
    image = find_teacher_answers(store, dataset, teacher, questions, read) if named else None
    classes = None
    if class_teacher is not None:
        classes = read(find_answers(store, dataset, teacher=class_teacher, option="--class-teacher"))
    if named:
        return TeacherAnswers(image=image, classes=classes)
    if complete_directories(store, dataset, level="image", read=read):
        image = read(find_answers(store, dataset, level="image", read=read))
    if classes is None and complete_directories(store, dataset, level="class", read=read):
        classes = read(find_answers(store, dataset, level="class", option="--class-teacher", read=read))
    if needed and image is None and classes is None:
        find_answers(store, dataset)  # says that there is nothing
    return TeacherAnswers(image=image, classes=classes)


def find_teacher_answers(
    store: str, dataset: str, teacher: str | None, questions: str | None, read: ReadAnswers = read_answers
) -> Answers:
    """The complete answers for `dataset`. Raises AnswersMissing where there are none, or several to choose from."""
    asked = load_questions(Path(questions).expanduser()) if questions else None
    return read(find_answers(store, dataset, teacher=teacher, questions=asked))

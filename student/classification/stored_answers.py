"""Read the answers that a classifier learns from out of a store."""

from __future__ import annotations

from storage.answers.read import (
    Answers,
    ReadAnswers,
    complete_directories,
    find_answers,
    find_teacher_answers,
    read_answers,
)
from storage.answers.store import AnswersMissing
from student.classification.examples import TeacherAnswers


def load_teacher_answers(
    store: str,
    dataset: str,
    teacher: str | None,
    questions: str | None,
    class_teacher: str | None,
    *,
    needed: bool = True,
    classes_needed: bool = False,
    read: ReadAnswers = read_answers,
) -> TeacherAnswers:
    """What the store knows about the dataset: answers about images, about classes, or both, as their teachers'
    descriptions say. What is not named is taken where there is a single one; where answers about images are named,
    those about classes are taken only if they are named too, or `classes_needed`.

    Raises AnswersMissing as `find_teacher_answers` does; where there is nothing at all only if it is `needed`, and
    where there is nothing about classes only if `classes_needed`.
    """
    named = teacher is not None or questions is not None
    image = find_teacher_answers(store, dataset, teacher, questions, read) if named else None
    classes = None
    if class_teacher is not None or classes_needed:
        classes = load_class_answers(store, dataset, class_teacher, read=read)
    if named:
        return TeacherAnswers(image=image, classes=classes)
    if complete_directories(store, dataset, level="image", read=read):
        image = read(find_answers(store, dataset, level="image", read=read))
    if classes is None and complete_directories(store, dataset, level="class", read=read):
        classes = read(find_answers(store, dataset, level="class", option="--class-teacher", read=read))
    if needed and image is None and classes is None:
        find_answers(store, dataset)  # says that there is nothing
    return TeacherAnswers(image=image, classes=classes)


def load_class_answers(
    store: str, dataset: str, class_teacher: str | None, *, read: ReadAnswers = read_answers
) -> Answers:
    """What the store knows about the dataset's classes. Raises AnswersMissing where there is nothing, or several to
    choose from."""
    if class_teacher is not None:
        return read(find_answers(store, dataset, teacher=class_teacher, option="--class-teacher"))
    if not complete_directories(store, dataset, level="class", read=read):
        raise AnswersMissing(
            f"store {store} has no answers about the classes of dataset '{dataset}', which training without labels "
            "needs; import them ('aspects import-answers --format attributes'), or train with labels"
        )
    return read(find_answers(store, dataset, level="class", option="--class-teacher", read=read))

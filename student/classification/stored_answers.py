"""Read the answers that a classifier learns from out of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storage.answers.blend import BlendImpossible, Weighting, blend_answers
from storage.answers.probes import read_probes
from storage.answers.read import (
    Answers,
    Level,
    ReadAnswers,
    complete_directories,
    find_answers,
    find_teacher_answers,
    read_answers,
)
from storage.answers.store import AnswersMissing
from student.classification.examples import TeacherAnswers

LEVELS: Sequence[Level] = ("image", "class")


def load_teacher_answers(
    store: str,
    dataset: str,
    teacher: str | Sequence[str] | None,
    questions: str | None,
    class_teacher: str | None,
    *,
    needed: bool = True,
    classes_needed: bool = False,
    read: ReadAnswers = read_answers,
    weighting: Weighting = "equal",
    probes_needed: bool = False,
) -> TeacherAnswers:
    """What the store knows about the dataset: answers about images, about classes, or both, as their teachers'
    descriptions say. What is not named is taken where there is a single one; where answers about images are named,
    those about classes are taken only if they are named too, or `classes_needed`. Of several named teachers, those
    about images are blended, and those about classes are; see `blend_answers`. `probes_needed` reads those of the
    answers about images too.

    Raises AnswersMissing as `find_teacher_answers` does; where there is nothing at all only if it is `needed`, and
    where there is nothing about classes only if `classes_needed`.
    """
    teachers = [teacher] if isinstance(teacher, str) else list(teacher or ())
    named = bool(teachers) or questions is not None
    image = classes = None
    if len(teachers) > 1:
        found = [find_teacher_answers(store, dataset, one, questions, read) for one in teachers]
        image, classes = (_blended([one for one in found if one.level == level], weighting) for level in LEVELS)
        if classes is not None and class_teacher is not None:
            raise BlendImpossible(
                f"teachers {classes.teacher} and {class_teacher} both answered about classes; name all of them by "
                "--teacher to blend them"
            )
    elif named:
        image = find_teacher_answers(store, dataset, next(iter(teachers), None), questions, read)
    if class_teacher is not None or (classes_needed and classes is None):
        classes = load_class_answers(store, dataset, class_teacher, read=read)
    if named:
        return _with_probes(TeacherAnswers(image=image, classes=classes), store, probes_needed, read)
    if complete_directories(store, dataset, level="image", read=read):
        image = read(find_answers(store, dataset, level="image", read=read))
    if classes is None and complete_directories(store, dataset, level="class", read=read):
        classes = read(find_answers(store, dataset, level="class", option="--class-teacher", read=read))
    if needed and image is None and classes is None:
        find_answers(store, dataset)  # says that there is nothing
    return _with_probes(TeacherAnswers(image=image, classes=classes), store, probes_needed, read)


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
            "needs; ask a teacher ('aspects extract --about classes'), import some ('aspects import-answers --format "
            "attributes'), or train with labels"
        )
    return read(find_answers(store, dataset, level="class", option="--class-teacher", read=read))


def _blended(parts: Sequence[Answers], weighting: Weighting) -> Answers | None:
    return blend_answers(parts, weighting) if parts else None


def _with_probes(found: TeacherAnswers, store: str, needed: bool, read: ReadAnswers) -> TeacherAnswers:
    if not needed or found.image is None:
        return found
    return replace(found, probes=read_probes(store, found.image, read))

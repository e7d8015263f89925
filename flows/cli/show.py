"""`aspects show`: the contents of a store, including unfinished directories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Console
from rich.text import Text

from flows.cli.markup import TextTable, lines, plain
from storage.answers.holding import Holding, read_holding
from storage.answers.read import Answers
from storage.answers.store import AnswersMissing, answer_directories
from storage.corrections import CorrectionFolder, current_corrections
from storage.corrections.folder import corrected_datasets
from storage.statistics import class_information
from teacher.engines.answer_mass import total_mass
from teacher.engines.presets import display_name


def show_store(store: str, dataset: str | None, questions: int) -> None:
    """Print every directory, and its `questions` most and least informative questions.

    Raises AnswersMissing if the store has no answers (about this dataset).
    """
    directories = answer_directories(store, dataset)
    if not directories:
        wanted = f" for dataset '{dataset}'" if dataset else ""
        raise AnswersMissing(f"store {store} holds no answers{wanted}; run 'aspects extract' or check --store")
    console = Console(highlight=False)
    holdings = [read_holding(directory) for directory in directories]
    table = TextTable()
    table.column("dataset")
    for column in ("teacher", "questions"):
        table.column(column, min_width=12)
    for column in ("images", "errors", "p(yes)", "complete"):
        table.column(column, number=True)
    for holding in holdings:
        table.row(*_row(holding))
    console.print(table)
    for line in _corrections(store, dataset):
        console.print(plain(line), soft_wrap=True)
    for holding in holdings:
        for line in _details(holding):
            console.print(plain(line), soft_wrap=True)
        if questions and holding.answers is not None:
            console.print(_informative(holding.answers, questions))


def _corrections(store: str, dataset: str | None) -> Iterator[str]:
    for name in corrected_datasets(store):
        if dataset in (None, name):
            current = current_corrections(CorrectionFolder.open(store, name).read())
            yield f"corrections of '{name}': {len(current.labels):,} labels, {len(current.answers):,} answers"


def _row(holding: Holding) -> tuple[str | Text, ...]:
    answers, header = holding.answers, holding.header
    if answers is None or header is None:
        names = [part.partition("=")[2] for part in holding.directory.path.split("/")[-3:]]
        return (*names, "0", "0", "-", "no")
    failed = sum(error is not None for error in answers.errors)
    return (
        answers.dataset,
        lines(answers.teacher, display_name(str(header.teacher.get("model", "?")))),
        lines(header.questions.fingerprint, f"{len(answers.questions)} questions"),
        str(len(answers.image_ids)),
        str(failed),
        f"{np.nanmean(answers.p_yes):.3f}" if failed < len(answers.errors) else "-",
        "yes" if holding.complete else "no",
    )


def _details(holding: Holding) -> list[str]:
    lines = ["", holding.directory.path]
    if (answers := holding.answers) is not None:
        splits = {split: answers.splits.count(split) for split in dict.fromkeys(answers.splits)}
        lines.append(f"  splits: {_listed(splits)}; classes: {len(set(answers.label_names) - {''})}")
        if answers.level == "class":
            lines.append("  answers about classes: each image has those of its class")
        if np.isfinite(mass := total_mass(answers.yes, answers.no)).any():
            lines.append(f"  yes and no together have a probability of {np.nanmean(mass):.3g} on average")
    if holding.budget is not None:
        lines += [f"  {line}" for line in holding.budget.lines()]
    if holding.damaged:
        lines.append(f"  damaged: {', '.join(holding.damaged)}; run the same 'aspects extract' again to replace it")
    elif not holding.complete:
        lines.append("  not complete: run the same 'aspects extract' again to finish it")
    reasons: dict[str, int] = {}
    for error in answers.errors if answers else ():
        if error is not None:
            reasons[error] = reasons.get(error, 0) + 1
    if reasons:
        lines.append(f"  errors: {_listed(dict(sorted(reasons.items(), key=lambda pair: -pair[1])[:3]))}")
    return lines


def _informative(answers: Answers, count: int) -> TextTable:
    labelled = [row for row, name in enumerate(answers.label_names) if name]
    bits = class_information(answers.p_yes[labelled], [answers.label_names[row] for row in labelled])
    order = [place for place in np.argsort(-bits, kind="stable") if not np.isnan(bits[place])]
    table = TextTable("what a yes or no says about the class (mutual information)")
    for column in ("bits", "key", "question", "yes %"):
        table.column(column)
    shares = np.nanmean(answers.p_yes, axis=0) if order else bits
    most = order[:count]
    least = order[max(count, len(order) - count) :]
    for number, place in enumerate([*most, *least]):
        question = answers.questions.questions[place]
        last = number == len(most) - 1 and bool(least)
        table.row(f"{bits[place]:.3f}", question.key, question.text, f"{100 * shares[place]:.0f}", end_section=last)
    return table


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())

"""`aspects show`: the contents of a store, including unfinished directories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Console
from rich.text import Text

from flows.cli.markup import TextTable, lines, plain
from storage.answers.directories import answer_directories
from storage.answers.holding import Holding, read_holding
from storage.answers.schema import AnswerHeader
from storage.answers.store import AnswersMissing
from storage.corrections import CorrectionFolder, current_corrections
from storage.corrections.folder import corrected_datasets
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
        if questions and holding.header is not None:
            console.print(_informative(holding, holding.header, questions))


def _corrections(store: str, dataset: str | None) -> Iterator[str]:
    for name in corrected_datasets(store):
        if dataset in (None, name):
            current = current_corrections(CorrectionFolder.open(store, name).read())
            yield f"corrections of '{name}': {len(current.labels):,} labels, {len(current.answers):,} answers"


def _row(holding: Holding) -> tuple[str | Text, ...]:
    header = holding.header
    if header is None:
        names = [part.partition("=")[2] for part in holding.directory.path.split("/")[-3:]]
        return (*names, "0", "0", "-", "no")
    answered = int(holding.counts.sum())
    return (
        header.dataset,
        lines(header.teacher_fingerprint, display_name(str(header.teacher.get("model", "?")))),
        lines(header.questions.fingerprint, f"{len(header.questions)} questions"),
        str(holding.images),
        str(holding.errors.total()),
        f"{holding.sums.sum() / answered:.3f}" if answered else "-",
        "yes" if holding.complete else "no",
    )


def _details(holding: Holding) -> list[str]:
    lines = ["", holding.directory.path]
    if holding.header is not None:
        lines.append(f"  splits: {_listed(holding.splits)}; classes: {len(holding.class_names)}")
        if holding.level == "class":
            lines.append("  answers about classes: each image has those of its class")
        if holding.mass is not None:
            lines.append(f"  yes and no together have a probability of {holding.mass:.3g} on average")
    if holding.budget is not None:
        lines += [f"  {line}" for line in holding.budget.lines()]
    if holding.damaged:
        lines.append(f"  damaged: {', '.join(holding.damaged)}; run the same 'aspects extract' again to replace it")
    elif not holding.complete:
        lines.append("  not complete: run the same 'aspects extract' again to finish it")
    if holding.errors:
        lines.append(f"  errors: {_listed(dict(holding.errors.most_common(3)))}")
    return lines


def _informative(holding: Holding, header: AnswerHeader, count: int) -> TextTable:
    bits = holding.information
    order = [place for place in np.argsort(-bits, kind="stable") if not np.isnan(bits[place])]
    table = TextTable("what a yes or no says about the class (mutual information)")
    for column in ("bits", "key", "question", "yes %"):
        table.column(column)
    most = order[:count]
    least = order[max(count, len(order) - count) :]
    for number, place in enumerate([*most, *least]):
        question, share = header.questions.questions[place], holding.sums[place] / holding.counts[place]
        last = number == len(most) - 1 and bool(least)
        table.row(f"{bits[place]:.3f}", question.key, question.text, f"{100 * share:.0f}", end_section=last)
    return table


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())

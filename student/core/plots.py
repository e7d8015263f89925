"""A plot of an experiment: the main metric of every cell."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from storage.text import printable
from student.core.files import write_bytes
from student.core.results import CellSummary, Results

NAMES = {"top1": "top-1", "top5": "top-5", "val_top1": "val top-1", "map": "mAP"}
LONGEST_TITLE = 80  # characters


@contextmanager
def plain_text() -> Iterator[None]:
    """Names are drawn as they are: a `$` starts no formula, and a character that the font lacks is an empty box."""
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # a name longer than the figure
        yield


@plain_text()
def plot_results(results: Results, path: Path) -> None:
    """The main metric against the one numeric setting that varies, a line for each combination of the others; bars
    where none or several are numeric. Error bars are standard deviations over the seeds."""
    cells = results.metric(results.metrics[0])
    numeric = [name for name in cells[0].varied if _is_numeric(cells, name)]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    if len(numeric) == 1:
        _draw_lines(axes, cells, numeric[0])
    else:
        _draw_bars(axes, cells)
    title = f"{results.dataset}, {results.images} {results.split} images, {len(cells[0].values)} seeds"
    axes.set_title(printable(title, LONGEST_TITLE))
    write_figure(figure, path)


def write_figure(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=150)
    write_bytes(path, buffer.getvalue())


def _name(metric: str) -> str:
    return NAMES.get(metric, metric.replace("_", " "))


def _draw_lines(axes: Axes, cells: tuple[CellSummary, ...], setting: str) -> None:
    lines: dict[str, list[CellSummary]] = {}
    for cell in cells:
        others = {name: value for name, value in cell.varied.items() if name != setting and value is not None}
        lines.setdefault(", ".join(map(str, others.values())) or _name(cell.metric), []).append(cell)
    for named, members in lines.items():
        name = printable(named, LONGEST_TITLE)
        placed = [cell for cell in members if cell.varied[setting] is not None]
        if not placed:  # this method ignores the setting
            axes.axhline(100 * members[0].mean, label=name, color="grey", linestyle="--")
            continue
        axes.errorbar(
            [cell.varied[setting] for cell in placed],
            [100 * cell.mean for cell in placed],
            yerr=[100 * (cell.std or 0.0) for cell in placed],
            label=name,
            marker="o",
            capsize=3,
        )
    axes.set_xlabel(setting.replace("_", " "))
    axes.set_ylabel(f"{_name(cells[0].metric)} [%]")
    axes.legend()


def _draw_bars(axes: Axes, cells: tuple[CellSummary, ...]) -> None:
    places = np.arange(len(cells))[::-1]
    axes.barh(places, [100 * cell.mean for cell in cells], xerr=[100 * (cell.std or 0.0) for cell in cells], capsize=3)
    axes.set_yticks(places, [printable(cell.cell, LONGEST_TITLE) for cell in cells])
    axes.set_xlabel(f"{_name(cells[0].metric)} [%]")
    lowest = min(min(cell.values) for cell in cells)
    axes.set_xlim(left=max(0.0, 100 * lowest - 10))


def _is_numeric(cells: tuple[CellSummary, ...], name: str) -> bool:
    values = {cell.varied[name] for cell in cells} - {None}
    return len(values) > 1 and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)

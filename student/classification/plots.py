"""Plots of an experiment: what counts of every cell, and students' features in two dimensions."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from storage.datasets.base import ImageDataset
from storage.text import printable
from student.classification.evaluate import normalized_batches
from student.core.cache import ImageCache
from student.core.experiment import CellSummary, ImageCaches, Results
from student.core.files import write_bytes
from student.core.model import Student
from student.core.runs import load_run

NAMES = {"top1": "top-1", "map": "mAP"}
LONGEST_TITLE = 80  # characters
EMBEDDED_CLASSES = 20  # more colours than that nobody tells apart


@contextmanager
def _plain_text() -> Iterator[None]:
    """Names are drawn as they are: a `$` starts no formula, and a character that the font lacks is an empty box."""
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # a name longer than the figure
        yield


@_plain_text()
def plot_results(results: Results, path: Path) -> None:
    """What counts against the one numeric setting that varies, a line for each combination of the others; bars where
    none or several are numeric. Error bars are standard deviations over the seeds."""
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
    _write(figure, path)


@_plain_text()
def plot_features(results: Results, dataset: ImageDataset, runs: Path, path: Path) -> None:
    """t-SNE (van der Maaten and Hinton 2008) of the last layer's inputs for the images of the first classes, for every
    cell's first student; the title has the silhouette of the classes in all dimensions (-1 .. 1, higher: apart)."""
    first = results.table.unique("cell", keep="first", maintain_order=True)
    figure = Figure(figsize=(4 * len(first), 4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(first)))
    with ExitStack() as stack:
        caches = ImageCaches(dataset, runs, stack, progress=False)
        for axes, row in zip(panels, first.iter_rows(named=True), strict=True):
            run = load_run(runs / row["run"])
            images = caches.evaluation(run.description.config, results.split)
            features, labels = features_of(run.load(), images)
            shown = labels < EMBEDDED_CLASSES
            apart = silhouette_score(features[shown], labels[shown])
            embedding = TSNE(init="pca", random_state=0, perplexity=min(30, shown.sum() // 4))
            places = embedding.fit_transform(features[shown])
            axes.scatter(*places.T, c=labels[shown], cmap="tab20", s=6)
            axes.set_title(f"{printable(row['cell'], LONGEST_TITLE)}: silhouette {apart:.3f}")
            axes.set_axis_off()
    _write(figure, path)


@torch.no_grad()
def features_of(student: Student, images: ImageCache) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the last layer is given for each of the `images` of an evaluation cache [N, D], and their labels [N]."""
    parts = [student.features(pixels) for pixels in normalized_batches(student, images)]
    return torch.cat(parts).numpy(), images.labels.numpy()


def _write(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=150)
    write_bytes(path, buffer.getvalue())


def _draw_lines(axes: Axes, cells: tuple[CellSummary, ...], setting: str) -> None:
    lines: dict[str, list[CellSummary]] = {}
    for cell in cells:
        others = {name: value for name, value in cell.varied.items() if name != setting and value is not None}
        lines.setdefault(", ".join(map(str, others.values())) or NAMES[cell.metric], []).append(cell)
    for named, members in lines.items():
        name = printable(named, LONGEST_TITLE)
        placed = [cell for cell in members if cell.varied[setting] is not None]
        if not placed:  # the setting is nothing to this method
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
    axes.set_ylabel(f"{NAMES[cells[0].metric]} [%]")
    axes.legend()


def _draw_bars(axes: Axes, cells: tuple[CellSummary, ...]) -> None:
    places = np.arange(len(cells))[::-1]
    axes.barh(places, [100 * cell.mean for cell in cells], xerr=[100 * (cell.std or 0.0) for cell in cells], capsize=3)
    axes.set_yticks(places, [printable(cell.cell, LONGEST_TITLE) for cell in cells])
    axes.set_xlabel(f"{NAMES[cells[0].metric]} [%]")
    lowest = min(min(cell.values) for cell in cells)
    axes.set_xlim(left=max(0.0, 100 * lowest - 10))


def _is_numeric(cells: tuple[CellSummary, ...], name: str) -> bool:
    values = {cell.varied[name] for cell in cells} - {None}
    return len(values) > 1 and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)

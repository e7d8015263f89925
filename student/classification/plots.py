"""Plots of classifiers: the features of an experiment's in two dimensions, the reliability of one's probabilities."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from storage.datasets.base import ImageDataset
from storage.text import printable
from student.classification.evaluate import Evaluation
from student.classification.experiment import shared_evaluation_images
from student.classification.images import normalized_batches
from student.classification.model import Student
from student.classification.runs import load_run
from student.core.cache import SharedCaches
from student.core.images import Images
from student.core.plots import LONGEST_TITLE, plain_text, write_figure
from student.core.results import Results

EMBEDDED_CLASSES = 20  # more colours are hard to distinguish


@plain_text()
def plot_features(results: Results, dataset: ImageDataset, runs: Path, path: Path) -> None:
    """t-SNE (van der Maaten and Hinton 2008) of the last layer's inputs for the images of the first classes, for every
    cell's first student; the title has the silhouette of the classes in all dimensions (-1 .. 1, higher: apart)."""
    first = results.table.unique("cell", keep="first", maintain_order=True)
    figure = Figure(figsize=(4 * len(first), 4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(first)))
    with ExitStack() as stack:
        caches = SharedCaches(runs, stack)
        for axes, row in zip(panels, first.iter_rows(named=True), strict=True):
            run = load_run(runs / row["run"])
            config = run.description.config
            images = shared_evaluation_images(caches, config, dataset, results.split, progress=False)
            features, labels = features_of(run.load(), images)
            shown = labels < EMBEDDED_CLASSES
            apart = silhouette_score(features[shown], labels[shown])
            embedding = TSNE(init="pca", random_state=0, perplexity=min(30, shown.sum() // 4))
            places = embedding.fit_transform(features[shown])
            axes.scatter(*places.T, c=labels[shown], cmap="tab20", s=6)
            axes.set_title(f"{printable(row['cell'], LONGEST_TITLE)}: silhouette {apart:.3f}")
            axes.set_axis_off()
    write_figure(figure, path)


@plain_text()
def plot_reliability(evaluation: Evaluation, path: Path) -> None:
    """Accuracy against the mean probability of the predicted class in 15 bins (a reliability diagram, Guo et al., arXiv
    1706.04599), as the logits are and at the calibration's temperature. Marks grow with the images of their bin."""
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--")
    for name, found in (("before", evaluation.reliability), ("after", evaluation.calibrated)):
        if found is None:
            continue
        sizes = [200 * one.images / evaluation.images + 5 for one in found.bins]
        places = [one.confidence for one in found.bins], [one.accuracy for one in found.bins]
        (line,) = axes.plot(*places, label=f"{name} calibration: T {found.temperature:.2f}, ECE {found.ece:.3f}")
        axes.scatter(*places, s=sizes, color=line.get_color())
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share that is right")
    title = f"{evaluation.dataset}, {evaluation.images} {evaluation.split} images"
    axes.set_title(printable(title, LONGEST_TITLE))
    axes.legend()
    write_figure(figure, path)


@torch.no_grad()
def features_of(student: Student, images: Images) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the last layer is given for each of the `images` of an evaluation cache [N, D], and their labels [N]."""
    parts = [
        student.features(pixels) for pixels in normalized_batches(images, student.mean, student.std, batch_size=256)
    ]
    return torch.cat(parts).numpy(), images.labels.numpy()

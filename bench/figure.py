"""Draw the figure of the README: images, questions and the teacher's answers, from the demo's scenes and store.

make demo
.venv/bin/python bench/figure.py --scenes runs/demo/scenes --store runs/demo/store
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # needs no display
import polars as pl
from matplotlib import pyplot as plt
from PIL import Image

from bench.arguments import run_benchmark
from storage.answers import scan_answers

PROJECT = Path(__file__).parents[1]
IMAGES = (
    "train/amber_pair/0001.png",
    "train/birch_single/0002.png",
    "train/cedar_group/0000.png",
    "train/damson_pair/0003.png",
    "train/birch_group/0001.png",
)
QUESTIONS = (
    "has_red",
    "has_stripes",
    "has_star",
    "has_straight_edges",
    "more_than_two",
    "has_shadows",
    "on_grass",
    "at_night",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True, help="folder of the demo's scenes")
    parser.add_argument("--store", required=True, help="store with the answers about them")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "answers.png")
    asked = parser.parse_args()
    rows = scan_answers(asked.store, dataset=asked.scenes.name).filter(pl.col("image_id").is_in(IMAGES)).collect()
    draw(asked.scenes, rows, asked.out)
    print(asked.out)


def draw(scenes: Path, rows: pl.DataFrame, out: Path) -> None:
    """One column for each image, one row for each question, p(yes) in the cells."""
    texts = dict(rows.select("key", "text").unique().iter_rows())
    p_yes = {(key, image): p for key, image, p in rows.select("key", "image_id", "p_yes").iter_rows()}
    figure = plt.figure(figsize=(8.6, 4.4), dpi=110)
    grid = figure.add_gridspec(2, 1, height_ratios=[1, 2], hspace=0.02, left=0.37, right=0.99, top=0.99, bottom=0.02)
    images = grid[0].subgridspec(1, len(IMAGES), wspace=0.04)
    for column, image_id in enumerate(IMAGES):
        axes = figure.add_subplot(images[column])
        with Image.open(scenes / image_id) as image:
            axes.imshow(image.convert("RGB"), interpolation="nearest")
        axes.axis("off")
    axes = figure.add_subplot(grid[1])
    table = [[p_yes[key, image] for image in IMAGES] for key in QUESTIONS]
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1.35, aspect="auto")
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=11)
    axes.set_yticks(range(len(QUESTIONS)), [texts[key] for key in QUESTIONS], fontsize=11)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(out)


if __name__ == "__main__":
    run_benchmark(main)

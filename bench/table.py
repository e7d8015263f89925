"""The table of a benchmark, computed from what each of its students said about each test image.

`bench/results` has a file for each table that takes hours to train, with a row for each student: its settings, the
seed, and the rank of the right class of every test image. Prints a line of JSON for each method as bench/flowers.py
does, in seconds; a difference is over the seeds that both methods have. With --add it first adds the students of
finished experiments, of several machines too; a student that the file has is replaced.

    python bench/table.py bench/results/caltech-mobilenetv3.parquet
    python bench/table.py bench/results/caltech-mobilenetv3.parquet --add runs/caltech-mobilenet
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.arguments import run_benchmark
from bench.flowers import describe, percent
from storage.errors import InputInvalid
from student.classification.config import StudentConfig
from student.classification.predictions import PREDICTIONS_FILE
from student.classification.runs import RunDescription
from student.core.bootstrap import Bootstrap
from student.core.experiment import RESULTS, write_parquet
from student.core.files import read_json
from student.core.results import Difference, compare
from student.core.runs import read_description

BEST = ("recommended", "recommended-classes")  # the other methods are compared with these
FURTHEST = 6  # a rank beyond counts neither for top-1 nor for top-5
TOP1 = "top1"
SHARED = ("backbone", "image_size", "epochs", "batch_size", "optimizer", "lr", "precision")  # by all students
# A row of a file. `twin` is the cell of the twin, or its method alone where the experiment has no such cell.
TEXTS, NUMBERS = ("dataset", "test_images", "cell", "varied", "baseline", "twin", "settings"), ("train_images", "seed")
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(TEXTS, pl.String),
    **dict.fromkeys(NUMBERS, pl.Int64),
    "seconds": pl.Float64,
    "ranks": pl.List(pl.UInt8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="of students, as in bench/results")
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="RUN_DIR", help="folders with results.json")
    asked = parser.parse_args()
    if not asked.add and not asked.file.is_file():
        sys.exit(f"there is no file {asked.file}")
    kept = [read_students(asked.file)] if asked.file.is_file() else []
    students = merge([*kept, *map(read_experiment, asked.add)])
    if asked.add:
        asked.file.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(asked.file, students)
    for line in lines(students):
        print(json.dumps(line), flush=True)


def read_students(file: Path) -> pl.DataFrame:
    """Those of a file. Raises InputInvalid for another file."""
    try:
        return pl.read_parquet(file, columns=[*SCHEMA])
    except pl.exceptions.PolarsError as error:
        raise InputInvalid(f"{file} is no table of students; name another file") from error


def read_experiment(run_dir: Path) -> pl.DataFrame:
    """The students of a finished experiment with classifiers, a row each. Raises InputInvalid for another folder."""
    if not (run_dir / RESULTS).is_file():
        raise InputInvalid(f"{run_dir} holds no finished experiment: it has no {RESULTS}")
    results = read_json(run_dir / RESULTS)
    summaries = {summary["cell"]: summary for summary in results["summary"]}
    rows = []
    for student in results["students"]:
        place, summary = run_dir / student["run"], summaries[student["cell"]]
        config = read_description(place, RunDescription).config.replace(seed=0)
        said = place / PREDICTIONS_FILE.format(split=results["split"])
        if not said.is_file():
            raise InputInvalid(f"{place} has no {said.name}: only students that were compared on a split have one")
        predictions = pl.read_parquet(said)
        rows.append(
            {
                "dataset": results["dataset"],
                "train_images": student["train_images"],
                "test_images": digest(predictions),
                "cell": student["cell"],
                "varied": json.dumps(summary["varied"]),
                "baseline": summary["baseline"],
                "twin": summary["twin"],
                "settings": json.dumps(config.identity()),
                "seed": student["seed"],
                "seconds": student["seconds"],
                "ranks": predictions["label_rank"].clip(upper_bound=FURTHEST).to_list(),
            }
        )
    return pl.DataFrame(rows, schema=SCHEMA)


def digest(predictions: pl.DataFrame) -> str:
    """SHA-256 of the images' ids and labels, in order."""
    return hashlib.sha256(predictions.select("image_id", "label").write_csv().encode()).hexdigest()


def merge(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All students, each once as the last table has it. Raises InputInvalid for those that cannot be compared."""
    students = pl.concat(tables)
    for column in ("dataset", "test_images"):
        _require_same(column, students[column])
    # As this release has them: a setting that is newer than a file has its default.
    settings = [StudentConfig.from_stored(json.loads(text)).identity() for text in students["settings"]]
    for name in SHARED:
        _require_same(name, [one[name] for one in settings])
    for cell in students["cell"].unique():
        _require_same(f"settings of {cell}", itertools.compress(settings, students["cell"] == cell))
    return students.unique(["cell", "seed"], keep="last", maintain_order=True)


def lines(students: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """One for each cell, in the order in which they were added."""
    scores = {(row["cell"], row["seed"]): _top1(row["ranks"]) for row in students.iter_rows(named=True)}
    cells = {row["cell"]: row for row in students.iter_rows(named=True)}
    varied = {name: json.loads(row["varied"]) for name, row in cells.items()}

    def with_method(cell: str, method: str) -> str | None:
        wanted = varied[cell] | {"method": method}
        return next((name for name, values in varied.items() if values == wanted and name != cell), None)

    def over(cell: str, other: str | None) -> dict[str, Any] | None:
        return describe(difference(scores, cell, other)) if other is not None and other in cells else None

    for cell, row in cells.items():
        values = {seed: top1[TOP1].to_numpy().mean() for (name, seed), top1 in scores.items() if name == cell}
        twin = row["twin"] if row["twin"] in cells else row["twin"] and with_method(cell, row["twin"])
        settings = json.loads(row["settings"])
        line = {
            "benchmark": row["dataset"],
            **{name: settings[name] for name in ("backbone", "image_size")},
            **varied[cell],
            "train_images": row["train_images"],
            "test_images": len(row["ranks"]),
            "seeds": list(values),
            "top1": [percent(value) for value in values.values()],
            "top1_mean": percent(float(np.mean(list(values.values())))),
            "top1_std": percent(float(np.std(list(values.values()), ddof=1))) if len(values) > 1 else None,
            "over_base": over(cell, row["baseline"]) if row["baseline"] != cell else None,
            "twin": row["twin"],
            "over_twin": over(cell, twin),
        }
        for best in BEST:
            if (other := with_method(cell, best)) is not None:
                line[f"{best}_over_it"] = over(other, cell)
        yield line


def difference(scores: Mapping[tuple[str, int], pl.DataFrame], cell: str, other: str) -> Difference | None:
    """`cell` minus `other` over the seeds that both have, None where there is none."""
    seeds = [seed for name, seed in scores if name == cell and (other, seed) in scores]
    if not seeds:
        return None
    chosen = {(name, seed): scores[name, seed] for name in (cell, other) for seed in seeds}
    rows = [{"cell": name, "seed": seed, TOP1: top1[TOP1].mean()} for (name, seed), top1 in chosen.items()]
    return compare(pl.DataFrame(rows), Bootstrap.of(chosen), TOP1, cell, other)


def _top1(ranks: Sequence[int]) -> pl.DataFrame:
    """The scores of images as Bootstrap has them."""
    return pl.DataFrame({"image_id": range(len(ranks)), TOP1: [float(rank == 1) for rank in ranks]})


def _require_same(name: str, values: Iterable[Any]) -> None:
    first, *others = dict.fromkeys(map(str, values))
    if others:
        raise InputInvalid(f"students differ in {name}: {first} and {others[0]}; keep these in a file of their own")


if __name__ == "__main__":
    run_benchmark(main)

"""Bad questions that the audit finds, and students of the questions it chooses. Rendered scenes, bundled teacher.

First line: bad questions are planted among the bundled 50 and audited through vLLM; which verdict each one got, and
which good questions were called bad. The scenes' own descriptions say what is good: a question whose answer never
changes in the demo is rightly called one-sided, one that has nothing to do with the classes weak. The audit's limits
were set with faults of these kinds in view.

Second line: the same for faults of other kinds, which the limits were not set on. An audit rejects a question by any
verdict but "keep" and "weak".

Third line, unless --audit-only: students that learn 10 of the bundled questions, chosen by the audit or at random
(others with each seed), beside those that learn all 50 or none; top-1 in percent, in pairs of one seed. Resumes.

    python bench/questions.py --run-dir runs/questions
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from bench.arguments import positive, run_benchmark, student_arguments
from bench.flowers import describe, percent
from storage.answers.read import find_answers, read_answers
from storage.datasets import image_folder
from storage.datasets.scenes.classification import write_scenes
from storage.questions import AspectQuestion, QuestionSet, load_questions, write_questions
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.recipes import recipe_settings
from student.core.results import paired_difference
from teacher.questions.audit_files import read_audit
from teacher.questions.selection import select_from_audit

PROJECT = Path(__file__).parents[1]
BUNDLED = PROJECT / "questions" / "scenes.yaml"
ASPECTS = Path(sys.executable).with_name("aspects")
PLANTED = {
    "smiling": ("Is the person in the image smiling?", "unanswerable"),
    "music": ("Is the music loud?", "unanswerable"),
    "tuesday": ("Was the photo taken on a Tuesday?", "unanswerable"),
    "no_bricks": ("Is there no sign of a brick wall in the picture?", "biased to yes"),
    "no_sand": ("Is there no sign of sand in the picture?", "biased to yes"),
    "red_again": ("Can a red object be seen here?", "redundant"),
    "meadow": ("Can a meadow be seen here?", "redundant"),
    "one_again": ("Does the picture show a single object?", "redundant"),
    "amber_pair": ("Is this an amber pair?", "label leak"),
    "cedar_group": ("Does this picture belong to the class cedar group?", "label leak"),
}
# Kinds of faults that the audit's limits were not set on, with questions of each.
OTHER_KINDS = {
    "quality of the file": {
        "in_focus": "Is the image in focus?",
        "high_resolution": "Is the resolution of the image high?",
        "artefacts": "Are there compression artefacts in the image?",
    },
    "two questions in one": {
        "red_and_grass": "Is there a red object and is there grass in the picture?",
        "pair_and_night": "Are there exactly two objects and does the picture show a starry night?",
        "striped_or_dotted": "Is there a striped or a dotted object?",
    },
    "class name in disguise": {
        "an_amber_and_pair": "Is it one of the ambers, namely a pair?",
        "spelled_amber": "Is this an a-m-b-e-r pair?",
        "amber_defined": "Is one object red on grass, yellow on a gradient, blue on plain ground or purple at night?",
    },
    "paraphrase": {
        "anything_red": "Is anything in the picture red?",
        "on_a_lawn": "Do the objects stand on a lawn?",
        "two_counted": "Do you count two objects?",
    },
    "yes and no swapped": {
        "free_of_red": "Is the picture free of red objects?",
        "other_than_night": "Does the picture show anything but a starry night?",
        "other_than_one": "Is the number of objects different from one?",
    },
    "border or crop": {
        "cut_off": "Is an object cut off by the edge of the picture?",
        "in_left_half": "Is any object centred in the left half?",
        "touches_border": "Does any object touch the border of the picture?",
    },
}
# What the classes of storage/datasets/scenes/classification.py are made of: colour on a ground, number of objects.
DECISIVE = {
    *("has_red", "has_yellow", "has_blue", "has_purple", "on_grass", "at_night", "is_plain", "is_gradient"),
    *("is_single", "is_pair", "more_than_two"),
}
ALWAYS = 0.98  # share of scenes with one answer from which on a question is one-sided


def main() -> None:
    parser = student_arguments(__doc__, "questions", seeds="0,1,2,3,4,5,6,7", engine="vllm")
    parser.add_argument("--count", type=positive, default=10, help="questions to choose")
    parser.add_argument("--audit-only", action="store_true", help="train no students")
    asked = parser.parse_args()
    folder: Path = asked.run_dir
    scenes, planted, others = folder / "scenes", folder / "planted.yaml", folder / "others.yaml"
    if not (scenes / "ground_truth.parquet").exists():
        write_scenes(scenes, train_per_class=24, test_per_class=40, seed=0)
    bundled = load_questions(BUNDLED)
    plant(planted, bundled, {key: text for key, (text, _) in PLANTED.items()})
    plant(others, bundled, {key: text for kind in OTHER_KINDS.values() for key, text in kind.items()})
    for file in (planted, others):
        aspects(folder, asked.engine, "questions", "audit", str(file))
    print(json.dumps(findings(planted, scenes)), flush=True)
    print(json.dumps(findings_by_kind(others)), flush=True)
    if asked.audit_only:
        return

    write_questions(folder / "bundled.yaml", bundled, replace=True)
    aspects(folder, asked.engine, "questions", "audit", str(folder / "bundled.yaml"))
    aspects(folder, asked.engine, "extract", "--questions", str(folder / "bundled.yaml"))
    print(json.dumps(compare(folder, bundled, asked.count, asked.seeds, asked.threads)), flush=True)


def plant(file: Path, bundled: QuestionSet, texts: Mapping[str, str]) -> None:
    """Write the bundled questions to `file`, and after them those of `texts`."""
    planted = [AspectQuestion(key=key, text=text) for key, text in texts.items()]
    write_questions(file, QuestionSet((*bundled.questions, *planted)), replace=True)


def aspects(folder: Path, engine: str, *command: str) -> None:
    """Run a command on the scenes in `folder` and the store beside them."""
    shared = ["--dataset", str(folder / "scenes"), "--store", str(folder / "store"), "--engine", engine]
    subprocess.run([str(ASPECTS), *command, *shared], check=True, stdout=subprocess.DEVNULL)


def findings(planted: Path, scenes: Path) -> dict[str, Any]:
    """What became of the planted questions, and false alarms among the bundled ones."""
    audit = read_audit(planted)
    assert audit is not None
    verdicts = {question.key: question.verdict for question in audit.questions}
    truth = pl.read_parquet(scenes / "ground_truth.parquet").filter(pl.col("image_id").str.starts_with("train/"))
    shares = {key: float(truth[key].to_numpy().mean()) for key in truth.columns if key != "image_id"}
    alarms = {}
    for key, share in shares.items():
        right = {"keep", "weak"} - ({"weak"} if key in DECISIVE else set())
        if share > ALWAYS or share < 1 - ALWAYS:
            right |= {"biased to yes" if share > 0.5 else "biased to no"}
        if verdicts[key] not in right:
            alarms[key] = verdicts[key]
    found = {key: verdicts[key] for key in PLANTED}
    return {
        "benchmark": "questions, audit",
        "images": audit.images,
        "questions": len(verdicts),
        "planted": len(PLANTED),
        "found": sum(found[key] == verdict for key, (_, verdict) in PLANTED.items()),
        "missed": {key: found[key] for key, (_, verdict) in PLANTED.items() if found[key] != verdict},
        "false_alarms": alarms,
        "verdicts": audit.verdicts,
    }


def findings_by_kind(others: Path) -> dict[str, Any]:
    """The verdict about each question of OTHER_KINDS."""
    audit = read_audit(others)
    assert audit is not None
    verdicts = {question.key: question.verdict for question in audit.questions}
    kinds = {kind: {key: verdicts[key] for key in texts} for kind, texts in OTHER_KINDS.items()}
    found = [verdict for kind in kinds.values() for verdict in kind.values()]
    return {
        "benchmark": "questions, audit of other kinds",
        "planted": len(found),
        "rejected": sum(verdict not in ("keep", "weak") for verdict in found),
        "weak": found.count("weak"),
        "by_kind": kinds,
    }


def compare(folder: Path, bundled: QuestionSet, count: int, seeds: list[int], threads: int | None) -> dict[str, Any]:
    """Students by what they learn: nothing, all questions, `count` at random, `count` chosen."""
    dataset = image_folder(folder / "scenes")
    store = str(folder / "store")
    answers = read_answers(find_answers(store, dataset.name, questions=bundled))
    chosen, _ = select_from_audit(folder / "bundled.yaml", bundled, count, store)
    settings = {**recipe_settings("demo"), "method": "makd", "threads": threads}
    everything = StudentGrid(settings=settings, axes={"question_count": [None, count]}, seeds=seeds)
    selected = StudentGrid(settings=settings, axes={"method": ["makd"]}, seeds=seeds)
    results = run_experiment(everything, dataset, TeacherAnswers(image=answers), folder / "all")
    of_chosen = run_experiment(selected, dataset, TeacherAnswers(image=answers.only(chosen.keys)), folder / "chosen")
    top1 = {
        "none": by_seed(results.table, "base"),
        "all": by_seed(results.table, "makd"),
        "random": by_seed(results.table, f"makd,question_count={count}"),
        "chosen": by_seed(of_chosen.table, "makd"),
    }
    return {
        "benchmark": "questions, choice",
        "count": count,
        "chosen": list(chosen.keys),
        "seeds": len(seeds),
        "top1": {name: percent(sum(values.values()) / len(values)) for name, values in top1.items()},
        "chosen_over_random": describe(paired_difference(top1["chosen"], top1["random"])),
        "chosen_over_all": describe(paired_difference(top1["chosen"], top1["all"])),
        "all_over_none": describe(paired_difference(top1["all"], top1["none"])),
    }


def by_seed(table: pl.DataFrame, cell: str) -> dict[int, float]:
    rows = table.filter(pl.col("cell") == cell)
    assert len(rows), f"no cell {cell} in {table['cell'].unique().to_list()}"
    return dict(zip(rows["seed"], rows["top1"], strict=True))


if __name__ == "__main__":
    run_benchmark(main)

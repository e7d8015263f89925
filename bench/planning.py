"""Plan, forecast, show and join answers about up to ten million images: seconds and peak memory. A JSON line each.

python bench/planning.py --images 100000,1000000 --questions 50

Shards are written by the project's writer: random log-probabilities about the first 99 % of the images. The images are
stubs: a dataset that lists them, with sizes and modification times. Each step is a process of its own: `plan` (compare
with the store), `dry-run` (with the forecast), `show`, `join` (what `aspects train` reads of the store), `unchanged` (a
run with nothing to ask, from plan to manifest) and, after `compact`, the plan again. `list_seconds`, for the listing
of the stubs, are not part of `seconds`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.arguments import one_of, positive, run_benchmark, several
from storage.answers.reuse import KnownAnswers, known_answers
from storage.answers.schema import ShardAnswers
from storage.datasets.base import ImageRecord, Stamp
from storage.datasets.records import ImageRecords
from storage.questions import AspectQuestion, QuestionSet
from teacher.engines.config import ResolvedTeacher, TeacherConfig
from teacher.extraction.finish import finish_plan
from teacher.extraction.plan import ExtractionPlan, plan_extraction

CLASSES = 1000
LONG_AGO = 1_600_000_000 * 10**9  # ns since the epoch
TEACHER = ResolvedTeacher(config=TeacherConfig(model="stub"), path=None, weights="stub")


@dataclass(frozen=True)
class StubImages:
    """Images that are only listed."""

    count: int
    name: str = "stub"
    notes: tuple[str, ...] = ()
    class_names: Sequence[str] = tuple(f"class_{number:03}" for number in range(CLASSES))
    records: Sequence[ImageRecord] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", ImageRecords.of(map(self._record, range(self.count))))

    def _record(self, number: int) -> ImageRecord:
        label = number % CLASSES
        name = self.class_names[label]
        return ImageRecord(image_id=f"train/{name}/{number:08}.jpg", split="train", label=label, label_name=name)

    def read(self, image_id: str) -> bytes:
        return image_id.encode()

    def stamp(self, image_id: str) -> Stamp:
        number = int(image_id[-12:-4])
        return Stamp(10_000 + number % 1000, LONG_AGO + number)

    def subset(self, records: Sequence[ImageRecord]) -> StubImages:
        return self


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=several(positive), default="100000", help="numbers of images, separated by commas"
    )
    parser.add_argument("--questions", type=positive, default=50)
    parser.add_argument("--new", type=float, default=0.01, help="share of the images without answers")
    parser.add_argument("--folder", type=Path, help="an empty folder; a temporary one by default")
    parser.add_argument(
        "--steps", type=several(one_of(STEPS)), default=",".join(STEPS), help="steps, separated by commas"
    )
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        measure(options)
        return
    for images in options.images:
        folder = Path(tempfile.mkdtemp(prefix="planning-", dir=options.folder))
        try:
            for step in options.steps:
                given = [*sys.argv[1:], "--images", str(images), "--folder", str(folder), "--step", step]
                subprocess.run([sys.executable, __file__, *given], check=True)
        finally:
            shutil.rmtree(folder)


def measure(options: argparse.Namespace) -> None:
    """Run one step; print its seconds, those of the CPU, and its peak memory."""
    step, store, images = options.step, str(options.folder / "store"), options.images[0]
    stored = images - int(images * options.new)
    before = peak_mb()
    started = time.perf_counter()
    dataset = StubImages(images if step in ("plan", "dry-run", "plan-compacted") else stored)
    listed, cpu = time.perf_counter(), time.process_time()
    facts = STEPS[step](dataset, question_set(options.questions), store)
    done = time.perf_counter()
    line = {
        "step": step,
        "images": images,
        "questions": options.questions,
        "seconds": round(done - listed, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "list_seconds": round(listed - started, 1),
        "peak_mb": peak_mb(),
        "imports_mb": before,
        **facts,
    }
    print(json.dumps(line), flush=True)


def write(dataset: StubImages, questions: QuestionSet, store: str) -> dict[str, object]:
    """Write the answers of the first run."""
    os.fsync = lambda fd: None  # nothing is lost with these answers
    plan = plan_of(dataset, questions, store)
    source = np.random.default_rng(0)
    for shard in plan.missing:
        p_yes = source.uniform(0.001, 0.999, (len(shard.records), len(questions)))
        records = tuple(shard.records)
        answers = ShardAnswers(
            records=records,
            image_sha256=[hashlib.sha256(dataset.read(record.image_id)).hexdigest() for record in records],
            errors=[None] * len(records),
            yes=np.log(p_yes).astype(np.float32),
            no=np.log1p(-p_yes).astype(np.float32),
        )
        plan.directory.write_shard(shard, plan.header, answers)
    finish_plan(plan, {}, KnownAnswers())
    return {"shards": len(plan.shards), "store_mb": store_mb(store)}


def plan(dataset: StubImages, questions: QuestionSet, store: str) -> dict[str, object]:
    """Compare with the store, and find what is known."""
    found, _ = planned(dataset, questions, store)
    return {"shards": len(found.shards), "missing": len(found.missing)}


def dry_run(dataset: StubImages, questions: QuestionSet, store: str) -> dict[str, object]:
    """Forecast."""
    from teacher.extraction.forecast import forecast

    found = forecast(*planned(dataset, questions, store), store)
    return {"asked": found.asked, "kept": found.kept, "reused": found.reused}


def unchanged(dataset: StubImages, questions: QuestionSet, store: str) -> dict[str, object]:
    """Run with nothing to ask."""
    found = plan_of(dataset, questions, store)
    finish_plan(found, {})
    return {"missing": len(found.missing)}


def show(dataset: StubImages, questions: QuestionSet, store: str) -> dict[str, object]:
    """`aspects show`."""
    from contextlib import redirect_stdout

    from flows.cli.show import show_store

    with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stdout(nothing):
        show_store(store, None, 3)
    return {}


def join(dataset: StubImages, questions: QuestionSet, store: str) -> dict[str, object]:
    """Read the answers and join them with the training images."""
    from storage.answers.read import find_answers, read_answers
    from student.core.examples import log_odds_of

    answers = read_answers(find_answers(store, dataset.name))
    return {"answers_mb": round(log_odds_of(dataset, dataset.records, answers).nbytes / 1e6)}


def compact(dataset: StubImages, questions: QuestionSet, store: str) -> dict[str, object]:
    """`aspects store compact`."""
    from storage.answers.compact import compact_store

    ((one,), _) = compact_store(store)
    return {"files_before": one.before, "files_after": one.after, "store_mb": store_mb(store)}


STEPS: dict[str, Callable[[StubImages, QuestionSet, str], dict[str, object]]] = {
    "write": write,
    "plan": plan,
    "dry-run": dry_run,
    "unchanged": unchanged,
    "show": show,
    "join": join,
    "compact": compact,
    "plan-compacted": plan,
}


def question_set(count: int) -> QuestionSet:
    names = range(count)
    return QuestionSet(
        tuple(AspectQuestion(key=f"aspect_{name:03}", text=f"Is aspect {name} there?") for name in names)
    )


def plan_of(dataset: StubImages, questions: QuestionSet, store: str) -> ExtractionPlan:
    return plan_extraction(dataset, ["train"], questions, TEACHER, store)


def planned(dataset: StubImages, questions: QuestionSet, store: str) -> tuple[ExtractionPlan, KnownAnswers]:
    found = plan_of(dataset, questions, store)
    rows = found.known_rows(copied=False)
    return found, known_answers(store, [dataset.name], TEACHER.fingerprint, questions.reuse_keys, rows)


def store_mb(store: str) -> int:
    return round(sum(path.stat().st_size for path in Path(store).rglob("*.parquet")) / 1e6)


def peak_mb() -> int:
    """Peak memory of this process: getrusage would count that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1000


if __name__ == "__main__":
    run_benchmark(main)

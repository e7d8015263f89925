"""An extraction with nothing to do: seconds and bytes read, for many small images. One JSON line.

python bench/unchanged.py --images 50000 --questions 20 --old ../wt-old

Answers go into the store without a model: random log-probabilities. `aspects extract` then runs without recorded sizes
and modification times (cold), again with them (warm), and with --verify; `--old` runs that release twice on the same
store. Bytes are those of system calls (rchar in /proc/self/io), Python's own modules included: `command_mb` is what
`aspects --version` reads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from bench.arguments import positive, run_benchmark
from flows.parameters import TeacherParameters
from storage.answers.schema import ShardAnswers
from storage.datasets.folder import image_folder
from storage.questions import load_questions
from teacher.extraction.finish import finish_directory
from teacher.extraction.plan import plan_extraction

PROJECT = Path(__file__).parents[1]
CLASSES = 100
HOUR = 3600
# Run in the child: the command, then what it has read.
CHILD = """
import sys
from flows.__main__ import main
sys.argv = ["aspects", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    if end.code:
        raise
with open("/proc/self/io") as io:
    print(next(line for line in io if line.startswith("rchar")), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=50_000)
    parser.add_argument("--questions", type=positive, default=20)
    parser.add_argument("--bytes", type=positive, default=4096, help="size of an image file")
    parser.add_argument("--old", type=Path, help="checkout of an earlier release, with its own .venv")
    parser.add_argument("--folder", type=Path, help="an empty folder; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(options, options.folder or Path(temporary))))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    images, questions, store = folder / "images", folder / "questions.yaml", folder / "store"
    print("writing images and answers", file=sys.stderr)
    write_images(images, options.images, options.bytes)
    write_questions(questions, options.questions)
    shards = write_answers(images, questions, store)
    arguments = ["extract", "-d", str(images), "-q", str(questions), "-s", str(store), "-t", "tiny"]
    arguments += ["--engine", "transformers"]
    found: dict[str, object] = {"images": options.images, "questions": options.questions, "shards": shards}
    found["command_mb"] = run(PROJECT, ["--version"])["read_mb"]
    if options.old:
        found["old"] = [run(options.old, arguments) for _ in range(2)]
    found["cold"] = run(PROJECT, arguments)
    found["warm"] = run(PROJECT, arguments)
    found["verify"] = run(PROJECT, [*arguments, "--verify"])
    return found


def write_images(folder: Path, count: int, size: int) -> None:
    """Files with the names of images, an hour old: nothing decodes them where nothing is asked."""
    source = random.Random(0)
    then = time.time() - HOUR
    for number in range(count):
        path = folder / "train" / f"class_{number % CLASSES:03}" / f"{number:06}.jpg"
        if number < CLASSES:
            path.parent.mkdir(parents=True)
        path.write_bytes(source.randbytes(size))
        os.utime(path, (then, then))


def write_questions(path: Path, count: int) -> None:
    asked = [{"key": f"aspect_{number:03}", "text": f"Is aspect {number} there?"} for number in range(count)]
    path.write_text(yaml.safe_dump({"questions": asked}), encoding="utf-8")


def write_answers(images: Path, questions: Path, store: Path) -> int:
    """Random answers for all images, as the teacher `tiny` would have them written; the number of shards."""
    dataset, asked = image_folder(images), load_questions(questions)
    teacher = TeacherParameters(model="tiny").resolve("transformers")
    plan = plan_extraction(dataset, ["train"], asked, teacher, str(store))
    random_numbers = np.random.default_rng(0)
    for shard in plan.missing:
        p_yes = random_numbers.uniform(0.01, 0.99, (len(shard.records), len(asked)))
        answers = ShardAnswers(
            records=shard.records,
            image_sha256=[hashlib.sha256(dataset.read(record.image_id)).hexdigest() for record in shard.records],
            errors=[None] * len(shard.records),
            yes=np.log(p_yes).astype(np.float32),
            no=np.log1p(-p_yes).astype(np.float32),
        )
        plan.directory.write_shard(shard, plan.header, answers)
    finish_directory(plan.directory, plan.header, plan.shards, {})
    return len(plan.shards)


def run(project: Path, arguments: list[str]) -> dict[str, float]:
    """Seconds, CPU seconds and megabytes read of one command, by the release in `project`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [str(project / ".venv/bin/python"), "-c", CHILD, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0 or "rchar" not in done.stderr:
        sys.exit(f"error: {' '.join(arguments)} failed: {done.stderr}")
    if arguments[0] == "extract" and " 0 answers asked" not in done.stderr:
        sys.exit(f"error: something was asked: {done.stderr}")
    read = int(done.stderr.split("rchar:")[1].split()[0])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "read_mb": round(read / 1e6, 1)}


if __name__ == "__main__":
    run_benchmark(main)

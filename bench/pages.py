"""How fast are the pages of `aspects view`, and how much memory do they take?

Writes synthetic answers about --images images to --questions questions with the project's own writer, and small real
images (flowers102_64, one hard link for each synthetic image) whose thumbnails are made. Then a server of its own
process is asked for each page --repeat times. Prints one line of JSON for each page: milliseconds to the first byte,
cold and the warm median, and processor time of the server; and one with the seconds of the start and the peak memory.

    python bench/pages.py --images 100000
    python bench/pages.py --images 1000000 --no-files
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import numpy as np

from bench.data import FLOWERS, PROJECT, data_folder
from storage.answers.schema import AnswerHeader, ShardAnswers
from storage.answers.shards import cut_shards
from storage.answers.store import AnswerDirectory
from storage.datasets.base import ImageRecord
from storage.questions import AspectQuestion, QuestionSet
from teacher.extraction import SHARD_SIZE

CLASSES = 100
THUMBNAILS = 60  # of a page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--folder", type=Path, default=None, help="where store and images are kept and found again")
    parser.add_argument("--no-files", action="store_true", help="without images")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        records = records_of(asked.images)
        if not asked.no_files and not (folder / "images").is_dir():
            link_images(folder / "images", records)
        if not (folder / "store").is_dir():
            write_store(folder / "store", records, asked.questions)
        measure(folder, records, asked)


def records_of(count: int) -> list[ImageRecord]:
    names = [f"class_{label:03}" for label in range(CLASSES)]
    return [
        ImageRecord(
            image_id=f"train/{names[number * CLASSES // count]}/{number:07}.jpg",
            split="train",
            label=number * CLASSES // count,
            label_name=names[number * CLASSES // count],
        )
        for number in range(count)
    ]


def link_images(root: Path, records: list[ImageRecord]) -> None:
    files = sorted(data_folder(FLOWERS).glob("train/*/*.jpg"))
    copies = []
    for file in files[:500]:  # hard links stay on one file system
        copies.append(root.with_name("originals") / file.parent.name / file.name)
        copies[-1].parent.mkdir(parents=True, exist_ok=True)
        copies[-1].write_bytes(file.read_bytes())
    for name in {record.label_name for record in records}:
        (root / "train" / name).mkdir(parents=True)
    for number, record in enumerate(records):
        os.link(copies[number % len(copies)], root / record.image_id)


def write_store(store: Path, records: list[ImageRecord], count: int) -> None:
    questions = QuestionSet(
        tuple(AspectQuestion(key=f"question_{number:02}", text=f"Is it of kind {number}?") for number in range(count))
    )
    header = AnswerHeader(
        dataset="images",
        teacher_fingerprint="0123456789ab",
        teacher={"model": "synthetic"},
        questions=questions,
        libraries={},
    )
    directory = AnswerDirectory.locate(str(store), "images", header.teacher_fingerprint, questions.fingerprint)
    generator = np.random.default_rng(0)
    means = generator.normal(0, 3, (CLASSES, count))
    shards = cut_shards(records, SHARD_SIZE)
    for shard in shards:
        labels = [record.label for record in shard.records]
        log_odds = means[labels] + generator.normal(0, 1.5, (len(labels), count))
        yes, no = (-np.logaddexp(0, sign * log_odds).astype(np.float32) for sign in (-1, 1))
        answers = ShardAnswers(
            records=shard.records,
            image_sha256=["0" * 64] * len(labels),
            errors=[None] * len(labels),
            yes=yes,
            no=no,
        )
        directory.write_shard(shard, header, answers)
    directory.complete(header, shards, {"splits": ["train"]})


def measure(folder: Path, records: list[ImageRecord], asked: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "flows", "view", str(folder / "store"), "--no-open"]
    command += [] if asked.no_files else ["-d", str(folder / "images")]
    environment = {**os.environ, "ASPECTS_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None, "the server did not start"
            address = found[0].rstrip("/")
            ready = time.perf_counter() - started
            for page in pages(records):
                cold, used = first_byte(address + page), processor_ms(process.pid)
                warm = [first_byte(address + page) for _ in range(asked.repeat)]
                used = (processor_ms(process.pid) - used) / asked.repeat
                line = {"page": page, "cold_ms": round(cold), "warm_ms": round(median(warm), 1), "cpu_ms": round(used)}
                print(json.dumps(line), flush=True)
            if not asked.no_files:
                measure_thumbnails(address, records)
            memory = {
                name: int(value) // 1024
                for name, value in re.findall(
                    r"^(VmHWM|RssAnon|RssFile):\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE
                )
            }
            print(json.dumps({"images": asked.images, "start_seconds": round(ready, 1), "memory_mb": memory}))
        finally:
            process.terminate()


def pages(records: list[ImageRecord]) -> list[str]:
    image = records[len(records) // 2].image_id
    key, label = "question_07", records[0].label_name
    return [
        "/",
        "/questions",
        f"/question?key={key}",
        "/classes",
        "/images",
        f"/images?{urlencode({'key': key, 'label': label, 'order': 'surprise'})}",
        f"/images?{urlencode({'key': key, 'order': 'surprise', 'page': 5})}",
        f"/image?{urlencode({'id': image})}",
    ]


def measure_thumbnails(address: str, records: list[ImageRecord]) -> None:
    """One page of thumbnails, made and from the cache."""
    ids = [record.image_id for record in records[:: max(1, len(records) // THUMBNAILS)][:THUMBNAILS]]
    for state in ("made", "cached"):
        started = time.perf_counter()
        for image_id in ids:
            first_byte(f"{address}/thumbnail?{urlencode({'id': image_id})}")
        seconds = time.perf_counter() - started
        print(json.dumps({"thumbnails": len(ids), "state": state, "ms": round(1000 * seconds)}), flush=True)


def processor_ms(pid: int) -> float:
    """The processor time of a process so far, which other programs do not lengthen, in ms."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def first_byte(address: str) -> float:
    """Milliseconds until the first byte of the answer; the rest is read too."""
    started = time.perf_counter()
    with urllib.request.urlopen(address, timeout=600) as answer:
        answer.read(1)
        milliseconds = 1000 * (time.perf_counter() - started)
        answer.read()
    return milliseconds


if __name__ == "__main__":
    main()

"""Extract answers for many images, kill the run half-way, run it again, and check the store. One JSON line.

python bench/resume.py --dataset ../shared/data/flowers102_64 --splits train,test
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from bench.arguments import run_benchmark
from storage.datasets import open_dataset

PROJECT = Path(__file__).parents[1]
ASPECTS = Path(sys.executable).with_name("aspects")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--splits", default="train,test")
    parser.add_argument("--questions", default=str(PROJECT / "questions" / "flowers102.yaml"))
    parser.add_argument("--teacher", default="tiny")
    parser.add_argument("--store", help="an empty folder; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(kill_and_resume(options, Path(options.store or temporary))))


def kill_and_resume(options: argparse.Namespace, store: Path) -> dict[str, object]:
    command = [
        *(str(ASPECTS), "extract", "--dataset", options.dataset, "--splits", options.splits),
        *("--questions", options.questions, "--teacher", options.teacher, "--store", str(store)),
    ]
    images = [
        record.image_id for record in open_dataset(options.dataset).records if record.split in options.splits.split(",")
    ]
    shards = -(-len(images) // 256)
    started = time.monotonic()
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while len(finished(store)) < shards / 2:
        if run.poll() is not None:
            sys.exit("error: the extraction ended before it could be killed; give it more images")
        time.sleep(0.2)
    run.send_signal(signal.SIGKILL)
    run.wait()
    killed_after = time.monotonic() - started
    before = finished(store)
    started = time.monotonic()
    subprocess.run(command, check=True)
    resumed_for = time.monotonic() - started
    after = finished(store)
    rows = pl.concat([pl.read_parquet(path, columns=["image_id", "error"]) for path in sorted(after)])
    started = time.monotonic()
    subprocess.run(command, check=True)
    return {
        "images": len(images),
        "shards": len(after),
        "shards_before_kill": len(before),
        "shards_asked_again": sum(after.get(path) != identity for path, identity in before.items()),
        "rows_missing": len(set(images) - set(rows["image_id"])),
        "rows_doubled": rows.height - rows["image_id"].n_unique(),
        "rows_with_error": rows["error"].is_not_null().sum(),
        "killed_after_s": round(killed_after, 1),
        "resumed_for_s": round(resumed_for, 1),
        "nothing_to_do_s": round(time.monotonic() - started, 1),
    }


def finished(store: Path) -> dict[Path, tuple[int, int]]:
    """Every shard with its inode and modification time, which a rewrite would change."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in store.rglob("part-*.parquet")}


if __name__ == "__main__":
    run_benchmark(main)

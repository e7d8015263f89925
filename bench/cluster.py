"""Extraction on a Ray cluster of two simulated nodes: what failures cost, and what Ray costs. One line of JSON.

In one run a worker is killed after a quarter of the shards and a node removed after half of them; another run's command
is killed half-way and given again. Both stores are compared with that of two local workers. Then both ways of running
workers in turn on a fifth of the images, and how long a new process takes to load the model: tasks instead of actors
would do so for every shard.

    python bench/cluster.py --images 2000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from bench.arguments import one_of, positive, run_benchmark, several
from bench.data import FLOWERS, data_root
from storage.questions import QuestionSet, load_questions, write_questions
from teacher.engines.config import resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import load_engine

ASPECTS = Path(sys.executable).with_name("aspects")
QUESTIONS = Path(__file__).parents[1] / "questions" / "scenes.yaml"
ACTOR = "ray::ModelActor"
ENGINE = "transformers"
ATTEMPTS = 4  # to start a node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=data_root() / FLOWERS, help="folder SPLIT/CLASS/FILE")
    parser.add_argument("--images", type=positive, default=2000)
    parser.add_argument("--questions", type=positive, default=50, help="the first of the questions about scenes")
    parser.add_argument("--shard-size", type=positive, default=50)
    parser.add_argument("--pairs", type=positive, default=3, help="runs of either kind that are compared")
    parser.add_argument(
        "--steps", type=several(one_of(STEPS)), default=list(STEPS), help="separated by commas; all unless given"
    )
    asked = parser.parse_args()
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_raylet_start_wait_time_s="120")
    cluster = start_cluster()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked, cluster, Path(folder))
        line = {"benchmark": "cluster", "images": asked.images, "questions": asked.questions}
        for name in asked.steps:
            line[name] = STEPS[name](bench)
            print(name, line[name], file=sys.stderr, flush=True)
        print(json.dumps(line))
    cluster.shutdown()


def start_cluster() -> Any:
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    add_node(cluster, include_dashboard=False)
    add_node(cluster)
    return cluster


def add_node(cluster: Any, **options: Any) -> None:
    """Add a node with one CPU. Ray gives it little time to start, which a busy machine may exceed."""
    for _ in range(ATTEMPTS - 1):
        with suppress(Exception):  # of no type of its own
            cluster.add_node(num_cpus=1, **options)
            return
    cluster.add_node(num_cpus=1, **options)


class Bench:
    """Runs of `aspects extract` with two workers on the same images."""

    def __init__(self, asked: argparse.Namespace, cluster: Any, folder: Path) -> None:
        self.asked, self.cluster, self.folder = asked, cluster, folder
        self.all = write_images(asked.dataset, folder / "all", asked.images)
        self.some = write_images(asked.dataset, folder / "some", asked.images // 5)
        texts = load_questions(QUESTIONS).questions[: asked.questions]
        self.questions = folder / "questions.yaml"
        write_questions(self.questions, QuestionSet(tuple(texts)), heading="A part of scenes.yaml.")

    def command(self, images: Path, store: Path, *, on_cluster: bool) -> list[str]:
        options = [f"--cluster={self.cluster.address}"] if on_cluster else []
        return [
            *(str(ASPECTS), "extract", f"--dataset={images}", f"--questions={self.questions}", f"--store={store}"),
            *("--teacher=tiny", f"--engine={ENGINE}", "--workers=2", f"--shard-size={self.asked.shard_size}", *options),
        ]

    def run(self, images: Path, store: str, *, on_cluster: bool) -> dict[str, Any]:
        """The ledger of a run."""
        command = self.command(images, self.folder / store, on_cluster=on_cluster)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.ledger(store)

    def start(self, images: Path, store: str) -> subprocess.Popen[bytes]:
        command = self.command(images, self.folder / store, on_cluster=True)
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_for(self, store: str, shards: float) -> None:
        while len(self.shards(store)) < shards:
            time.sleep(0.1)

    def shards(self, store: str) -> list[Path]:
        return sorted((self.folder / store).rglob("part-*.parquet"))

    def ledger(self, store: str) -> dict[str, Any]:
        (manifest,) = (self.folder / store).glob("answers/*/*/*.json")
        return dict(json.loads(manifest.read_text())["runs"][-1])

    def failures(self) -> dict[str, Any]:
        """A worker and a node go away; the node is replaced later."""
        alone = self.run(self.all, "local", on_cluster=False)
        count = len(self.shards("local"))
        run = self.start(self.all, "failures")
        self.wait_for("failures", count / 4)
        actors()[0].kill()
        self.wait_for("failures", count / 2)
        self.cluster.remove_node(next(iter(self.cluster.worker_nodes)))
        self.wait_for("failures", count * 3 / 4)
        add_node(self.cluster)
        code = run.wait()
        again = self.ledger("failures")["questions"] - alone["questions"]
        return {
            "shards": count,
            "exit_code": code,
            "equal": self.equal("failures"),
            # Each of two workers that ended had at most two shards.
            "answers_asked_again": again,
            "answers_of_4_shards": 4 * self.asked.shard_size * self.asked.questions,
        }

    def killed_command(self) -> dict[str, Any]:
        self.run(self.some, "local-some", on_cluster=False)
        count = len(self.shards("local-some"))
        run = self.start(self.some, "killed")
        self.wait_for("killed", count / 2)
        run.kill()
        run.wait()
        started = time.monotonic()
        while actors():
            time.sleep(0.05)
        gone, kept = time.monotonic() - started, self.shards("killed")
        kept_images = sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in kept)
        ledger = self.run(self.some, "killed", on_cluster=True)
        return {
            "shards": count,
            "kept": len(kept),
            "actors_gone_after_s": round(gone, 2),
            "images_asked_by_the_next_run": ledger["images"],
            "images_of_missing_shards": self.asked.images // 5 - kept_images,
            "equal": self.equal("killed", "local-some"),
        }

    def equal(self, store: str, other: str = "local") -> bool:
        tables = [pl.concat(map(pl.read_parquet, self.shards(name))) for name in (store, other)]
        return tables[0].equals(tables[1])

    def overhead(self) -> dict[str, Any]:
        """Images per second once the first engine has loaded, on the cluster and in processes of this machine."""
        speeds: dict[bool, list[float]] = {False: [], True: []}
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for number in range(self.asked.pairs):
            for on_cluster in (False, True) if number % 2 == 0 else (True, False):
                store = f"pair-{number}-{on_cluster}"
                ledger = self.run(self.some, store, on_cluster=on_cluster)
                speeds[on_cluster].append(ledger["images_per_second"])
                seconds[on_cluster].append(ledger["seconds"])
                shutil.rmtree(self.folder / store)
        return {
            "local_images_per_second": speeds[False],
            "cluster_images_per_second": speeds[True],
            "ratio": round(statistics.mean(speeds[True]) / statistics.mean(speeds[False]), 3),
            "local_seconds": seconds[False],
            "cluster_seconds": seconds[True],
        }


def loading() -> dict[str, Any]:
    """Seconds in which a new process imports its libraries and loads the teacher, as each task with a GPU does."""
    script, folder = "from bench.cluster import load; load()", Path(__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    times = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", script], check=True, cwd=folder, env=environment)
        times.append(round(time.monotonic() - started, 2))
    return {"seconds_to_load": times}


def load() -> None:
    load_engine(ENGINE, resolve(tiny_teacher()), EngineOptions()).close()


def actors() -> list[psutil.Process]:
    """The processes of workers that have loaded their engine or will."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(ACTOR):
                found.append(process)
    return found


def write_images(dataset: Path, folder: Path, count: int) -> Path:
    found = sorted(path for path in dataset.glob("*/*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(found) < count:
        sys.exit(f"error: {dataset} has {len(found)} images, fewer than {count}; choose another --images")
    for path in found[:count]:
        target = folder / "train" / path.parent.name / f"{path.parents[1].name}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder


STEPS: Mapping[str, Callable[[Bench], dict[str, Any]]] = {
    "failures": Bench.failures,
    "killed_command": Bench.killed_command,
    "overhead": Bench.overhead,
    "loading": lambda bench: loading(),
}


if __name__ == "__main__":
    run_benchmark(main)

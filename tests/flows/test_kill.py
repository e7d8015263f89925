"""`aspects extract` killed half-way and started again, on vLLM where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from storage.datasets.folder import image_folder
from tests.flows.processes import alive, descendants, is_engine, started, wait_until

IMAGES = 120
ASPECTS = [sys.executable, "-m", "flows"]
Environment = Mapping[str, str]

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")


def flowers(shared_data: Path, folder: Path) -> Path:
    """A dataset of `IMAGES` real training images, as links."""
    found = sorted((shared_data / "flowers102_64" / "train").glob("*/*.jpg"))
    assert len(found) >= IMAGES
    for path in found[:: len(found) // IMAGES][:IMAGES]:
        link = folder / "train" / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return folder


def shards(store: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(store.glob("answers/*/*/*/*.parquet"))}


def stamps(store: Path) -> dict[str, tuple[int, int]]:
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in shards(store).items()}


def survives_a_kill(
    root: Path, questions: Path, engine: str, folder: Path, environment: Environment, shard_size: int
) -> None:
    """Kill the first run when two shards are there, run again, and look at what is in the store then.

    The second run is on transformers, which starts sooner: answers do not depend on the engine.
    """
    store = folder / "store"
    options = ["--dataset", root, "--questions", questions, "--shard-size", shard_size]
    options += ["--teacher", "tiny", "--store", store, "--splits", "train"]
    command = [*ASPECTS, "extract", *map(str, options), "--engine"]
    with started([*command, engine], folder / "first.log", environment, folder) as process:
        wait_until(lambda: len(shards(store)) >= 2, 240, "the second shard", process)
        family = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # Not by the end of its session: the engine and the embedded server notice by themselves.
        wait_until(lambda: not any(alive(pid) for pid in family if is_engine(pid)), 20, "the engine's end")
    finished = stamps(store)
    training = [record.image_id for record in image_folder(root).records if record.split == "train"]
    count = -(-len(training) // shard_size)
    assert 2 <= len(finished) < count
    assert not list(store.glob("answers/*/*/*.json"))

    again = subprocess.run(
        [*command, "transformers"], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stderr
    assert f"{len(finished)} of {count} shards were already there" in again.stderr
    after = stamps(store)
    assert {name: after[name] for name in finished} == finished
    table = pl.read_parquet(list(shards(store).values()))
    assert table["image_id"].to_list() == training
    key = table.columns[-1]
    assert table[key].struct.field("yes").null_count() == 0
    (manifest,) = store.glob("answers/*/*/*.json")
    images = manifest.with_suffix(".stamps")
    assert json.loads(manifest.read_text())["images"] == len(training)
    left = [path.name for path in store.rglob("*") if path.is_file() and path not in (manifest, images)]
    assert sorted(left) == sorted(shards(store))


@pytest.mark.slow
def test_a_killed_extraction_resumes(
    shared_data: Path, few_questions: Path, tmp_path: Path, environment: Environment
) -> None:
    root = flowers(shared_data, tmp_path / "flowers")
    engine = "vllm" if importlib.util.find_spec("vllm") is not None else "transformers"
    survives_a_kill(root, few_questions, engine, tmp_path, environment, shard_size=6 if engine == "vllm" else 1)

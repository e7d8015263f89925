"""How much of the engine's speed `aspects extract` reaches, and what memory it takes. One line of JSON.

The engine alone, decoded images in and answers out, before and after the whole command: images read, decoded and sent
to the engine, Parquet written. On the same images for about as long, because machines drift and slow
down under load. Peak memory is that of the command and all its processes together, sampled now and then.

    python bench/extract.py --dataset ../shared/data/flowers102_64 --images 1000,8000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.arguments import positive, run_benchmark, several
from storage.datasets import image_folder
from storage.datasets.base import ImageDataset
from storage.images.decode import decode_image
from storage.questions import load_questions
from teacher.engines.config import resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import EngineProcess
from teacher.engines.registry import engines

PROJECT = Path(__file__).parents[1]
QUESTIONS = PROJECT / "questions" / "scenes.yaml"
ASPECTS = Path(sys.executable).with_name("aspects")
ENGINE_IMAGES = 256  # in one call
ENGINE_LIMIT = 2048  # images before and after each run, at most
MEMORY_EVERY = 3.0  # seconds; reading it takes tens of milliseconds, in which the processes looked at stand still


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="folder SPLIT/CLASS/FILE")
    parser.add_argument("--images", type=several(positive), default="1000,8000", help="how many images, one run each")
    parser.add_argument("--engine", default="vllm", choices=list(engines()))
    asked = parser.parse_args()
    dataset = image_folder(asked.dataset)
    line: dict[str, Any] = {"benchmark": "extract", "engine": asked.engine, "runs": []}
    for count in asked.images:
        before = engine_alone(asked.engine, dataset, count)
        with tempfile.TemporaryDirectory() as folder:
            run = extract(asked.engine, dataset, count, Path(folder))
        alone = (before + engine_alone(asked.engine, dataset, count)) / 2
        share = round(run["questions_per_second"] / alone, 3)
        line["runs"].append({**run, "engine_alone_questions_per_second": round(alone, 1), "share_of_engine": share})
        print(line["runs"][-1], file=sys.stderr)
    print(json.dumps(line))


def engine_alone(name: str, dataset: ImageDataset, count: int) -> float:
    """Questions per second with images that are decoded already."""
    questions = load_questions(QUESTIONS).texts
    images = [decode_image(dataset.read(record.image_id)) for record in dataset.records[: min(count, ENGINE_LIMIT)]]
    engine = EngineProcess(name, resolve(tiny_teacher()), EngineOptions())
    try:
        engine.answer(images[-8:], questions)
        started = time.perf_counter()
        for start in range(0, len(images), ENGINE_IMAGES):
            engine.answer(images[start : start + ENGINE_IMAGES], questions)
        return len(images) * len(questions) / (time.perf_counter() - started)
    finally:
        engine.close()


def extract(engine: str, dataset: ImageDataset, count: int, folder: Path) -> dict[str, Any]:
    """Run the command on the first `count` images; what its ledger says, and its peak memory."""
    for record in dataset.records[:count]:
        link = folder / "images" / record.image_id
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_bytes(dataset.read(record.image_id))
    splits = ",".join(dict.fromkeys(record.split for record in dataset.records[:count]))
    store = folder / "store"
    command = [
        *(str(ASPECTS), "extract", "--dataset", str(folder / "images"), "--splits", splits),
        *("--questions", str(QUESTIONS), "--teacher", "tiny", "--engine", engine, "--store", str(store)),
    ]
    with psutil.Popen(command, stdout=subprocess.DEVNULL) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process))
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(MEMORY_EVERY)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} ended with code {process.returncode}")
    (manifest,) = store.glob("answers/*/*/*.json")
    (ledger,) = json.loads(manifest.read_text())["runs"]
    names = ("images", "seconds", "start_seconds", "questions_per_second", "decode_seconds", "render_seconds")
    return {
        **{name: ledger[name] for name in (*names, "engine_seconds", "write_seconds")},
        "peak_memory_mb": peak >> 20,
    }


def memory(process: psutil.Process) -> int:
    """Bytes that only this process and its children hold, shared libraries not counted."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_full_info().uss
    return total


if __name__ == "__main__":
    run_benchmark(main)

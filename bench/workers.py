"""How fast two versions of `aspects extract` ask about large JPEG files, in turn on the same machine. One line of JSON.

Images of a folder are scaled up, so that reading and decoding them costs as much as asking does. Each version runs in
its own checkout, for as many rounds as are asked for; what counts is the time once an engine has loaded. CPU seconds
are those of the whole command: on a machine that does other work too they say more than the clock.

    python bench/workers.py --dataset ../shared/data/flowers102_64 --images 240 --workers 2 \\
        --before ../release/.venv/bin/aspects --after .venv/bin/aspects
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from bench.arguments import positive, run_benchmark
from storage.questions import QuestionSet, load_questions, write_questions
from teacher.engines.registry import engines

QUESTIONS = Path(__file__).parents[1] / "questions" / "scenes.yaml"
STAGES = ("seconds", "start_seconds", "decode_seconds", "render_seconds", "engine_seconds", "write_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="the command that is compared with")
    parser.add_argument("--after", required=True, help="the command that is measured")
    parser.add_argument("--dataset", type=Path, required=True, help="folder SPLIT/CLASS/FILE of the images")
    parser.add_argument("--images", type=positive, default=240)
    parser.add_argument("--questions", type=positive, default=50, help="the first of the questions about scenes")
    parser.add_argument("--size", default="3000x2000", help="to which images are scaled, or 'own'")
    parser.add_argument("--engine", default="vllm", choices=list(engines()))
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=2)
    parser.add_argument("--shard-size", type=positive, default=32)
    parser.add_argument("--options", default="", help="more options of both")
    parser.add_argument("--after-options", default="", help="more options of the command that is measured")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        write_images(asked.dataset, images, asked.images, asked.size)
        questions = Path(folder) / "questions.yaml"
        write_questions(questions, QuestionSet(tuple(load_questions(QUESTIONS).questions[: asked.questions])))
        runs: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
        for number in range(asked.rounds):
            for name in ("before", "after") if number % 2 == 0 else ("after", "before"):
                options = shlex.split(f"{asked.options} {asked.after_options if name == 'after' else ''}")
                command = shlex.split(getattr(asked, name))
                run = extract(command, images, questions, asked, Path(folder) / f"{name}-{number}", options)
                runs[name].append(run)
                print(name, run, file=sys.stderr, flush=True)
    speeds = {name: statistics.median(run["images_per_second"] for run in found) for name, found in runs.items()}
    line = {
        "benchmark": "workers",
        "engine": asked.engine,
        "workers": asked.workers,
        "images": asked.images,
        "questions": asked.questions,
        "size": asked.size,
        "options": asked.options,
        "after_options": asked.after_options,
        "images_per_second": speeds,
        "ratio": round(speeds["after"] / speeds["before"], 3),
        "runs": runs,
    }
    print(json.dumps(line))


def write_images(dataset: Path, folder: Path, count: int, size: str) -> None:
    """`count` images spread over the dataset, as JPEG files of `size`."""
    found = sorted(path for path in dataset.glob("*/*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(found) < count:
        sys.exit(f"error: {dataset} has {len(found)} images, fewer than {count}; choose another --images")
    for number in range(count):
        path = found[number * len(found) // count]
        target = folder / "train" / path.parent.name / f"{number:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        if size == "own":
            target.write_bytes(path.read_bytes())
            continue
        width, height = map(int, size.split("x"))
        with Image.open(path) as image:
            image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(target, quality=92)


def extract(
    aspects: list[str], images: Path, questions: Path, asked: argparse.Namespace, store: Path, options: list[str]
) -> dict[str, Any]:
    """Run the command with a new store; what its manifest says about the time."""
    command = [
        *(*aspects, "extract", "--dataset", str(images), "--splits", "train", "--questions", str(questions)),
        *("--teacher", "tiny", "--engine", asked.engine, "--workers", str(asked.workers)),
        *("--shard-size", str(asked.shard_size), "--store", str(store), *options),
    ]
    before = _cpu_seconds()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: {shlex.join(command)} ended with code {done.returncode}: {done.stderr[-1000:]}")
    (manifest,) = store.glob("answers/*/*/*.json")
    (ledger,) = json.loads(manifest.read_text())["runs"]
    speeds = {name: ledger[name] for name in ("images_per_second", "questions_per_second", *STAGES)}
    return {**speeds, "cpu_seconds": round(_cpu_seconds() - before, 1)}


def _cpu_seconds() -> float:
    """Of all processes that have ended and that this one has started, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    run_benchmark(main)

"""What a change costs: of 50 questions one is replaced and one removed, and 100 images join 2,000. One line of JSON.

The change and, in an empty store, the same set in full, taking turns: real vLLM with the bundled teacher, rendered
scenes, the whole command. A pair is an image and a question; `share` is how many of all pairs have changed. `tokens`
are those that have to be computed: the part shared by an image's questions once for each image, and the rest of each
question. One question about an old image costs that image again, so their share is larger. `apart` are the changed
pairs asked with nothing known: the new question about the old images and all questions about the new ones, in two empty
stores.

    python bench/change.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.arguments import natural, positive, run_benchmark
from storage.datasets.scenes.classification import DEMO_CLASSES, write_scenes
from storage.questions import AspectQuestion, QuestionSet, load_questions, write_questions

PROJECT = Path(__file__).parents[1]
QUESTIONS = PROJECT / "questions" / "scenes.yaml"
ASPECTS = Path(sys.executable).with_name("aspects")
NEW = AspectQuestion(key="is_violet", text="Is there a violet object?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=2000, help="before the change")
    parser.add_argument("--more", type=natural, default=100, help="images that join them")
    parser.add_argument("--turns", type=positive, default=2)
    parser.add_argument("--engine", default="vllm")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        print(json.dumps(measure(folder, asked.images, asked.more, asked.turns, asked.engine)))


def measure(folder: Path, images: int, more: int, turns: int, engine: str) -> dict[str, Any]:
    before, changed = folder / "before.yaml", folder / "changed.yaml"
    questions = load_questions(QUESTIONS)
    write_questions(before, questions)
    # The first is replaced, the last removed.
    write_questions(changed, QuestionSet((NEW, *questions.questions[1:-1])))
    dataset = folder / "scenes"
    write_scenes(dataset, train_per_class=-(-(images + more) // len(DEMO_CLASSES)), test_per_class=0, seed=11)
    everything = sorted(dataset.glob("train/*/*.png"))
    for path in everything[images + more :]:
        path.unlink()
    joining = everything[images : images + more]
    waiting = folder / "waiting"
    _move(joining, dataset, waiting)
    extract(dataset, before, folder / "first", engine)
    alone = folder / "alone.yaml"
    write_questions(alone, QuestionSet((NEW,)))
    apart = []
    for turn in range(turns):
        parts = (dataset, alone, folder / f"old-{turn}"), (waiting, changed, folder / f"new-{turn}")
        apart.append([extract(*part, engine) for part in parts])
    _move([waiting / path.relative_to(dataset) for path in joining], waiting, dataset)

    runs: dict[str, list[dict[str, float]]] = {"change": [], "full": []}
    for turn in range(turns):
        store = folder / f"change-{turn}"
        shutil.copytree(folder / "first", store)
        runs["change"].append(extract(dataset, changed, store, engine))
        runs["full"].append(extract(dataset, changed, folder / f"full-{turn}", engine))
    pairs = (images + more) * (len(questions) - 1)
    share = (images + more * (len(questions) - 1)) / pairs
    line: dict[str, Any] = {"benchmark": "change", "engine": engine, "images": images + more, "pairs": pairs}
    line["share"] = round(share, 4)
    for name in ("questions", "tokens", "asking_seconds", "command_seconds"):
        change, full = (statistics.median(run[name] for run in runs[way]) for way in ("change", "full"))
        line[name] = {"change": change, "full": full, "ratio": round(change / full, 4)}
    seconds = statistics.median(sum(part["asking_seconds"] for part in parts) for parts in apart)
    line["apart_seconds"] = round(seconds, 2)
    line["change_over_apart"] = round(line["asking_seconds"]["change"] / seconds, 3)
    line["questions_over_share"] = round(line["questions"]["ratio"] / share, 3)
    line["tokens_over_share"] = round(line["tokens"]["ratio"] / share, 3)
    line["asking_over_share"] = round(line["asking_seconds"]["ratio"] / share, 3)
    return line


def extract(dataset: Path, questions: Path, store: Path, engine: str) -> dict[str, float]:
    """Run the command; questions asked, seconds of asking (the engine's start excluded), and of all of it."""
    command = [
        *(str(ASPECTS), "extract", "--dataset", str(dataset), "--questions", str(questions)),
        *("--store", str(store), "--engine", engine),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    newest = max(store.glob("answers/*/*/*.json"), key=lambda path: path.stat().st_mtime_ns)
    account = json.loads(newest.read_text(encoding="utf-8"))["runs"][-1]
    return {
        "questions": account["questions"],
        "tokens": account["prefix_tokens"] + account["suffix_tokens"],
        "asking_seconds": round(account["seconds"] - account["start_seconds"], 2),
        "command_seconds": round(seconds, 2),
    }


def _move(dataset: list[Path], old: Path, new: Path) -> None:
    for path in dataset:
        target = new / path.relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


if __name__ == "__main__":
    run_benchmark(main)

"""How far vLLM's answers are from those of transformers: same model, same images, same questions. One JSON line.

The reference is transformers in float32. Images are real images where `ASPECTS_DATA` (default ../shared/data) has
flowers102_64, and freshly rendered scenes besides.

    python bench/equality.py --images 40
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bench.arguments import positive, run_benchmark
from storage.datasets import image_folder
from storage.datasets.scenes.drawing import render
from storage.datasets.scenes.scene import sample_scene
from storage.images.decode import decode_image
from storage.questions import load_questions
from teacher.engines.config import TeacherConfig, resolve, tiny_teacher
from teacher.engines.options import EngineOptions
from teacher.engines.process import EngineProcess

PROJECT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=40, help="images of each kind")
    parser.add_argument("--model", default=None, help="another model than the bundled one")
    options = parser.parse_args()
    config = TeacherConfig(model=options.model, dtype="float32") if options.model else tiny_teacher()
    questions = load_questions(PROJECT / "questions" / "scenes.yaml").texts
    images = scenes(options.images) + real_images(options.images)
    reference = ask("transformers", config, images, questions)
    line: dict[str, object] = {"images": len(images), "questions": len(questions)}
    for dtype in ("float32", "bfloat16"):
        answers = ask("vllm", dataclasses.replace(config, dtype=dtype), images, questions)
        line[f"vllm_{dtype}"] = compare(answers, reference)
    print(json.dumps(line))


def ask(engine: str, config: TeacherConfig, images: list[Image.Image], questions: tuple[str, ...]) -> np.ndarray:
    """Log-probabilities [2, I, Q] of yes and no."""
    process = EngineProcess(engine, resolve(config), EngineOptions())
    try:
        return np.stack(process.answer(images, questions))
    finally:
        process.close()


def compare(answers: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    p_yes, p_reference = (1 / (1 + np.exp(logprobs[1] - logprobs[0])) for logprobs in (answers, reference))
    return {
        "max_logprob_difference": float(np.abs(answers - reference).max()),
        "mean_logprob_difference": float(np.abs(answers - reference).mean()),
        "max_p_yes_difference": float(np.abs(p_yes - p_reference).max()),
    }


def scenes(count: int) -> list[Image.Image]:
    random = np.random.default_rng(int(time.time()))
    return [render(sample_scene(random), random) for _ in range(count)]


def real_images(count: int) -> list[Image.Image]:
    folder = Path(os.environ.get("ASPECTS_DATA", PROJECT / ".." / "shared" / "data")) / "flowers102_64"
    if not folder.is_dir():
        return []
    dataset = image_folder(folder)
    chosen = dataset.records[:: len(dataset.records) // count][:count]
    return [decode_image(dataset.read(record.image_id)) for record in chosen]


if __name__ == "__main__":
    run_benchmark(main)

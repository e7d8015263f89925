"""Cost of a question by four ways of asking, on the same machine in the same run. Prints one line of JSON.

    paper        transformers, one call for each image and question, image encoded every time, 10 new tokens
    plain        vLLM's `LLM.generate` with text prompts and images
    vllm         the engine `vllm`: image rendered once, its prefix shared
    packed       the engine `transformers`: all questions of an image in one pass

On a model of 200 million parameters and on one that computes next to nothing, both with 256 image tokens and 50
questions, in float32 and bfloat16. Every way runs in a process of its own on one core; they take turns, each with
images that it has not seen, and the median of the turns counts. Answers are compared with those of the first way on the
pairs that it was asked; in bfloat16 all of them are rounded, so the differences there are noise of both sides.

    python bench/engines.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import operator
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, get_args

from storage.platform import torchvision_ops

torchvision_ops.install()  # before torchvision is imported

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from bench.arguments import one_of, positive, run_benchmark, several
from bench.random_models import IMAGE_TOKENS, build_random_model
from storage.questions import load_questions
from teacher.engines.config import Dtype, ResolvedTeacher, TeacherConfig, resolve
from teacher.engines.options import EngineOptions
from teacher.engines.process import EngineProcess
from teacher.engines.prompt import find_answer_tokens, render_prompt

PROJECT = Path(__file__).parents[1]
QUESTIONS = load_questions(PROJECT / "questions" / "scenes.yaml").texts
NEW_TOKENS = 10
# Images for each way, and those of them that the paper's way is asked about, with its first few questions: enough
# seconds to be measured, few enough to be waited for.
IMAGES = {"large": 2, "thin": 64}
PAPER_IMAGES = {"large": 2, "thin": 8}
PAPER_QUESTIONS = 3
WARM_UP = 1000  # a seed that no repeat has
WAYS: dict[str, tuple[str, EngineOptions]] = {
    "plain": ("vllm", EngineOptions(plain=True)),
    "vllm": ("vllm", EngineOptions()),
    "packed": ("transformers", EngineOptions()),
}
# Every way computes on one core; reading and preparing images may use another.
ONE_CORE = {"OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=several(one_of(IMAGES)), default="large,thin", help="models, separated by commas"
    )
    parser.add_argument(
        "--dtypes", type=several(one_of(get_args(Dtype))), default="float32,bfloat16", help="separated by commas"
    )
    parser.add_argument("--repeats", type=positive, default=3, help="turns of each way; their median counts")
    asked = parser.parse_args()
    line: dict[str, Any] = {"benchmark": "teacher", "image_tokens": IMAGE_TOKENS, "questions": len(QUESTIONS)}
    with tempfile.TemporaryDirectory() as folder:
        for size in asked.sizes:
            line[size] = {"parameters": build_random_model(size, Path(folder) / size)}
            for dtype in asked.dtypes:
                line[size][dtype] = measure(Path(folder) / size, size, dtype, asked.repeats)
                print(f"{size} {dtype}: {json.dumps(line[size][dtype])}", file=sys.stderr)
    print(json.dumps(line))


def measure(folder: Path, size: str, dtype: Dtype, repeats: int) -> dict[str, Any]:
    """Milliseconds per question of each way, their ratios, and how far the answers lie apart."""
    teacher = resolve(TeacherConfig(model=str(folder), dtype=dtype, max_pixels=None))
    paper = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    engines: dict[str, EngineProcess] = {}
    try:
        for way, (name, options) in WAYS.items():
            engines[way] = EngineProcess(name, teacher, options, environment=ONE_CORE)
            engines[way].answer(random_images(WARM_UP, 2), QUESTIONS)
        paper.submit(ask_as_in_the_paper, teacher, WARM_UP, 1).result()
        # The ways take turns, and their ratios are those of one turn: machines drift.
        turns = [take_turn(teacher, paper, engines, size, turn) for turn in range(repeats)]
    finally:
        paper.shutdown()
        for engine in engines.values():
            engine.close()

    def median(value: Callable[[dict[str, float]], float], digits: int) -> float:
        return round(statistics.median(value(turn["ms"]) for turn in turns), digits)

    return {
        "ms_per_question": {way: median(operator.itemgetter(way), 3) for way in turns[0]["ms"]},
        "paper_over_vllm": median(lambda ms: ms["paper"] / ms["vllm"], 1),
        "plain_over_vllm": median(lambda ms: ms["plain"] / ms["vllm"], 2),
        "vllm_over_packed": median(lambda ms: ms["vllm"] / ms["packed"], 2),
        "max_logprob_difference_from_paper": {way: max(turn["apart"][way] for turn in turns) for way in WAYS},
    }


def take_turn(
    teacher: ResolvedTeacher, paper: ProcessPoolExecutor, engines: dict[str, EngineProcess], size: str, turn: int
) -> dict[str, dict[str, float]]:
    """Each way once: milliseconds per question, and the largest difference from the paper's log-probabilities."""
    # Never the same images twice: their prefixes would still be in the cache.
    shown = random_images(turn, IMAGES[size])
    seconds, expected = paper.submit(ask_as_in_the_paper, teacher, turn, PAPER_IMAGES[size]).result()
    ms, apart = {"paper": 1000 * seconds}, {}
    for way, engine in engines.items():
        started = time.perf_counter()
        answers = np.stack(engine.answer(shown, QUESTIONS))
        ms[way] = 1000 * (time.perf_counter() - started) / (len(shown) * len(QUESTIONS))
        apart[way] = float(np.abs(answers[:, : PAPER_IMAGES[size], :PAPER_QUESTIONS] - expected).max())
    return {"ms": ms, "apart": apart}


def ask_as_in_the_paper(teacher: ResolvedTeacher, seed: int, images: int) -> tuple[float, np.ndarray]:
    """Median seconds per question, and log-probabilities [2, I, Q] of yes and no as its first new token."""
    assert teacher.path is not None
    processor, model = load_for_the_paper(teacher.path, teacher.config.dtype)
    tokens = find_answer_tokens(processor.tokenizer, teacher.config)
    seconds = []
    answers = np.empty((2, images, PAPER_QUESTIONS))
    for row, image in enumerate(random_images(seed, images)):
        for column, question in enumerate(QUESTIONS[:PAPER_QUESTIONS]):
            started = time.perf_counter()
            prompt = render_prompt(processor, teacher.config, question)
            output = model.generate(
                **processor(images=image, text=prompt, return_tensors="pt").to(dtype=model.dtype),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
            logprobs = torch.log_softmax(output.logits[0][0].float(), 0)
            answers[:, row, column] = [logprobs[list(ids)].logsumexp(0).item() for ids in (tokens.yes, tokens.no)]
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), answers


@cache
def load_for_the_paper(teacher_path: Path, dtype: Dtype) -> tuple[Any, Any]:
    torch.set_num_threads(1)
    model = AutoModelForImageTextToText.from_pretrained(teacher_path, dtype=getattr(torch, dtype))
    return AutoProcessor.from_pretrained(teacher_path), model.eval()


def random_images(seed: int, count: int) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (128, 128, 3), np.uint8)) for _ in range(count)]


if __name__ == "__main__":
    run_benchmark(main)

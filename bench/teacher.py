"""What a question costs by four ways of asking, on the same machine in the same run. Prints one line of JSON.

    paper        transformers, one call for each image and question, image encoded every time, 10 new tokens
    plain        vLLM's `LLM.generate` with text prompts and images
    vllm         the engine `vllm`: image rendered once, its prefix shared
    packed       the engine `transformers`: all questions of an image in one pass

On a model of 200 million parameters and on one that computes next to nothing, both with 256 image tokens and 50
questions, in float32 and bfloat16. Every way runs in a process of its own, one after the other, and is asked about
other images before the clock starts. Answers are compared with those of the first way on the pairs that it was asked;
in bfloat16 all of them are rounded, so the differences there are noise of both sides.

    python bench/teacher.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
# Python puts this file's folder first, where this file would be taken for the package `teacher`.
sys.path[0] = str(PROJECT)

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from bench.random_models import IMAGE_TOKENS, build_random_model
from storage.questions import load_questions
from teacher.config import Dtype, EngineOptions, ResolvedTeacher, TeacherConfig, resolve
from teacher.engine import EngineName
from teacher.process import EngineProcess
from teacher.prompt import find_answer_tokens, render_prompt

QUESTIONS = load_questions(PROJECT / "questions" / "scenes.yaml").texts
NEW_TOKENS = 10
# Images for each way, and those of them that the paper's way is asked about, with its first few questions: enough
# seconds to be measured, few enough to be waited for.
IMAGES = {"large": 4, "thin": 64}
PAPER_IMAGES = {"large": 2, "thin": 8}
PAPER_QUESTIONS = 3
WARM_UP = 1000  # a seed that no repeat has
# Every way computes on one core; reading and preparing images may use another.
ONE_CORE = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": str(min(os.sched_getaffinity(0)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="large,thin", help="models, separated by commas")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="separated by commas")
    parser.add_argument("--repeats", type=int, default=3, help="times that each way is measured; the median counts")
    asked = parser.parse_args()
    line: dict[str, Any] = {"benchmark": "teacher", "image_tokens": IMAGE_TOKENS, "questions": len(QUESTIONS)}
    with tempfile.TemporaryDirectory() as folder:
        for size in asked.sizes.split(","):
            line[size] = {"parameters": build_random_model(size, Path(folder) / size)}
            for dtype in asked.dtypes.split(","):
                line[size][dtype] = measure(Path(folder) / size, size, dtype, asked.repeats)
                print(f"{size} {dtype}: {json.dumps(line[size][dtype])}", file=sys.stderr)
    print(json.dumps(line))


def measure(folder: Path, size: str, dtype: Dtype, repeats: int) -> dict[str, Any]:
    """Milliseconds per question of each way, their ratios, and how far the answers lie apart."""
    teacher = resolve(TeacherConfig(model=str(folder), dtype=dtype, max_pixels=None))
    pairs = list(itertools.product(range(PAPER_IMAGES[size]), range(PAPER_QUESTIONS)))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        seconds, expected = alone.submit(ask_as_in_the_paper, teacher, IMAGES[size], pairs).result()
    ms, apart = {"paper": 1000 * seconds}, {}
    for way, engine, options in (
        ("plain", "vllm", EngineOptions(plain=True)),
        ("vllm", "vllm", EngineOptions()),
        ("packed", "transformers", EngineOptions()),
    ):
        seconds, answers = ask_engine(engine, options, teacher, IMAGES[size], repeats)
        ms[way] = 1000 * seconds
        apart[way] = max(float(np.abs(answers[:, i, q] - expected[k]).max()) for k, (i, q) in enumerate(pairs))
    return {
        "ms_per_question": {way: round(value, 3) for way, value in ms.items()},
        "paper_over_vllm": round(ms["paper"] / ms["vllm"], 1),
        "plain_over_vllm": round(ms["plain"] / ms["vllm"], 2),
        "vllm_over_packed": round(ms["vllm"] / ms["packed"], 2),
        "max_logprob_difference_from_paper": apart,
    }


def ask_engine(
    name: EngineName, options: EngineOptions, teacher: ResolvedTeacher, images: int, repeats: int
) -> tuple[float, np.ndarray]:
    """Median seconds per question, and the log-probabilities [2, I, Q] of the first repeat."""
    engine = EngineProcess(name, teacher, options, environment=ONE_CORE)
    try:
        engine.answer(pictures(WARM_UP, 2), QUESTIONS)
        seconds, answers = [], []
        for repeat in range(repeats):
            # Never the same images twice: their prefixes would still be in the cache.
            shown = pictures(repeat, images)
            started = time.perf_counter()
            answers.append(np.stack(engine.answer(shown, QUESTIONS)))
            seconds.append(time.perf_counter() - started)
    finally:
        engine.close()
    return statistics.median(seconds) / (images * len(QUESTIONS)), answers[0]


def ask_as_in_the_paper(
    teacher: ResolvedTeacher, images: int, pairs: list[tuple[int, int]]
) -> tuple[float, np.ndarray]:
    """Median seconds per question, and the log-probabilities of yes and no [pairs, 2] of its first new token."""
    torch.set_num_threads(1)
    processor: Any = AutoProcessor.from_pretrained(teacher.path)
    model: Any = AutoModelForImageTextToText.from_pretrained(teacher.path, dtype=getattr(torch, teacher.config.dtype))
    tokens = find_answer_tokens(processor.tokenizer, teacher.config)
    shown = pictures(0, images)
    seconds, answers = [], []
    for image, question in [pairs[0], *pairs]:  # the first one warms up
        started = time.perf_counter()
        prompt = render_prompt(processor, teacher.config, QUESTIONS[question])
        inputs = processor(images=shown[image], text=prompt, return_tensors="pt").to(dtype=model.dtype)
        output = model.eval().generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        logprobs = torch.log_softmax(output.logits[0][0].float(), 0)
        answers.append([logprobs[list(ids)].logsumexp(0).item() for ids in (tokens.yes, tokens.no)])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:]), np.array(answers[1:])


def pictures(seed: int, count: int) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (128, 128, 3), np.uint8)) for _ in range(count)]


if __name__ == "__main__":
    main()

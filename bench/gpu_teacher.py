"""Speed of a teacher of a published shape on a device, asked by each engine as in an extraction."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from bench.busy import finish_sampling, start_sampling, watching_gpu
from bench.shapes import SHAPES, Shape, write_teacher
from storage.questions import load_questions
from teacher.engines.base import EngineUsage, LoadedModel, TeacherDied
from teacher.engines.config import Dtype, ResolvedTeacher, TeacherConfig, resolve
from teacher.engines.options import EngineOptions
from teacher.engines.process import EngineProcess, ModelProcess, load_engine
from teacher.engines.prompt import load_processor, tokenize_questions
from teacher.engines.transformers.engine import TransformersEngine
from teacher.extraction.extract import PAIRS_AT_ONCE

QUESTIONS = load_questions(Path(__file__).parents[1] / "questions" / "scenes.yaml").texts
LOG_LINES = 80  # of an engine that failed
COUNTED = (
    "two for each weight of a matrix and token and those of attention, the image and the prompt's shared part once for "
    "all questions"
)


def measure_teacher(
    name: str,
    engine: str,
    device: str,
    *,
    seconds: float,
    arguments: Mapping[str, Any],
    quantization: str | None,
    matrix_rate: float | None,
) -> Iterator[dict[str, Any]]:
    """Ask for `seconds`; `arguments` are vLLM's, `matrix_rate` is the card's own in TFLOP/s."""
    shape = SHAPES[name]
    with tempfile.TemporaryDirectory() as folder:
        write_teacher(shape, Path(folder))
        # CPUs are slow in bfloat16.
        dtype: Dtype = "bfloat16" if device == "cuda" else "float32"
        teacher = resolve(TeacherConfig(model=folder, dtype=dtype, max_pixels=None, quantization=quantization))
        with showing(Path(folder) / "engine.log") as log:
            started = time.perf_counter()
            process = LoggedProcess(loader(engine, teacher, arguments), log)
            loaded = time.perf_counter() - started
            try:
                found = ask(process, shape, seconds if device == "cuda" else min(seconds, 2.0))
            finally:
                process.close()
        prompts = tokenize_questions(load_processor(teacher), teacher.config, QUESTIONS)
    flops = shape.flops_per_image(found["prefix_tokens"], [len(ending) for ending in prompts.endings])
    tflops = flops * found["images_per_second"] / 1e12
    yield {
        "shape": name,
        "engine": engine,
        "dtype": dtype,
        "quantization": quantization,
        "vllm_arguments": arguments,
        "questions": len(QUESTIONS),
        "image_tokens": shape.image_tokens,
        "load_seconds": round(loaded, 1),
        "slow_because": process.slow_because,
        **found,
        "questions_per_second": round(found["images_per_second"] * len(QUESTIONS), 1),
        "tflop_per_image": round(flops / 1e12, 6),
        "tflop_counts": COUNTED,
        "tflops": round(tflops, 4),
        "share_of_card": round(tflops / matrix_rate, 3) if matrix_rate else None,
    }


def loader(engine: str, teacher: ResolvedTeacher, arguments: Mapping[str, Any]) -> Callable[[], LoadedModel]:
    """Loads the engine in the process that calls it."""
    # Random weights say anything but yes and no.
    options = EngineOptions(min_answer_mass=0.0, plain=engine == "plain")
    if engine == "transformers":
        return partial(RandomTransformersEngine, teacher, options)
    return partial(
        load_engine, "vllm", teacher, options.model_copy(update={"arguments": {"load_format": "dummy", **arguments}})
    )


class LoggedProcess(EngineProcess):
    """An engine's process that prints to the file `log`: all of it is wanted where it fails."""

    def __init__(self, load: Callable[[], LoadedModel], log: Path) -> None:
        ModelProcess.__init__(self, partial(_load_logged, load, log))


def _load_logged(load: Callable[[], LoadedModel], log: Path) -> LoadedModel:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    return load()


@contextmanager
def showing(log: Path) -> Iterator[Path]:
    """Where the process that prints to the file `log` dies, the end of the file is printed, and its last line is in the
    error."""
    try:
        yield log
    except TeacherDied as error:
        written = log.read_text(errors="replace").splitlines() if log.exists() else []
        lines = [line for line in written if line.strip()][-LOG_LINES:]
        print(*lines, sep="\n", file=sys.stderr)
        raise TeacherDied(f"{lines[-1] if lines else 'no output'} ({error})") from error


class RandomTransformersEngine(TransformersEngine):
    def load_model(self, teacher: ResolvedTeacher) -> Any:
        assert teacher.path is not None
        torch.manual_seed(0)
        with self.device:
            config = AutoConfig.from_pretrained(teacher.path)
            return AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, self.config.dtype))


def ask(engine: EngineProcess, shape: Shape, seconds: float) -> dict[str, Any]:
    """Images a second, tokens, and what was busy, while as many callers ask as the engine takes."""
    chunk = max(1, PAIRS_AT_ONCE // len(QUESTIONS))
    random_images = RandomImages(shape.image_side)
    with ThreadPoolExecutor(engine.calls_at_once) as callers:

        def ask_until(deadline: float) -> None:
            def keep_asking(_: int) -> None:
                while time.perf_counter() < deadline:
                    engine.answer(random_images.next(chunk), QUESTIONS)

            list(callers.map(keep_asking, range(engine.calls_at_once)))

        ask_until(time.perf_counter() + seconds / 5)  # kernels are compiled and chosen, memory is touched
        engine.call(start_sampling)
        before = replace(engine.usage)
        gpu: dict[str, float] = {}
        with watching_gpu(gpu):
            started = time.perf_counter()
            ask_until(started + seconds)
            passed = time.perf_counter() - started
        busy = engine.call(finish_sampling)
    return {**_counts(before, engine.usage, passed), **gpu, **busy}


def _counts(before: EngineUsage, after: EngineUsage, seconds: float) -> dict[str, Any]:
    images = after.images - before.images

    def each(name: str) -> float:
        counted: float = getattr(after, name) - getattr(before, name)
        return counted / images

    return {
        "images": images,
        "images_per_second": round(images / seconds, 3),
        "prefix_tokens": round(each("prefix_tokens")),
        "question_tokens": round(each("suffix_tokens") / len(QUESTIONS), 1),
        "computed_tokens_per_image": round(each("prompt_tokens") - each("cached_tokens")),
        "render_seconds_per_image": round(each("render_seconds"), 5),
        "engine_seconds_per_image": round(each("engine_seconds"), 5),
    }


class RandomImages:
    """Noise, never the same twice: what an engine has seen would be in its caches. Safe to use from several threads."""

    def __init__(self, side: int) -> None:
        self._noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        self._shifts = itertools.product(range(side), range(side))

    def next(self, count: int) -> list[Image.Image]:
        shifts = itertools.islice(self._shifts, count)
        return [Image.fromarray(np.roll(self._noise, shift, (0, 1))) for shift in shifts]

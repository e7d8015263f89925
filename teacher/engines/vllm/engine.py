"""Engine that runs a teacher in vLLM's offline engine."""

from __future__ import annotations

import copy
import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.text import printable
from teacher.engines.answer_mass import AnswerMass, total_mass
from teacher.engines.base import REFUSALS, EngineUsage, ImageRefused
from teacher.engines.config import ResolvedTeacher, TeacherInvalid, first_line
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import Prompts, check_processor, find_answer_tokens, load_processor, tokenize_questions
from teacher.engines.vllm.load import free_vllm, load_vllm, set_defaults
from teacher.engines.vllm.rendering import CHANGED, VllmRenderer

LONGEST_PROMPT = 8192  # tokens: an image of 1 megapixel and a question stay below with all common models
CHECK_QUESTIONS = ("Is it red?", "Is the picture bright?")
WINDOW = 1024  # requests in vLLM's scheduler; it runs a few hundred of them together


class Call:
    """State of one call of `answer`: for each image, the image or its first question's request, and the known
    log-probabilities of all answer tokens [I, Q, T].

    `first_tokens` are the most likely ones of each answer.
    """

    def __init__(self, inputs: Sequence[Any], prompts: Prompts, tokens: int) -> None:
        self.inputs = inputs
        self.prompts = prompts
        self.logprobs_IQT = np.empty((len(inputs), len(prompts.texts), tokens))
        self.missing = len(inputs) * len(prompts.texts)
        self.first_tokens: list[int] = []


class VllmEngine:
    """Processes each image once; its questions follow each other, so that they find its prefix in the cache.

    Follows the contract of `TeacherEngine`. The model runs in one thread, the only one that calls vLLM's engine:
    callers prepare images meanwhile, so that with two callers the model never waits for an image. Images are prepared
    and requests submitted through private calls of vLLM. If they are missing, or with `options.plain`, `LLM.generate`
    gives the same answers more slowly.
    """

    calls_at_once = 2

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions) -> None:
        set_defaults()
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self.config = teacher.config
        # Before the model: a missing template or token is found within a second.
        self.processor: Any = load_processor(teacher)
        # A run asks the same questions about one chunk of images after the other.
        self._prompts = lru_cache(maxsize=4)(partial(tokenize_questions, self.processor, self.config))
        check_processor(self.processor, self.config, self._prompts(CHECK_QUESTIONS).texts[0])
        self.tokens = find_answer_tokens(self.processor.tokenizer, self.config)
        self._token_ids = [*self.tokens.yes, *self.tokens.no]
        self.sampling = SamplingParams(
            temperature=0,
            max_tokens=1,
            # Only these two words' tokens: returning more log-probabilities costs more than computing them.
            logprob_token_ids=self._token_ids,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self.usage = EngineUsage()
        self._mass = AnswerMass(self.config, options, self.usage)
        self._preparing = threading.Lock()  # tokenizers and image processors are not thread-safe
        self._numbers = itertools.count()
        self._waiting: deque[tuple[Call, int]] = deque()  # rows not submitted to vLLM yet
        self._asking: dict[str, tuple[Call, int, int]] = {}  # submitted requests
        # A single thread: the thread that loads binds CPU threads to cores, and CUDA to a device.
        self._model = ThreadPoolExecutor(1, "vllm")
        self.llm: Any = self._model.submit(_load, teacher, options).result()
        self._renderer, self.slow_because = (
            (None, "rendering is switched off") if options.plain else self._try_rendering()
        )

    def answer(
        self, images: Sequence[Image.Image], questions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self._mass.require()
        with self._preparing:
            started = time.perf_counter()
            prompts = self._prompts(tuple(questions))
            self._check_lengths(questions, prompts)
            # Render all images before submitting any, so that a refused image leaves no request behind.
            inputs = self._renderer.requests(images, prompts) if self._renderer else images
            call = Call(inputs, prompts, len(self._token_ids))
            self.usage.render_seconds += time.perf_counter() - started
        if self._renderer:
            self._waiting.extend((call, row) for row in range(len(images)))
            self._model.submit(self._step, call).result()
        else:
            self._model.submit(self._generate, call).result()
        each = np.split(call.logprobs_IQT, [len(self.tokens.yes)], axis=-1)
        yes, no = (np.logaddexp.reduce(logprobs, axis=-1).astype(np.float32) for logprobs in each)
        self._mass.add(total_mass(yes, no), questions, map(self.processor.tokenizer.decode, call.first_tokens))
        return yes, no

    def _check_lengths(self, questions: Sequence[str], prompts: Prompts) -> None:
        limit = self.llm.model_config.max_model_len
        for question, length in zip(questions, prompts.lengths, strict=True):
            if length >= limit:
                raise TeacherInvalid(
                    f"the question '{printable(question, 44)}' makes a prompt of {length} tokens, without an image, "
                    f"and the model takes {limit} with its answer; shorten the question, or raise --max-model-len"
                )

    def _try_rendering(self) -> tuple[VllmRenderer | None, str | None]:
        """Return the renderer, if this vLLM supports it, and the reason why it is slower than it could be."""
        try:
            renderer = VllmRenderer(self.llm, self.processor, self.config.processor, self.sampling)
            return renderer, renderer.try_out(self._prompts(CHECK_QUESTIONS))
        except (*CHANGED, ImageRefused) as error:
            return None, f"this vLLM takes no image rendered beforehand ({first_line(error)})"

    def _step(self, call: Call) -> None:
        """Run the engine until `call` is answered, together with later calls. Runs in the model's thread."""
        started = time.perf_counter()
        while call.missing:
            while self._waiting and len(self._asking) < WINDOW:
                self._submit(*self._waiting.popleft())
            for output in self.llm.llm_engine.step():
                if output.finished:
                    self._put(*self._asking.pop(output.request_id), output)
        self.usage.engine_seconds += time.perf_counter() - started

    def _submit(self, call: Call, row: int) -> None:
        """Submit all questions about one image to the engine.

        They differ only in their last tokens: having vLLM validate and prepare each would cost as much as a tiny
        model's answer.
        """
        engine = self.llm.llm_engine
        first = call.inputs[row]
        shared = len(first.prompt_token_ids) - len(call.prompts.endings[0])
        for column, ending in enumerate(call.prompts.endings):
            request = copy.copy(first)
            request.request_id = str(next(self._numbers))
            request.prompt_token_ids = first.prompt_token_ids[:shared] + ending
            self._asking[request.request_id] = call, row, column
            engine.add_request(request.request_id, request, self.sampling)

    def _generate(self, call: Call) -> None:
        """Like `answer`, using documented calls only; vLLM reads, hashes and processes the image for every question."""
        started = time.perf_counter()
        pairs = list(itertools.product(range(len(call.inputs)), range(len(call.prompts.texts))))
        try:
            outputs = self._generate_pairs(call, pairs)
        except REFUSALS:
            for row in range(len(call.inputs)):
                try:
                    self._generate_pairs(call, [(row, 0)])
                except REFUSALS as error:
                    raise ImageRefused(row, first_line(error)) from error
            raise
        for (row, column), output in zip(pairs, outputs, strict=True):
            self._put(call, row, column, output)
        self.usage.engine_seconds += time.perf_counter() - started

    def _generate_pairs(self, call: Call, pairs: Sequence[tuple[int, int]]) -> list[Any]:
        requests = [
            {"prompt": call.prompts.texts[column], "multi_modal_data": {"image": call.inputs[row]}}
            for row, column in pairs
        ]
        outputs: list[Any] = self.llm.generate(requests, self.sampling, use_tqdm=False)
        return outputs

    def _put(self, call: Call, row: int, column: int, output: Any) -> None:
        """Store one answer, and count its tokens."""
        logprobs = output.outputs[0].logprobs[0]
        call.logprobs_IQT[row, column] = [logprobs[token].logprob for token in self._token_ids]
        call.first_tokens.append(output.outputs[0].token_ids[0])
        call.missing -= 1
        prompt, suffix = len(output.prompt_token_ids), len(call.prompts.endings[column])
        if column == 0:
            self.usage.images += 1
            self.usage.prefix_tokens += prompt - suffix
        self.usage.questions += 1
        self.usage.suffix_tokens += suffix
        self.usage.prompt_tokens += prompt
        self.usage.cached_tokens += output.num_cached_tokens or 0

    def close(self) -> None:
        self._model.shutdown()
        del self.llm
        free_vllm()


def _load(teacher: ResolvedTeacher, options: EngineOptions) -> Any:
    own: dict[str, Any] = {
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        # Scores in float32 from a bf16 model; at the top level this would do nothing for models with images.
        "hf_overrides": {"text_config": {"head_dtype": "float32"}},
        "mm_processor_kwargs": dict(teacher.config.processor) or None,
    }
    if not options.plain:
        # Each image is rendered once anyway, and in this process the rendered ones need no copies.
        own["mm_processor_cache_gb"] = 0
    return load_vllm(teacher, options, LONGEST_PROMPT, **own)

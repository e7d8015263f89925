"""Convert images and a question to vLLM's requests; images of one size are rendered together."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from teacher.engines.base import REFUSALS, ImageRefused
from teacher.engines.config import first_line
from teacher.engines.prompt import Prompts

ALIKE = 6  # images of one size from which on rendering them together pays: vLLM renders two of them as well
TOGETHER, TOGETHER_BYTES = 32, 64 << 20  # images, and bytes of their tensors, in one call of the image processor
# Some models take bytes and normalise them themselves.
RAW = {"do_rescale": False, "do_normalize": False}
# Errors if vLLM's private objects have changed.
CHANGED = (AttributeError, KeyError, AssertionError)


class VllmRenderer:
    """Creates vLLM's request for the first question about each image.

    vLLM renders images one by one and spends milliseconds of Python on each, in which a small model answers several.
    Images of one size differ only in their pixels: vLLM renders the first one, and the others get copies of its request
    with the tensors that the model's image processor returns for many images in one call. The last one is rendered by
    vLLM too and has to match; if it does not, vLLM renders them all.
    """

    def __init__(self, llm: Any, processor: Any, settings: Mapping[str, Any], sampling: Any) -> None:
        self._renderer = llm.renderer
        self._engine = llm.llm_engine
        self._process = processor.image_processor
        self._settings = settings
        self._sampling = sampling
        self._fewest: float = ALIKE  # images of one size that are rendered together
        # vLLM keeps what it computed for an image under a key. A number will do: each image is rendered once, and
        # hashing the pixels of a large one takes longer than decoding it.
        self._keys = itertools.count()

    def try_out(self, prompts: Prompts) -> str | None:
        """Return why images have to be rendered one by one; None if they do not.

        Raises ImageRefused or one of `CHANGED` if they cannot be rendered at all.
        """
        images = [Image.effect_noise((84, 56), 50).convert("RGB") for _ in range(ALIKE)]
        self.alone(images[0], prompts)
        if self.together(images, prompts):
            return None
        self._fewest = math.inf
        return "images are rendered one by one: this vLLM gives the model more than its image processor makes"

    def requests(self, images: Sequence[Image.Image], prompts: Prompts) -> list[Any]:
        """Return one request per image, in order. Raises ImageRefused."""
        requests: list[Any] = [None] * len(images)
        sizes: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            sizes.setdefault(image.size, []).append(index)
        for indices in sizes.values():
            alike = [images[index] for index in indices]
            rendered = self.together(alike, prompts) if len(alike) >= self._fewest else None
            if rendered is None:
                rendered = [self.alone(images[index], prompts, index) for index in indices]
            for index, request in zip(indices, rendered, strict=True):
                requests[index] = request
        return requests

    def alone(self, image: Image.Image, prompts: Prompts, index: int = 0) -> Any:
        """Return the request for an image rendered by vLLM. Raises ImageRefused, with `index`."""
        prompt = {"prompt": prompts.texts[0], "multi_modal_data": {"image": image}}
        try:
            (rendered,) = self._renderer.render_cmpl([prompt], skip_mm_cache=True)
            tasks = self._engine.get_supported_tasks()
            request = self._engine.input_processor.process_inputs("", rendered, self._sampling, tasks)
        except REFUSALS as error:
            raise ImageRefused(index, first_line(error)) from error
        tokens = request.prompt_token_ids
        shared = len(tokens) - len(prompts.endings[0])
        longest, limit = shared + max(map(len, prompts.endings)), self._engine.model_config.max_model_len
        if longest >= limit:
            reason = f"with the longest question it takes {longest} tokens, and the model {limit} with its answer"
            raise ImageRefused(index, f"{reason}; lower --max-pixels, or raise --max-model-len")
        places = [feature.mm_position for feature in request.mm_features]
        assert tokens[shared:] == prompts.endings[0], "the processor changed the text behind the image"
        assert max(place.offset + place.length for place in places) <= shared, "the question comes before the image"
        return request

    def together(self, images: Sequence[Image.Image], prompts: Prompts) -> list[Any] | None:
        """Return the requests for images of one size; None if the image processor alone gives other results than
        vLLM."""
        try:
            first, last = self.alone(images[0], prompts), self.alone(images[-1], prompts)
            (feature,) = first.mm_features
            items = list(self._items(images, feature.data))
            if (first.prompt_token_ids, items[-1]) != (last.prompt_token_ids, last.mm_features[0].data):
                return None
        except (*CHANGED, *REFUSALS):  # rendering one by one finds the image
            return None
        requests = []
        for item in items:
            key = f"rendered-{next(self._keys)}"
            request = copy.copy(first)
            request.mm_features = [replace(feature, data=item, identifier=key, mm_hash=key)]
            requests.append(request)
        return requests

    def _items(self, images: Sequence[Image.Image], template: Any) -> Iterator[Any]:
        """Return the model's input for each image: `template` with the image processor's tensors."""
        size = sum(element.data.nbytes for element in template.values())
        is_raw = any(element.data.dtype == torch.uint8 for element in template.values())
        settings = {**self._settings, **(RAW if is_raw else {})}
        count = max(1, min(TOGETHER, TOGETHER_BYTES // size))
        for start in range(0, len(images), count):
            chunk = list(images[start : start + count])
            made = self._process(images=chunk, return_tensors="pt", **settings)
            own = {name: made[name] for name in template if name in made}
            for index in range(len(chunk)):
                item = copy.copy(template)
                for name, values in own.items():
                    pattern = template[name].data
                    data = values.to(pattern.dtype).reshape(len(chunk), *pattern.shape)[index]
                    item[name] = replace(template[name], data=data)
                yield item

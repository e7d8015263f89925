"""Writer that runs a language model in vLLM's offline engine, constrained to a JSON schema."""

from __future__ import annotations

from typing import Any

from teacher.engines.base import REFUSALS, EngineUsage
from teacher.engines.config import ResolvedTeacher, TeacherInvalid, first_line
from teacher.engines.options import EngineOptions
from teacher.engines.prompt import load_processor
from teacher.engines.vllm.load import free_vllm, load_vllm
from teacher.engines.writer import TEMPERATURE, WritingRequest, WrittenReply

# Otherwise a confused model writes white space until the length limit.
COMPACT = {"backend": "xgrammar", "disable_any_whitespace": True}
LONGEST = 12288  # tokens: a thousand class names, a few images of a megapixel and the answer


class VllmWriter:
    """Follows `Writer`; `images` is the maximum number of images in a request."""

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self, teacher: ResolvedTeacher, options: EngineOptions, images: int = 0) -> None:
        self.model = teacher.config.model
        self.usage = EngineUsage()
        self._takes_images = images > 0 and _takes_images(teacher)
        own: dict[str, Any] = {"structured_outputs_config": COMPACT}
        if self._takes_images:
            own["limit_mm_per_prompt"] = {"image": images, "video": 0}
            own["mm_processor_kwargs"] = dict(teacher.config.processor) or None
        self.llm: Any = load_vllm(teacher, options, LONGEST, **own)

    def write(self, request: WritingRequest) -> WrittenReply:
        from vllm import SamplingParams, exceptions
        from vllm.sampling_params import StructuredOutputsParams

        # vLLM 0.23 has only the second class, which is a ValueError there.
        refusal = getattr(exceptions, "VLLMClientError", exceptions.VLLMValidationError)

        images = request.images if self._takes_images else ()
        shown = [{"type": "image_pil", "image_pil": image} for image in images]
        message: dict[str, Any] = {"role": "user", "content": [*shown, {"type": "text", "text": request.prompt}]}
        sampling = SamplingParams(
            temperature=TEMPERATURE,
            seed=request.seed,
            max_tokens=request.length,
            structured_outputs=StructuredOutputsParams(json=dict(request.schema)),
        )
        try:
            # Templates without this switch ignore it.
            switches = {"enable_thinking": False}
            (output,) = self.llm.chat([message], sampling, use_tqdm=False, chat_template_kwargs=switches)
        except (*REFUSALS, refusal) as error:
            raise TeacherInvalid(
                f"model {self.model} cannot take what it is to write from ({first_line(error)}); it needs a chat "
                "template, and room for class names, images and answer (--max-model-len)"
            ) from error
        self.usage.prompt_tokens += len(output.prompt_token_ids)
        (written,) = output.outputs
        return WrittenReply(text=written.text, cut=written.finish_reason == "length", saw_images=bool(shown))

    def close(self) -> None:
        del self.llm
        free_vllm()


def _takes_images(teacher: ResolvedTeacher) -> bool:
    try:
        load_processor(teacher)
    except TeacherInvalid:
        return False
    return True

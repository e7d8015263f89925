"""Engine for servers with OpenAI's chat completions API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from teacher.engines.registry import Engine, engine

if TYPE_CHECKING:
    from teacher.engines.base import TeacherEngine, TextModel
    from teacher.engines.config import ResolvedTeacher
    from teacher.engines.options import EngineOptions
    from teacher.engines.writer import Writer


@engine("openai")
class OpenAI(Engine):
    """Asks a server; its arguments are fields of every request."""

    served = True
    flag = "--request"
    flag_help = "Field of every request to the server, NAME=VALUE; repeatable."
    # Fields that change nothing about an answer's first token.
    # fmt: off
    speed_arguments = frozenset(
        (
            "user", "metadata", "store", "service_tier", "priority", "request_id", "prompt_cache_key",
            "prompt_cache_retention", "safety_identifier", "seed", "max_tokens", "max_completion_tokens",
            "cache_salt", "timeout",
        )
    )
    # fmt: on
    refused_arguments: ClassVar[Mapping[str, str]] = {
        "model": "--teacher",
        "messages": "--prompt",
        "logprobs": "--top-logprobs",
        "top_logprobs": "--top-logprobs",
        "stream": "",
        "n": "",
    }

    def load(self, teacher: ResolvedTeacher, options: EngineOptions) -> TeacherEngine:
        from teacher.engines.openai.engine import OpenAIEngine

        return OpenAIEngine(teacher, options)

    def load_text_model(self, teacher: ResolvedTeacher, options: EngineOptions) -> TextModel:
        from teacher.engines.openai.text import OpenAITextModel

        return OpenAITextModel(teacher, options)

    def load_writer(self, teacher: ResolvedTeacher, options: EngineOptions, images: int) -> Writer:
        from teacher.engines.openai.writer import OpenAIWriter

        return OpenAIWriter(teacher, options)

    def check(self, options: EngineOptions) -> None:
        from teacher.engines.openai.transport import check_address, check_variable

        check_address(options.base_url)
        check_variable(options.api_key_variable)

    def answer_settings(self, options: EngineOptions) -> dict[str, Any]:
        from teacher.engines.config import TOP_LOGPROBS

        settings = super().answer_settings(options)
        if options.top_logprobs != TOP_LOGPROBS:
            settings["top_logprobs"] = options.top_logprobs  # unlisted answers get a bound
        return settings

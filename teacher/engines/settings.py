"""Which settings of an engine change its answers, and so belong to the teacher's fingerprint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from teacher.engines.base import EngineName
from teacher.engines.config import TOP_LOGPROBS, TeacherInvalid
from teacher.engines.redaction import excerpt, hide_secrets

# Arguments of vllm.LLM that change speed and memory alone. Any other is taken to change answers: a new one that does
# would go unnoticed, and one that does not costs asking again.
# fmt: off
VLLM_SPEED = frozenset(
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
# Fields of a request that change nothing about an answer's first token.
# fmt: off
REQUEST_SPEED = frozenset(
    (
        "user", "metadata", "store", "service_tier", "priority", "request_id", "prompt_cache_key",
        "prompt_cache_retention", "safety_identifier", "seed", "max_tokens", "max_completion_tokens",
        "cache_salt", "timeout",
    )
)
# fmt: on
# What has an option of its own, which the teacher is known by.
OPTIONS = {
    "vllm": {
        "model": "--teacher",
        "revision": "--revision",
        "dtype": "--dtype",
        "quantization": "--quantization",
        "trust_remote_code": "--trust-remote-code",
    },
    "openai": {
        "model": "--teacher",
        "messages": "--prompt",
        "logprobs": "--top-logprobs",
        "top_logprobs": "--top-logprobs",
        "stream": "",
        "n": "",
    },
}
FLAGS = {"vllm": "--vllm", "openai": "--request"}


def answer_settings(engine: EngineName, arguments: Mapping[str, Any], top_logprobs: int) -> dict[str, Any]:
    """What of an engine's settings changes answers: empty for plain defaults. Secrets among the values are hidden.

    Raises TeacherInvalid for arguments that the engine cannot be given.
    """
    if engine == "transformers":  # it takes none of them
        return {}
    flag, speed = FLAGS[engine], VLLM_SPEED if engine == "vllm" else REQUEST_SPEED
    for name, value in arguments.items():
        if name in OPTIONS[engine]:
            other = OPTIONS[engine][name]
            raise TeacherInvalid(f"{flag} {name} is not to be set; {f'use {other}' if other else 'leave it out'}")
        check_json(f"{flag} {name}", value)
    decisive = hide_secrets({name: value for name, value in arguments.items() if name not in speed})
    settings: dict[str, Any] = {flag.removeprefix("--"): decisive} if decisive else {}
    if engine == "openai" and top_logprobs != TOP_LOGPROBS:
        settings["top_logprobs"] = top_logprobs  # what is not listed gets a bound
    return settings


def check_json(setting: str, value: Any) -> None:
    """Raises TeacherInvalid for a value that JSON does not have: a date, infinity, text that is none."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        shown = excerpt(repr(value)[:200], limit=60) if not isinstance(error, RecursionError) else "..."
        raise TeacherInvalid(f"{setting} is {shown}, which JSON cannot hold; write a number, text or a list") from error

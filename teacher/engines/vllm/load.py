"""Load a model into vLLM's offline engine."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from storage.documents import read_json
from storage.platform import torchvision_ops
from teacher.engines.config import ResolvedTeacher, TeacherInvalid, first_line
from teacher.engines.options import EngineOptions

# Read when vllm is imported. The engine runs in this process, which is one of our own already (`../process.py`):
# a second one would only add start-up time and copies.
DEFAULTS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
STEP_REQUESTS, STEP_TOKENS = 512, 16384  # at most, on a CPU
CACHE_LIMIT = 2 << 30  # bytes, on a CPU


def set_defaults() -> None:
    """Set environment variables before vllm is first imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    torchvision_ops.reach_subprocesses()  # vLLM inspects a model's class in a separate process


def load_vllm(teacher: ResolvedTeacher, options: EngineOptions, longest: int, **own: Any) -> Any:
    """Return vLLM's `LLM` with room for `longest` tokens unless `options` set another limit; `own` are the caller's
    arguments.

    Raises TeacherInvalid for a model that it cannot load.
    """
    set_defaults()
    import torch
    from vllm import LLM

    arguments: dict[str, Any] = {
        "model": str(teacher.path),
        "dtype": teacher.config.dtype,
        "trust_remote_code": teacher.config.trust_remote_code,
        "max_model_len": options.max_model_len or longest_prompt(teacher, longest),
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "seed": 0,
        "quantization": teacher.config.quantization,
        **own,
        **options.arguments,
    }
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        arguments.setdefault("enforce_eager", True)
        if not options.plain:
            # Steps as on a large GPU: the more requests in one, the less each pays for it. Blocks as small as they
            # come: what is left of a prefix behind its last whole block is computed again for every question.
            steps = {"max_num_seqs": STEP_REQUESTS, "max_num_batched_tokens": STEP_TOKENS, "block_size": 32}
            arguments = {**steps, **arguments}
    if on_cpu and arguments["enforce_eager"]:
        # vLLM compiles one small function even so, with a C++ compiler that may not be there.
        torch.compiler.set_stance("force_eager")
    _keep_no_meeting_file()
    try:
        if on_cpu:
            arguments.setdefault("kv_cache_memory_bytes", _cache_bytes(teacher))
        return LLM(**arguments)
    except ValidationError as error:  # the first line only counts the errors
        reasons = ", ".join(one["msg"].removeprefix("Value error, ").splitlines()[0] for one in error.errors())
        raise TeacherInvalid(f"vLLM cannot load {teacher.path}: {reasons}") from error
    except (ValueError, OSError, KeyError, TypeError) as error:  # TypeError: an unknown argument
        raise TeacherInvalid(f"vLLM cannot load {teacher.path}: {first_line(error)}") from error


def _keep_no_meeting_file() -> None:
    """Give vLLM's rendezvous an unnamed file.

    Processes of one model find each other through a file in the temporary folder, which remains when they are killed.
    Here the model has a single process.
    """
    from vllm.v1.executor import uniproc_executor

    named = "get_file_store_init_method"
    # Other releases of vLLM may find each other in another way, and other systems cannot open such a file.
    if hasattr(uniproc_executor, named) and Path("/proc/self/fd").is_dir():
        nameless = os.memfd_create("vllm")
        setattr(uniproc_executor, named, lambda: f"file:///proc/self/fd/{nameless}")


def free_vllm() -> None:
    """Free the memory of a model whose other references are gone."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    gc.collect()
    cleanup_dist_env_and_memory()


def _cache_bytes(teacher: ResolvedTeacher) -> int:
    """Return the size of vLLM's key-value cache on a CPU: four steps' worth.

    This holds the requests of a window and their shared prefixes. Prefixes of finished images are not needed again, and
    touching memory for the first time is slow.
    """
    from transformers import AutoConfig

    assert teacher.path is not None
    model = AutoConfig.from_pretrained(teacher.path, trust_remote_code=teacher.config.trust_remote_code)
    text = model.get_text_config()
    number_size = 4 if teacher.config.dtype == "float32" else 2
    try:
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        token_size = 2 * text.num_hidden_layers * heads * head_size * number_size
    except AttributeError:  # a model with names of its own
        return CACHE_LIMIT
    return min(CACHE_LIMIT, 4 * STEP_TOKENS * token_size)


def longest_prompt(teacher: ResolvedTeacher, longest: int) -> int:
    """Return the tokens to reserve for one prompt and its answer: the model's limit, but at most `longest`."""
    assert teacher.path is not None
    document = read_json(teacher.path / "config.json")
    text = document.get("text_config", document)
    return min(longest, int(text.get("max_position_embeddings") or longest))

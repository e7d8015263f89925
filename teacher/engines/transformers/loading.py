"""What models asked with and without images have in common: loading, the trial of packing, and closing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from teacher.engines.config import ResolvedTeacher, TeacherConfig, TeacherInvalid, first_line
from teacher.engines.transformers.packed import obstacle

# How far packed and plain log-probabilities may lie apart before packing is taken to be wrong for a model. In half
# precision the order of summation alone moves them by tenths.
ALLOWED = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.5}


def require_stored_weights(config: TeacherConfig) -> None:
    """Raise TeacherInvalid for a teacher that is to be quantized when it is loaded."""
    if config.quantization is not None:
        raise TeacherInvalid(
            f"the engine transformers does not quantize ({config.quantization}); use --engine vllm, or a model whose "
            "weights are stored that way"
        )


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_pretrained(teacher: ResolvedTeacher, *kinds: Any, what: str) -> Any:
    """Load the model as the first of `kinds`, auto classes of transformers, that can. Raises TeacherInvalid, which
    calls the model `what`."""
    assert teacher.path is not None, "a served teacher has no files here"
    reasons: list[str] = []
    for kind in kinds:
        try:
            return kind.from_pretrained(
                teacher.path,
                dtype=getattr(torch, teacher.config.dtype),
                trust_remote_code=teacher.config.trust_remote_code,
            )
        except (ValueError, OSError, KeyError, ImportError) as error:
            reasons.append(first_line(error))
    raise TeacherInvalid(f"transformers cannot load {teacher.path} as {what} ({'; '.join(dict.fromkeys(reasons))})")


def prepare(model: Any, device: torch.device) -> Any:
    """Move a model to its device. Its last layer computes scores in float32 whatever the model's dtype: bf16 rounds
    logits above 16 to steps of 0.125."""
    model.get_output_embeddings().register_forward_hook(_float32_logits)
    return model.to(device).eval()


def why_not_packed(model: Any, trial: Callable[[], float]) -> str | None:
    """Return why this model's questions are not packed; None if they are. Checks its structure, then makes a `trial`,
    which returns the largest difference between packed and plain log-probabilities."""
    try:
        if reason := obstacle(model):
            return f"its questions cannot be packed: {reason}"
        difference = trial()
    except Exception as error:  # an untested model may fail in any way: fall back to plain passes
        return f"a trial of packing its questions failed ({first_line(error)})"
    if difference <= ALLOWED[model.dtype]:
        return None
    return f"packing its questions moved the answers by {difference:.2g} in a trial"


def release_memory(device: torch.device) -> None:
    """Give memory of a model that was deleted back to the GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _float32_logits(head: torch.nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    """Forward hook of a model's last layer."""
    if output.dtype == torch.float32:
        return output
    bias = None if head.bias is None else head.bias.float()
    return torch.nn.functional.linear(inputs[0].float(), head.weight.float(), bias)

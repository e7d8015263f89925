"""Models with random weights for benchmarks: their answers are noise, their cost is real.

InternVL in its Hugging Face form with a Qwen3 language model, 256 image tokens, the bundled teacher's tokenizer, and
its chat template without the system line. `large` has 219 million parameters; `thin` computes next to nothing, so that
what is left is overhead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, InternVLConfig, InternVLForConditionalGeneration

from teacher.engines.config import TINY_MODEL
from teacher.tiny import architecture

IMAGE_TOKENS = 256
SYSTEM = f"<|im_start|>system\n{architecture.SYSTEM}<|im_end|>\n"
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "large": {
        "vision": {"image_size": [448, 448], "patch_size": [14, 14], "hidden_size": 512, "num_hidden_layers": 12},
        "text": {"hidden_size": 1024, "num_hidden_layers": 14, "num_key_value_heads": 8, "intermediate_size": 3072},
    },
    "thin": {
        "vision": {"image_size": [128, 128], "patch_size": [8, 8], "hidden_size": 64, "num_hidden_layers": 1},
        "text": {"hidden_size": 64, "num_hidden_layers": 2, "num_key_value_heads": 2, "intermediate_size": 128},
    },
}


def build_random_model(size: str, folder: Path, *, seed: int = 0) -> int:
    """Write the model of this size to `folder`; returns its number of parameters."""
    torch.manual_seed(seed)
    processor: Any = AutoProcessor.from_pretrained(TINY_MODEL)
    processor.chat_template = processor.chat_template.replace(SYSTEM, "")
    vocabulary = processor.tokenizer.get_vocab()
    vision, text = SIZES[size]["vision"], SIZES[size]["text"]
    config = InternVLConfig(
        vision_config={
            **vision,
            "num_attention_heads": vision["hidden_size"] // 64,
            "intermediate_size": 4 * vision["hidden_size"],
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(vocabulary),
            "num_attention_heads": text["hidden_size"] // 32 if size == "thin" else text["hidden_size"] // 64,
            "head_dim": 32 if size == "thin" else 64,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            "tie_word_embeddings": True,
            "bos_token_id": None,
            # No answer may end early: every route computes as many tokens as it is asked for.
            "eos_token_id": vocabulary["<|endoftext|>"],
            "pad_token_id": vocabulary["<|endoftext|>"],
            **text,
        },
        image_token_id=vocabulary["<IMG_CONTEXT>"],
        image_seq_length=IMAGE_TOKENS,
        # 32 x 32 patches to 256 tokens, or 16 x 16 as they are.
        downsample_ratio=0.5 if size == "large" else 1.0,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    height, width = vision["image_size"]
    processor.image_processor.size = {"height": height, "width": width}
    processor.video_processor.size = {"height": height, "width": width}
    processor.image_seq_length = IMAGE_TOKENS
    processor.tokenizer.model_max_length = 2048
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())

"""Teachers of published shapes with random weights: their answers are noise, their cost is real.

A folder gets configuration, tokenizer, image processor and chat template; the weights are drawn on the device when it
is loaded. The shapes are those of Qwen3-VL, the tokenizer is the bundled teacher's with Qwen's marks around images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen3VLConfig, Qwen3VLProcessor, Qwen3VLVideoProcessor

from teacher.engines.config import TINY_MODEL

MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PATCH, MERGE, FRAMES = 16, 2, 2  # pixels of a patch's side, patches of a token's side, frames of a patch


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model's sizes; `image_side` in pixels is what gives as many image tokens as are measured with."""

    image_side: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    tied: bool
    vision_layers: int
    vision_hidden: int
    vision_heads: int
    vision_inner: int
    deepstack: tuple[int, ...]
    head_size: int = 128

    @property
    def image_tokens(self) -> int:
        return (self.image_side // (PATCH * MERGE)) ** 2

    @property
    def layer_weights(self) -> int:
        """In the matrices of one layer of the language model."""
        heads = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_size
        return heads + 3 * self.hidden * self.inner

    @property
    def block_weights(self) -> int:
        """In the matrices of one layer of the image encoder."""
        return 4 * self.vision_hidden**2 + 2 * self.vision_hidden * self.vision_inner

    def flops_per_image(self, prefix: int, endings: Sequence[int]) -> float:
        """Of all questions about one image, `prefix` tokens shared by them and the tokens of each ending: two for each
        weight of a matrix and token, and the products of attention, causal in the language model. The prefix counts
        once, whatever an engine computes; scores over the vocabulary count for the last token of each question."""
        tokens = prefix + sum(endings)
        attended = prefix**2 / 2 + sum(ending * prefix + ending**2 / 2 for ending in endings)
        text = self.layers * (2 * self.layer_weights * tokens + 4 * self.heads * self.head_size * attended)
        head = 2 * self.hidden * self.vocabulary * len(endings)
        return text + head + self._vision_flops()

    def _vision_flops(self) -> float:
        patches, joined = self.image_tokens * MERGE**2, self.vision_hidden * MERGE**2
        attention = 4 * self.vision_hidden * patches
        embedding = 3 * FRAMES * PATCH**2 * self.vision_hidden
        merger = (joined**2 + joined * self.hidden) * (1 + len(self.deepstack))
        return (
            patches * (self.vision_layers * (2 * self.block_weights + attention) + 2 * embedding)
            + 2 * merger * self.image_tokens
        )


# Of the published configurations Qwen3-VL-8B-Instruct and Qwen3-VL-2B-Instruct.
SHAPES = {
    "8b": Shape(
        image_side=512,
        layers=36,
        hidden=4096,
        heads=32,
        kv_heads=8,
        inner=12288,
        vocabulary=151_936,
        tied=False,
        vision_layers=27,
        vision_hidden=1152,
        vision_heads=16,
        vision_inner=4304,
        deepstack=(8, 16, 24),
    ),
    "2b": Shape(
        image_side=512,
        layers=28,
        hidden=2048,
        heads=16,
        kv_heads=8,
        inner=6144,
        vocabulary=151_936,
        tied=True,
        vision_layers=24,
        vision_hidden=1024,
        vision_heads=16,
        vision_inner=4096,
        deepstack=(5, 11, 17),
    ),
    # Computes next to nothing: to try a benchmark out.
    "tiny": Shape(
        image_side=256,
        layers=2,
        hidden=128,
        heads=4,
        kv_heads=2,
        inner=256,
        vocabulary=1024,
        tied=True,
        vision_layers=2,
        vision_hidden=64,
        vision_heads=2,
        vision_inner=128,
        deepstack=(0,),
        head_size=32,
    ),
}


def write_teacher(shape: Shape, folder: Path) -> None:
    """Everything but the weights."""
    tokenizer: Any = AutoTokenizer.from_pretrained(TINY_MODEL)
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    half = [0.5, 0.5, 0.5]
    patches = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": FRAMES}
    pixels = {"image_mean": half, "image_std": half, "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels, **patches),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**pixels, **patches),
        chat_template=TEMPLATE,
    )
    _config(shape, tokenizer).save_pretrained(folder)
    processor.save_pretrained(folder)


def _config(shape: Shape, tokenizer: Any) -> Qwen3VLConfig:
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(MARKS))
    unit = shape.head_size // 16
    return Qwen3VLConfig(
        architectures=["Qwen3VLForConditionalGeneration"],
        dtype="bfloat16",
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_hidden,
            "num_heads": shape.vision_heads,
            "intermediate_size": shape.vision_inner,
            "out_hidden_size": shape.hidden,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": FRAMES,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": list(shape.deepstack),
        },
        text_config={
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_size,
            "intermediate_size": shape.inner,
            "max_position_embeddings": 262_144,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_interleaved": True,
                # Of half a head: time, rows and columns.
                "mrope_section": [3 * unit, 5 * unit // 2, 5 * unit // 2],
            },
            "tie_word_embeddings": shape.tied,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.eos_token_id,
        },
        tie_word_embeddings=shape.tied,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )

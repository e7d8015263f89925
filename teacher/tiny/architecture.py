"""The tiny teacher before training: configuration, tokenizer, chat template and image processor.

The architecture is Hugging Face's InternVL with a Qwen3 language model, which transformers and vLLM both support. The
size of the file limits all sizes below: 2.7 million parameters are 5.3 MB in float16.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
)

IMAGE_SIZE = 64
PATCH_SIZE = 8
IMAGE_TOKENS = 16  # 8x8 patches, four of them merged into one token
MEAN_STD = ([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
MAX_LENGTH = 512

ANSWERS = ("Yes", "No")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<IMG_CONTEXT>", "<img>", "</img>", "<video>")
# The system message makes the part that all questions of an image share longer than 32 tokens, vLLM's smallest block
# on a CPU: only whole blocks are cached.
SYSTEM = "You look at a picture and answer a question about it."
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tokenizer(sentences: Iterable[str], *, vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on `sentences`: it accepts any text, ignores case, and has one token each for
    "Yes" and "No"."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(ANSWERS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    # Repeated, so that its words become tokens: it is part of every prompt.
    tokenizer.train_from_iterator([*sentences, *[f"{SYSTEM}\nsystem\nuser\nassistant\n"] * 100], trainer)
    # Not special, since decoding must keep them; not normalised, since only the capital letter makes them unique.
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in ANSWERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> InternVLProcessor:
    """Build the processor: any image becomes one tile of 64x64; messages have Hugging Face's format, image before
    text."""
    mean, std = MEAN_STD
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = GotOcr2ImageProcessor(
        size=size, image_mean=mean, image_std=std, crop_to_patches=False, min_patches=1, max_patches=1
    )
    videos = InternVLVideoProcessor(size=size, image_mean=mean, image_std=std)
    return InternVLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=videos,
        image_seq_length=IMAGE_TOKENS,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> InternVLForConditionalGeneration:
    """Build the model with random weights, float32."""

    def token_id(word: str) -> int:
        return tokenizer.get_vocab()[word]

    config = InternVLConfig(
        vision_config={
            "image_size": [IMAGE_SIZE, IMAGE_SIZE],
            "patch_size": [PATCH_SIZE, PATCH_SIZE],
            "hidden_size": 192,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "intermediate_size": 384,
            "attention_bias": True,
            "layer_scale_init_value": 0.3,
            "use_mean_pooling": True,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 32,  # vLLM's CPU attention takes multiples of 32 and 48
            "intermediate_size": 384,
            "max_position_embeddings": MAX_LENGTH,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": token_id("<|im_end|>"),
            "pad_token_id": token_id("<|endoftext|>"),
        },
        image_token_id=token_id("<IMG_CONTEXT>"),
        image_seq_length=IMAGE_TOKENS,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=token_id("<|im_end|>"), pad_token_id=token_id("<|endoftext|>"), max_new_tokens=1, do_sample=False
    )
    return model


def save(model: InternVLForConditionalGeneration, processor: InternVLProcessor, folder: Path) -> None:
    """Write all files for `from_pretrained` and vLLM, weights as float16.

    The configuration still says float32: float16 makes the file small, and float32 the computation exact.
    """
    weights = {name: value.half() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=weights)
    processor.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # transformers writes it for its owner only

"""Tokenizers, chat templates and language model configurations of the random models in `families.py`."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MAX_LENGTH = 1024
SENTENCES = (
    "Answer with Yes or No and nothing else.",
    "You are a helpful assistant.\nsystem\nuser\nassistant\nUser:\nAssistant:",
    "Is there something red or blue in the picture? Does the flower have a ruffled edge? Are the petals round?",
)
# Of the language model. vLLM's attention on a CPU takes heads of 32, not of 16.
TEXT = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": MAX_LENGTH,
    "rms_norm_eps": 1e-6,
    "bos_token_id": None,
}
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}


def train_tokenizer(special: tuple[str, ...], end: str, **named: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens. `named` special tokens become attributes, as some processors want."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=510,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", *special],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in ("Yes", "No")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        eos_token=end,
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=named,
    )


def text_config(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    """Configuration of the language model."""
    return {
        **TEXT,
        "vocab_size": len(tokenizer),
        "rope_parameters": ROPE,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def chat_template(image: str, opening: str, closing: str, answer: str, *, system: str = "") -> str:
    """A chat template: `opening` and `closing` are Jinja expressions around each message, `image` stands for one."""
    return (
        f"{{{{ {system!r} }}}}{{% for message in messages %}}{{{{ {opening} }}}}{{% for part in message['content'] %}}"
        f"{{% if part['type'] == 'image' %}}{{{{ {image!r} }}}}"
        "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        f"{{% endfor %}}{{{{ {closing!r} }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {answer!r} }}}}{{% endif %}}"
    )


CHATML = "'<|im_start|>' + message['role'] + '\n'"
CHATML_ANSWER = "<|im_start|>assistant\n"


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    number = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(number, int)
    return number

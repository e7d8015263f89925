"""What decides a teacher's answers, and its fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from storage.errors import InputInvalid

TINY_MODEL = Path(__file__).parent / "tiny" / "model"
DEFAULT_PROMPT = "{question}\nAnswer with Yes or No and nothing else."
# Files of a model folder that change its answers.
ANSWERING_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")

# Teachers that answer have 0.9 and more, random weights a few thousandths; one that thinks first, or speaks another
# language, has a millionth.
MIN_ANSWER_MASS = 1e-3

Dtype = Literal["float32", "bfloat16", "float16"]


class TeacherInvalid(InputInvalid):
    """The teacher cannot be used as it is configured; the message says what, where and what to do."""


class AnswerTokenMissing(TeacherInvalid):
    """The tokenizer has no single token for yes or for no."""


class ChatTemplateMissing(TeacherInvalid):
    """The model comes without a chat template, so nobody knows how to put a question to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    """Everything that changes an answer.

    `model` is a folder or a Hugging Face model name, `revision` its branch, tag or commit. `prompt` is the user's
    message with `{question}` in it; the image always comes before it. `yes_words` and `no_words` count in every
    spelling (case, leading space) that the tokenizer has as a single token. Photos with more than `max_pixels` pixels
    are scaled down first; None leaves that to the model's own processor, for which `processor` has settings, e.g.
    {"max_patches": 1} for one tile of InternVL. `quantization` is what vLLM makes of the weights: fp8, ...
    """

    model: str
    revision: str | None = None
    prompt: str = DEFAULT_PROMPT
    yes_words: tuple[str, ...] = ("Yes",)
    no_words: tuple[str, ...] = ("No",)
    dtype: Dtype = "bfloat16"
    max_pixels: int | None = 1_048_576
    processor: Mapping[str, Any] = field(default_factory=dict)
    quantization: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt:
            raise TeacherInvalid(f"prompt {self.prompt!r} has no '{{question}}'; put it where the question belongs")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise TeacherInvalid(f"max_pixels is {self.max_pixels}; it must be at least 1")

    def message(self, question: str) -> str:
        """The user's message for one question."""
        return self.prompt.replace("{question}", question)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What changes only the speed: never part of the fingerprint. `arguments` go to `vllm.LLM` as they are; `plain`
    asks one prompt at a time, or vLLM by its documented calls only: the slow way that the fast ones are compared with.

    For a served teacher: `base_url` is its server's address and `api_key_variable` names the environment variable with
    its key, which is never stored. `concurrency` requests are on their way at a time, each for `timeout` seconds and
    tried again `max_retries` times; `top_logprobs` likeliest tokens are read. `arguments` go into each request then.

    A teacher is refused for which yes and no together have a probability below `min_answer_mass` on average in the
    first batch; 0 takes any, such as a model with random weights.
    """

    plain: bool = False
    batch_size: int = 32
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    base_url: str | None = None
    api_key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 32
    top_logprobs: int = 20
    timeout: float = 120.0
    max_retries: int = 6
    min_answer_mass: float = MIN_ANSWER_MASS


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTeacher:
    """A teacher whose weights have been found: `path` is a local folder, `weights` identifies its contents.

    A served teacher's weights are out of reach: `path` is None, and its name stands for them.
    """

    config: TeacherConfig
    path: Path | None
    weights: str

    @property
    def fingerprint(self) -> str:
        """12 hex digits of everything that changes an answer; where the model lies and how fast it runs do not."""
        return fingerprint(self.description)

    @property
    def description(self) -> dict[str, Any]:
        """For people: the configuration, and the weights' digest or commit."""
        described = dataclasses.asdict(self.config)
        # A commit or digest says more than the branch it was asked for by.
        described.pop("revision")
        # Absent unless given: answers from before there was such a setting are still this teacher's.
        for name in ("processor", "quantization"):
            if not described[name]:
                del described[name]
        if self.path is None:  # its server decides
            described.pop("dtype")
        return {**described, "weights": self.weights}


def fingerprint(description: Mapping[str, Any]) -> str:
    """12 hex digits of a teacher's description. `model` is only a name for what `weights` identifies."""
    decisive = {name: value for name, value in description.items() if name not in ("model", "trust_remote_code")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=list).encode()).hexdigest()[:12]


def tiny_teacher() -> TeacherConfig:
    """The bundled teacher: runs anywhere, knows rendered scenes only."""
    return TeacherConfig(model=str(TINY_MODEL), dtype="float32", max_pixels=None)


def resolve(config: TeacherConfig) -> ResolvedTeacher:
    """Find the model's folder, downloading it where it is a name that the local cache does not have.

    Raises TeacherInvalid where there is no such folder or model.
    """
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise TeacherInvalid(f"no config.json in {folder}; point to a folder that holds a Hugging Face model")
        return ResolvedTeacher(config=config, path=folder.resolve(), weights=f"sha256:{digest_folder(folder)}")
    if config.model.startswith(("/", "./", "../", "~")) or config.model.count("/") != 1:
        raise TeacherInvalid(
            f"no model at {config.model}; give a folder, a Hugging Face name such as Qwen/Qwen3-VL-8B-Instruct, or tiny"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot = Path(snapshot_download(config.model, revision=config.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TeacherInvalid(
            f"cannot get model {config.model} ({first_line(error)}); "
            "check the name and the network, or give a local folder"
        ) from error
    return ResolvedTeacher(config=config, path=snapshot, weights=f"commit:{snapshot.name}")


def resolve_served(config: TeacherConfig) -> ResolvedTeacher:
    """A teacher that a server runs: known by the name that the server gives it, wherever the server is.

    Nobody can see from here when other weights are served under that name; another `revision`, any word, says so.
    """
    name = config.model if config.revision is None else f"{config.model}@{config.revision}"
    return ResolvedTeacher(config=config, path=None, weights=f"served:{name}")


def digest_folder(folder: Path) -> str:
    """SHA-256 over names and contents of the files that change answers, in order of their names."""
    digest = hashlib.sha256()
    names = sorted({path.name for pattern in ANSWERING_FILES for path in folder.glob(pattern)})
    for name in names:
        digest.update(name.encode() + b"\0")
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """What an error says, in one line: the libraries' own messages often go on for pages."""
    return (str(error) or type(error).__name__).splitlines()[0]

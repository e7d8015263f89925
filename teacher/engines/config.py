"""The settings that determine a teacher's answers, and its fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from storage.errors import InputInvalid
from storage.text import printable

TINY_MODEL = Path(__file__).parents[1] / "tiny" / "model"
DEFAULT_PROMPT = "{question}\nAnswer with Yes or No and nothing else."
# The class comes first: everything up to the question is a prefix that all questions share.
CLASS_PROMPT = "Think of a typical image of the class {class}.\n{question}\nAnswer with {answer} and nothing else."
# Files of a model folder that change its answers.
ANSWERING_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
WEIGHTS = ("*.safetensors", "*.bin")
OTHER_WEIGHTS = ("*.pt", "*.pth", "*.gguf")  # used if there are no others
LONGEST_PROMPT, LONGEST_WORD, LONGEST_NAME = 10_000, 50, 1000  # characters
LONGEST_REASON = 300
LARGEST_IMAGE = 1_000_000_000  # pixels
TOP_LOGPROBS = 20

# Teachers that answer have at least 0.9, random weights a few thousandths; one that thinks first, or answers in another
# language, has a millionth.
MIN_ANSWER_MASS = 1e-3

Dtype = Literal["float32", "bfloat16", "float16"]
About = Literal["images", "classes"]
# Places in a prompt, and those that it must have.
PLACES: Mapping[About, tuple[Sequence[str], Sequence[str]]] = {
    "images": (("{question}",), ("{question}",)),
    "classes": (("{class}", "{question}", "{answer}"), ("{class}", "{question}")),
}


class TeacherInvalid(InputInvalid):
    """The teacher cannot be used as configured; the message says what, where and what to do."""


class AnswerTokenMissing(TeacherInvalid):
    """The tokenizer has no single token for yes or for no."""


class ChatTemplateMissing(TeacherInvalid):
    """The model has no chat template, so no question can be rendered for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    """The settings that change answers.

    `model` is a folder or a Hugging Face model name, `revision` its branch, tag or commit. `prompt` is the user's
    message with `{question}` in it; the image always precedes it. `yes_words` and `no_words` count in every spelling
    (case, leading space) that the tokenizer has as a single token. Images with more than `max_pixels` pixels are scaled
    down first; None leaves that to the model's own processor, whose settings are `processor`, e.g. {"max_patches": 1}
    for one tile of InternVL. With `draft` JPEG files are decoded at 1/2, 1/4 or 1/8 of their size if that
    still has `max_pixels`: several times faster for images of cameras, with slightly other pixels. `quantization` is
    vLLM's: fp8, ...

    A teacher `about` classes is a language model that gets their names instead of images. Its `prompt` has `{class}`
    and `{question}` in it, and may have `{answer}`: "Yes or No", or for a multiple-choice question "the letter of one
    option". `domain` says what the classes are, e.g. "aircraft variants", where their names mean several things.
    """

    model: str
    revision: str | None = None
    prompt: str = DEFAULT_PROMPT
    yes_words: tuple[str, ...] = ("Yes",)
    no_words: tuple[str, ...] = ("No",)
    dtype: Dtype = "bfloat16"
    max_pixels: int | None = 1_048_576
    draft: bool = False
    processor: Mapping[str, Any] = field(default_factory=dict)
    quantization: str | None = None
    trust_remote_code: bool = False
    about: About = "images"
    domain: str | None = None

    def __post_init__(self) -> None:
        _check_prompt(self.prompt, self.about)
        _check_words(self.yes_words, self.no_words)
        if self.max_pixels is not None and not 1 <= self.max_pixels <= LARGEST_IMAGE:
            raise TeacherInvalid(
                f"max_pixels is {_shown(self.max_pixels)}; choose a number from 1 to {LARGEST_IMAGE} (--max-pixels)"
            )
        if self.draft and self.max_pixels is None:
            raise TeacherInvalid("draft needs a size to scale to; give max_pixels too (--draft, --max-pixels)")
        if self.dtype not in get_args(Dtype):
            raise TeacherInvalid(f"dtype is {_shown(self.dtype)}; choose {', '.join(get_args(Dtype))} (--dtype)")
        for name in ("model", "revision", "quantization", "domain"):
            value = getattr(self, name) or ""
            if len(value) > LONGEST_NAME or not (value.isprintable() or Path(value).exists()):
                raise TeacherInvalid(f"{name} is {_shown(value)}, which is no name; see --help")

    def message(self, question: str) -> str:
        """Return the user's message for one question about an image."""
        return self.prompt.replace("{question}", question)


def _check_prompt(prompt: str, about: About) -> None:
    places, required = PLACES[about]
    shown = f"prompt '{printable(prompt[:200], 60)}'"
    if len(prompt) > LONGEST_PROMPT:
        raise TeacherInvalid(f"{shown} has {len(prompt)} characters; at most {LONGEST_PROMPT} are taken (--prompt)")
    for place in required:
        if place not in prompt:
            raise TeacherInvalid(f"{shown} has no '{place}'; put it where the {place[1:-1]} belongs (--prompt)")
    others = sorted(set(re.findall(r"\{\w*\}", prompt)) - set(places))
    if others:
        raise TeacherInvalid(
            f"{shown} has {printable(others[0], 40)} in it, and nothing is put there; known are {', '.join(places)} "
            "(--prompt)"
        )
    if not prompt.translate(dict.fromkeys(map(ord, "\n\t\r"))).isprintable():
        raise TeacherInvalid(f"{shown} holds control characters; leave them out (--prompt)")


def _check_words(yes_words: Sequence[str], no_words: Sequence[str]) -> None:
    for setting, words in (("yes_words", yes_words), ("no_words", no_words)):
        option = f"--{setting.replace('_', '-')}"
        if not words:
            raise TeacherInvalid(f"{setting} is empty; give at least one word ({option})")
        for word in words:
            if not 0 < len(word.strip(" ")) <= LONGEST_WORD or len(word.split()) != 1 or not word.isprintable():
                raise TeacherInvalid(
                    f"{setting} has {printable(repr(word[:200]), 60)}, which is no single word; answers are read from "
                    f"their first token, so give words of one token each ({option})"
                )
    both = {word.strip().casefold() for word in yes_words} & {word.strip().casefold() for word in no_words}
    if both:
        raise TeacherInvalid(
            f"'{printable(min(both))}' is among yes_words and no_words; each word means one of them (--yes-words, "
            "--no-words)"
        )


def _shown(value: object) -> str:
    return printable(repr(value)[:200], 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTeacher:
    """A teacher whose weights were found: `path` is a local folder, `weights` identifies its contents.

    A served teacher has no local weights: `path` is None, and its name stands for them. `settings` are the engine's
    that change answers (teacher/engines/settings.py), empty for defaults.
    """

    config: TeacherConfig
    path: Path | None
    weights: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """12 hex digits of everything that changes an answer; where the model lies and how fast it runs do not."""
        return fingerprint(self.description)

    @property
    def description(self) -> dict[str, Any]:
        """The configuration, and the weights' digest or commit, for display."""
        described = dataclasses.asdict(self.config)
        if self.config.about == "images":
            # As in releases that asked about images alone.
            del described["about"], described["domain"]
        else:
            del described["max_pixels"], described["draft"], described["processor"]
        # A commit or digest is more precise than the requested branch.
        described.pop("revision")
        # Omitted unless set, so that answers from before this setting keep the teacher's fingerprint.
        for name in ("processor", "quantization", "domain", "draft"):
            if not described.get(name, True):
                del described[name]
        if self.path is None:  # decided by its server
            described.pop("dtype")
        if self.settings:
            described["settings"] = dict(self.settings)
        return {**described, "weights": self.weights}


def fingerprint(description: Mapping[str, Any]) -> str:
    """12 hex digits of a teacher's description. `model` is only a name for what `weights` identifies."""
    decisive = {name: value for name, value in description.items() if name not in ("model", "trust_remote_code")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=list).encode()).hexdigest()[:12]


def tiny_teacher() -> TeacherConfig:
    """Return the bundled teacher, which runs anywhere and knows rendered scenes only."""
    return TeacherConfig(model=str(TINY_MODEL), dtype="float32", max_pixels=None)


def find_folder(config: TeacherConfig) -> Path | None:
    """Return the local folder of the model; None for a name on the Hugging Face Hub. Raises TeacherInvalid."""
    if not config.model:
        raise TeacherInvalid("no model is named; give a folder or a Hugging Face name (--teacher)")
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise TeacherInvalid(
                f"no config.json in {shown_path(folder)}; point to a folder that holds a Hugging Face model"
            )
        return folder
    if config.model.startswith(("/", "./", "../", "~")) or config.model.count("/") != 1:
        raise TeacherInvalid(
            f"no model at {shown_path(config.model)}; give a folder, a Hugging Face name such as "
            "Qwen/Qwen3-VL-8B-Instruct, or tiny"
        )
    return None


def resolve(config: TeacherConfig, settings: Mapping[str, Any] | None = None) -> ResolvedTeacher:
    """Find the model's folder, and download it if it is a Hub name missing from the local cache.

    `settings` are the engine's that change answers. Raises TeacherInvalid if there is no such folder or model.
    """
    folder = find_folder(config)
    if folder is not None:
        digest = digest_folder(folder, with_code=config.trust_remote_code)
        return ResolvedTeacher(
            config=config, path=folder.resolve(), weights=f"sha256:{digest}", settings=settings or {}
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
    weights = f"commit:{snapshot.name}"
    return ResolvedTeacher(config=config, path=snapshot, weights=weights, settings=settings or {})


def resolve_served(config: TeacherConfig, settings: Mapping[str, Any] | None = None) -> ResolvedTeacher:
    """Return a teacher on a server: it is identified by the name that the server gives it, at any address.

    A change of the weights under that name cannot be detected; pass another `revision`, any word, to mark it.
    """
    name = config.model if config.revision is None else f"{config.model}@{config.revision}"
    return ResolvedTeacher(config=config, path=None, weights=f"served:{name}", settings=settings or {})


def digest_folder(folder: Path, *, with_code: bool = False) -> str:
    """Return the SHA-256 over names and contents of the files that change answers, ordered by name.

    `with_code` includes the model's own code, for models that run it.
    """
    digest = hashlib.sha256()
    patterns = [*ANSWERING_FILES, *(["*.py"] if with_code else [])]
    if not any(True for pattern in WEIGHTS for _ in folder.glob(pattern)):
        patterns += OTHER_WEIGHTS
    names = sorted({path.name for pattern in patterns for path in folder.glob(pattern)})
    for name in names:
        digest.update(name.encode() + b"\0")
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """Return an error's message on one line: messages of libraries can be pages long."""
    lines = str(error).strip().splitlines()
    return printable(lines[0], LONGEST_REASON) if lines else type(error).__name__


def shown_path(path: object) -> str:
    """Return a path or name for use in a message."""
    return printable(str(path), 300)

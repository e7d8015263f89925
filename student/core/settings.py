"""What every training run has for settings, whatever is trained: refused at the door where they make no sense."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import timm
import torch

from storage.errors import InputInvalid
from storage.text import printable
from student.core.kinds import as_stored, describe, is_kind, kinds_of

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "multistep", "poly", "tanh"]
Precision = Literal["32-true", "bf16-mixed"]
Accelerator = Literal["cpu", "cuda", "mps"]
OnError = Literal["refuse", "drop"]


class ConfigInvalid(InputInvalid):
    """A setting cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """One training run. Sizes are in pixels, `warmup` and `milestones` in epochs, `batch_size` is over all devices.

    The seed decides the initialisation, the order of the images and everything else that is drawn.
    """

    # How a run is computed and saved, not what it learns: a run may be resumed with other values of these.
    EXECUTION_SETTINGS: ClassVar[frozenset[str]] = frozenset({"accelerator", "devices", "threads", "checkpoint_every"})
    # What a setting may be, where that is a word.
    CHOICES: ClassVar[Mapping[str, Sequence[str | None]]] = {
        "optimizer": get_args(Optimizer),
        "schedule": get_args(Schedule),
        "precision": get_args(Precision),
        "accelerator": get_args(Accelerator),
        "missing_answers": get_args(OnError),
        "damaged_images": get_args(OnError),
    }

    backbone: str
    image_size: int
    epochs: int
    pretrained: bool = False
    seed: int = 0

    method: str  # what is learnt besides the labels
    alpha: float | None = None  # weight of the aspects; None: the method's own, 0: nothing is learnt from answers
    question_count: int | None = None  # of all questions, so many drawn by the seed; None: all
    without_group: str | None = None  # a group of questions that is left out
    missing_answers: OnError = "refuse"
    damaged_images: OnError = "refuse"
    train_fraction: float = 1.0  # of the training images, drawn by the seed

    batch_size: int = 64
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    warmup: int = 0
    milestones: tuple[int, ...] = ()
    decay_rate: float = 0.1
    clip_norm: float | None = None  # of the gradient

    flip: float = 0.5
    color_jitter: float = 0.0

    accelerator: Accelerator = "cpu"
    devices: int = 1
    precision: Precision = "32-true"
    threads: int | None = None  # of each CPU process; None: see student/core/processor.py
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        own: Any = type(self)
        for name, kind in kinds_of(own).items():
            if not is_kind(value := getattr(self, name), kind):
                raise ConfigInvalid(f"{name} is {_short(value)}; it must be {describe(kind)}")
        for name, values in self.CHOICES.items():
            if (value := getattr(self, name)) not in values:
                raise ConfigInvalid(f"{name} {_short(value)} is unknown; use one of {', '.join(map(repr, values))}")
        for name in ("image_size", "epochs", "batch_size", "devices", "checkpoint_every"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("weight_decay", "warmup", "color_jitter", "seed"):
            self.require(getattr(self, name) >= 0, name, "at least 0")
        self.require(self.seed < 1 << 63, "seed", "below 2^63")
        self.require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1")
        self.require(self.lr > 0, "lr", "above 0")
        self.require(0 < self.train_fraction <= 1, "train_fraction", "above 0 and at most 1")
        self.require(self.alpha is None or self.alpha >= 0, "alpha", "at least 0")
        self.require(self.question_count is None or self.question_count >= 1, "question_count", "at least 1")
        self.require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", "above 0")
        self.require(0 <= self.flip <= 1, "flip", "between 0 and 1")
        self.require(self.color_jitter <= 1, "color_jitter", "at most 1")
        self.require(self.warmup < self.epochs, "warmup", f"below epochs ({self.epochs})")
        if self.schedule == "multistep" and not self.milestones:
            raise ConfigInvalid(
                "schedule 'multistep' has no milestones; give them, e.g. --set 'milestones=[150,180,210]'"
            )
        if self.nesterov and self.optimizer == "sgd" and not self.momentum:
            raise ConfigInvalid("nesterov needs a momentum above 0; give one, or --set nesterov=false")
        if self.batch_size % self.devices:
            raise ConfigInvalid(f"batch_size {self.batch_size} does not divide among {self.devices} devices")

    def require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise ConfigInvalid(f"{name} is {getattr(self, name)}; it must be {wanted}")

    def effective(self) -> Self:
        """The same run without the settings that its method makes no use of."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config of a mapping, e.g. parsed JSON or YAML. Raises ConfigInvalid for a name that does not exist."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                shown = printable(str(name), 60)
                raise ConfigInvalid(f"student setting '{shown}' is unknown{did_you_mean(shown, known)}")
        for name in ("backbone", "image_size", "epochs"):
            if name not in values:
                raise ConfigInvalid(
                    f"student setting '{name}' is missing; give it by --set {name}=VALUE, or start from a recipe"
                )
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain)

    @classmethod
    def from_stored(cls, values: object) -> Self:
        """The config in a run folder. Settings that this release does not have are ignored: a later one added them.
        Raises ConfigInvalid."""
        if not isinstance(values, Mapping):
            raise ConfigInvalid("config holds no settings")
        own: Any = cls
        kinds = kinds_of(own)
        return cls.from_dict({name: as_stored(value, kinds[name]) for name, value in values.items() if name in kinds})

    def identity(self) -> dict[str, Any]:
        """The settings that decide what is learned; two runs that agree on them are the same run."""
        return {name: value for name, value in self.to_dict().items() if name not in self.EXECUTION_SETTINGS}

    def replace(self, **changes: Any) -> Self:
        return self.from_dict(self.to_dict() | changes)


def _short(value: object) -> str:
    return printable(repr(value), 80)


def present_accelerator() -> Accelerator:
    """What this machine has: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def require_timm(backbone: str, pretrained: bool) -> None:
    """Raises ConfigInvalid where timm has no such model, or no weights for it where it is to be `pretrained`."""
    if not timm.is_model(backbone):
        raise ConfigInvalid(f"timm has no backbone '{backbone}'{did_you_mean(backbone, timm.list_models())}")
    architecture, _, tag = backbone.partition(".")
    if tag and backbone not in (tags := timm.list_pretrained(f"{architecture}.*")):
        raise ConfigInvalid(f"timm has no weights '{tag}' of '{architecture}'{did_you_mean(backbone, tags)}")
    if pretrained and not timm.models.is_model_pretrained(backbone):
        tags = timm.list_pretrained(f"{backbone}.*")
        hint = f"; take one of {', '.join(tags[:3])}" if tags else "; give --set pretrained=false"
        raise ConfigInvalid(f"backbone '{backbone}' has no pretrained weights{hint}")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else ""

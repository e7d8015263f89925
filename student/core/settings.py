"""The settings of every training run, whatever is trained, and their limits."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import timm
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from storage.text import printable
from student.core.setting_errors import ConfigInvalid, config_invalid

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "multistep", "poly", "tanh"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Accelerator = Literal["cpu", "cuda", "mps"]
OnError = Literal["refuse", "drop"]
Place = Literal["memory", "disk", "stream"]
Cache = Literal["auto", "memory", "disk", "stream"]


def _as_given(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """`value`, once it is checked: 1 stays 1, as in the names of run folders."""
    check(value)
    return value


Number = Annotated[float, WrapValidator(_as_given)]


class TrainingConfig(BaseModel):
    """One training run. Sizes are in pixels, `warmup` and `milestones` in epochs.

    Raises ConfigInvalid, of one line, for values of other types and beyond the limits.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    # How a run is computed and saved, not what it learns: a run may be resumed with other values of these.
    EXECUTION_SETTINGS: ClassVar[frozenset[str]] = frozenset(
        {"accelerator", "devices", "threads", "checkpoint_every", "cache", "cache_folder", "cache_limit", "workers"}
    )

    backbone: str = Field(description="name of a timm model")
    image_size: int = Field(ge=1, description="side of what the network is shown, in pixels")
    epochs: int = Field(ge=1, description="passes over the training images")
    pretrained: bool = Field(default=False, description="start from timm's pretrained weights")
    seed: int = Field(
        default=0,
        ge=0,
        lt=1 << 63,
        description="decides the initialisation, the order of the images and all other draws; given by `--seeds`",
    )

    method: str = Field(description="what is learned besides the labels")
    alpha: Number | None = Field(
        default=None, ge=0, description="weight of the aspects; null: the method's own, 0: answers are not used"
    )
    question_count: int | None = Field(
        default=None, ge=1, description="number of questions, drawn by the seed; null: all"
    )
    without_group: str | None = Field(default=None, description="a group of questions that is left out")
    missing_answers: OnError = Field(default="refuse", description="what to do with images without an answer")
    damaged_images: OnError = Field(default="refuse", description="what to do with images that cannot be read")
    train_fraction: Number = Field(
        default=1.0, gt=0, le=1, description="share of the training images, drawn by the seed"
    )

    batch_size: int = Field(default=64, ge=1, description="images of a batch, over all devices")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients an update adds up")
    optimizer: Optimizer = Field(default="sgd", description="sgd or adamw")
    lr: Number = Field(default=0.1, gt=0, description="learning rate after the warm-up")
    momentum: Number = Field(default=0.9, ge=0, lt=1, description="of sgd")
    nesterov: bool = Field(default=False, description="Nesterov's momentum, of sgd")
    weight_decay: Number = Field(default=5e-4, ge=0, description="of all weights; with adamw not of norms and biases")
    selective_decay: bool = Field(
        default=False,
        description="no weight decay of norms, biases and what the backbone names, e.g. position embeddings",
    )
    ema: Number | None = Field(
        default=None, gt=0, lt=1, description="decay of an average of the weights, kept in their place; null: none"
    )
    schedule: Schedule = Field(default="cosine", description="how the learning rate falls")
    warmup: int = Field(default=0, ge=0, description="epochs in which the learning rate rises")
    milestones: tuple[int, ...] = Field(default=(), description="epochs at which schedule multistep lowers the rate")
    decay_rate: Number = Field(default=0.1, description="factor of the rate at each milestone")
    clip_norm: Number | None = Field(default=None, gt=0, description="largest norm of the gradient; null: any")

    flip: Number = Field(default=0.5, ge=0, le=1, description="probability of a horizontal flip")
    color_jitter: Number = Field(
        default=0.0, ge=0, le=1, description="strength of random brightness, contrast and saturation"
    )

    accelerator: Accelerator = Field(default="cpu", description="cpu, cuda or mps")
    devices: int = Field(default=1, ge=1, description="devices to train on, each in a process of its own")
    sync_batchnorm: bool = Field(
        default=False, description="batch normalisation over the images of all devices, not of each one's"
    )
    precision: Precision = Field(default="32-true", description="32-true, bf16-mixed, or on a GPU 16-mixed")
    threads: int | None = Field(
        default=None, ge=1, description="of each CPU process; null: OMP_NUM_THREADS, or as many as it has CPUs"
    )
    checkpoint_every: int = Field(default=1, ge=1, description="epochs between two checkpoints")
    cache: Cache = Field(
        default="auto",
        description="where decoded images are: memory, disk (kept for other runs), stream (decoded in every epoch); "
        "auto: the first of them that they fit",
    )
    cache_folder: str | None = Field(
        default=None, min_length=1, description="folder of cache=disk; null: ASPECTS_CACHE, or ~/.cache/aspects"
    )
    cache_limit: Number = Field(
        default=100, gt=0, description="GB of cache=disk, beyond which the images not used for longest are deleted"
    )
    workers: int | None = Field(
        default=None, ge=0, description="processes of each device that decode with cache=stream; null: one for each CPU"
    )

    if not TYPE_CHECKING:  # type checkers know the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise config_invalid(type(self).model_fields, values, error) from error

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        if self.warmup >= self.epochs:
            raise ConfigInvalid(f"warmup is {self.warmup}; it must be below epochs ({self.epochs})")
        if self.schedule == "multistep" and not self.milestones:
            raise ConfigInvalid(
                "schedule 'multistep' has no milestones; give them, e.g. --set 'milestones=[150,180,210]'"
            )
        if self.nesterov and self.optimizer == "sgd" and not self.momentum:
            raise ConfigInvalid("nesterov needs a momentum above 0; give one, or --set nesterov=false")
        if self.precision == "16-mixed" and self.accelerator != "cuda":
            raise ConfigInvalid(
                f"precision '16-mixed' needs a GPU, and accelerator is '{self.accelerator}'; take 32-true or bf16-mixed"
            )
        if self.batch_size % self.devices:
            raise ConfigInvalid(f"batch_size {self.batch_size} does not divide among {self.devices} devices")
        return self

    def effective(self) -> Self:
        """The same run without the settings that its method makes no use of."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config of a mapping, e.g. parsed JSON or YAML. Raises ConfigInvalid for a name that does not exist."""
        known = list(cls.model_fields)
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
        fields = cls.model_fields
        return cls.from_dict(
            {name: _as_stored(value, fields[name].annotation) for name, value in values.items() if name in fields}
        )

    def resumed_as(self, begun: Self) -> Self:
        """The same run with what the run that was `begun` decided where this config leaves it open."""
        return self

    def identity(self) -> dict[str, Any]:
        """The settings that decide what is learned; two runs that agree on them are the same run."""
        return {name: value for name, value in self.to_dict().items() if name not in self.EXECUTION_SETTINGS}

    def replace(self, **changes: Any) -> Self:
        return self.from_dict(self.to_dict() | changes)


def _as_stored(value: object, annotation: Any) -> object:
    """A value of a run folder as release 0.1.0 understood it, which took other types as well."""
    if annotation is bool:
        return bool(value)
    if annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def present_accelerator() -> Accelerator:
    """The accelerator of this machine: "cuda", "mps" or "cpu"."""
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

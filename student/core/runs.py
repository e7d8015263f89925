"""A run's folder: what was trained on what, the checkpoint, the best weights, and the result that says it is finished.

run.json              config, dataset, class names, aspects; written first, compared by every later start
checkpoint.pt         everything to go on from after the last finished epoch; checkpoint-before.pt is the one before it
student.safetensors   weights of the last epoch, or of the best one so far, as the config wants
result.json           the epochs' log, whose weights were kept (best_epoch) and their digest; written last
tensorboard/          curves

The JSON files have a version, see student/core/files.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from storage.datasets.base import ImageDataset
from student.classification.config import StudentConfig
from student.classification.examples import TeacherAnswers, aspects_of
from student.core.checkpoints import CURRENT
from student.core.files import (
    RunInvalid,
    digest_of_file,
    exists,
    parse,
    read_bytes,
    read_json,
    unreadable,
    write_bytes,
    write_json,
)
from student.core.model import Aspect, Student, build_student
from student.core.settings import ConfigInvalid, TrainingConfig

WEIGHTS, DESCRIPTION, RESULT = "student.safetensors", "run.json", "result.json"
HEADER = 1 << 24  # bytes that a file of weights may have besides them


@dataclass(frozen=True, kw_only=True)
class EpochLog:
    """One epoch: mean training losses, speed, and top-1 (0..1) on the validation images where there are any."""

    epoch: int  # from 1
    loss: float
    classification: float
    aspects: float
    distillation: float
    inner: float
    lr: float
    val_top1: float | None
    val_loss: float | None
    images_per_second: float
    seconds: float


class Description(Protocol):
    """What a run trains on what, whatever it trains."""

    CONFIG: ClassVar[type[TrainingConfig]]
    TRAINS: ClassVar[str]

    @property
    def config(self) -> TrainingConfig: ...

    @property
    def dataset(self) -> str: ...

    @property
    def trained_on(self) -> tuple[object, ...]:
        """Tells what two runs of the same settings learn from apart."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What a run trains on what. `digest` covers image ids, labels and answers, `network` the weights learnt from."""

    CONFIG: ClassVar[type[TrainingConfig]] = StudentConfig
    TRAINS: ClassVar[str] = "classifier"

    config: StudentConfig
    dataset: str
    class_names: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    teacher: str | None
    digest: str
    network: str | None

    @classmethod
    def of(
        cls, config: StudentConfig, dataset: ImageDataset, teacher_answers: TeacherAnswers, digest: str
    ) -> RunDescription:
        method = config.objective
        return cls(
            config=config,
            dataset=dataset.name,
            class_names=tuple(dataset.class_names),
            aspects=aspects_of(config, teacher_answers),
            teacher=teacher_answers.teacher if method.answer_terms else None,
            digest=digest,
            network=digest_of_weights(Path(config.network)) if method.network_terms and config.network else None,
        )

    @property
    def trained_on(self) -> tuple[object, ...]:
        return self.digest, self.aspects, self.teacher, self.network

    @property
    def aspect_keys(self) -> tuple[str, ...]:
        return tuple(aspect.key for aspect in self.aspects)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"config": self.config.to_dict()}


@dataclass(frozen=True, kw_only=True)
class TrainedStudent:
    """A finished run. `best_epoch` is the one whose weights were kept, `val_top1` (0..1) is its own; None where nothing
    was cut off for validation. `weights` is their digest, None where release 0.1.0 trained."""

    run_dir: Path
    description: RunDescription
    epochs: tuple[EpochLog, ...]
    best_epoch: int
    train_images: int
    val_images: int
    dropped_images: int
    weights: str | None = None

    @property
    def val_top1(self) -> float | None:
        return self.epochs[self.best_epoch - 1].val_top1

    def load(self) -> Student:
        """The student with the weights that were kept, in evaluation mode on the CPU."""
        config = self.description.config.replace(pretrained=False)
        classes, aspects = len(self.description.class_names), len(self.description.aspects)
        student = build_student(config, classes=classes, aspects=aspects)
        return load_weights(student, self.run_dir / WEIGHTS, self.weights)


AnyDescription = TypeVar("AnyDescription", bound=Description)


def open_run(run_dir: Path, description: Description) -> None:
    """Make `run_dir` the folder of this run, or check that it is. Raises RunInvalid where it is another run's."""
    if not exists(run_dir / DESCRIPTION):
        if others := [name for name in (RESULT, WEIGHTS, CURRENT) if exists(run_dir / name)]:
            raise RunInvalid(
                f"{run_dir} has {others[0]} but no {DESCRIPTION}; delete the folder, or choose another one"
            )
        write_json(run_dir / DESCRIPTION, description.to_dict())
        return
    held = read_description(run_dir, type(description))
    wanted, found = description.config.identity(), held.config.identity()
    for name, value in wanted.items():
        if found[name] != value:
            raise RunInvalid(
                f"run folder {run_dir} holds a run with {name} {found[name]!r}, not {value!r}; "
                f"choose another folder or delete it"
            )
    if held.trained_on != description.trained_on:
        raise RunInvalid(
            f"run folder {run_dir} holds a run on other images, labels or answers of dataset '{held.dataset}', or one "
            f"that learned from another network; choose another folder or delete it"
        )


def read_description(run_dir: Path, kind: type[AnyDescription]) -> AnyDescription:
    """What `run_dir` trains. Raises RunInvalid where it is no run folder, or one of another kind, StorageUnavailable
    where that cannot be found out, and VersionUnsupported for a run of a newer release."""
    path = run_dir / DESCRIPTION
    try:
        values = read_json(path)
    except FileNotFoundError as error:
        raise RunInvalid(_no_run(run_dir)) from error
    stored = values.get("config")
    trains = "detector" if isinstance(stored, dict) and "detector" in stored else "classifier"
    if isinstance(stored, dict) and trains != kind.TRAINS:
        raise RunInvalid(f"{run_dir} holds the run of a {trains}, not of a {kind.TRAINS}; choose another folder")
    try:
        config = kind.CONFIG.from_stored(stored)
    except ConfigInvalid as error:
        raise unreadable(path, error) from error
    return parse(kind, values | {"config": config}, path)


def _no_run(run_dir: Path) -> str:
    """Why there is none, and the runs in folders below."""
    runs = sorted(
        str(path.parent.relative_to(run_dir))
        for depth in ("*", "*/*")
        for path in run_dir.glob(f"{depth}/{DESCRIPTION}")
    )
    if not runs:
        return f"no run at {run_dir} (it has no run.json); train one with 'aspects train'"
    named = ", ".join(runs[:6]) + (", ..." if len(runs) > 6 else "")
    return f"{run_dir} is no run but holds {len(runs)}: {named}; name one, e.g. {run_dir / runs[0]}"


def load_run(run_dir: Path) -> TrainedStudent:
    """The finished run in `run_dir`. Raises as `read_finished`."""
    description, result = read_finished(run_dir, RunDescription)
    run = parse(TrainedStudent, {**result, "run_dir": run_dir, "description": description}, run_dir / RESULT)
    if not 1 <= run.best_epoch <= len(run.epochs):
        raise unreadable(run_dir / RESULT, f"best_epoch is {run.best_epoch}, the log has {len(run.epochs)}")
    return run


def read_finished(run_dir: Path, kind: type[AnyDescription]) -> tuple[AnyDescription, dict[str, Any]]:
    """What a finished run trained, and its result as it was written; its weights are those that it kept. Raises as
    `read_description`, and RunInvalid where the run is not finished or its weights are damaged."""
    description = read_description(run_dir, kind)
    path = run_dir / RESULT
    try:
        result = read_json(path)
    except FileNotFoundError as error:
        raise RunInvalid(
            f"the run in {run_dir} is not finished; train it again with the same settings to go on"
        ) from error
    if result.get("run") not in (None, digest_of_file(run_dir / DESCRIPTION)):
        raise unreadable(path, f"it is of another run than {DESCRIPTION}")
    digest = result.get("weights")
    if digest is not None and not isinstance(digest, str):
        raise unreadable(path, f"weights is {digest!r}")
    read_weights(run_dir / WEIGHTS, digest)
    return description, result


def is_begun(run_dir: Path) -> bool:
    return exists(run_dir / DESCRIPTION)


def is_finished(run_dir: Path) -> bool:
    """Raises StorageUnavailable where that cannot be found out."""
    return exists(run_dir / RESULT)


AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def load_weights(network: AnyNetwork, path: Path, digest: str | None = None) -> AnyNetwork:
    """`network` with the weights in a file, in evaluation mode. Raises as `read_weights`, and RunInvalid for those of
    another network."""
    state = read_weights(path, digest, like=network)
    wanted = network.state_dict()
    if {name: tensor.shape for name, tensor in state.items()} != {name: like.shape for name, like in wanted.items()}:
        raise unreadable(path, "its weights are of another network")
    network.load_state_dict(state)
    return network.eval()


def read_weights(path: Path, digest: str | None, *, like: nn.Module | None = None) -> dict[str, Tensor]:
    """The tensors in a file of weights. Raises RunInvalid where it is missing or damaged, where its SHA-256 is not
    `digest`, and where it is larger than the weights of `like`; StorageUnavailable where it cannot be read."""
    limit = 1 << 60
    if like is not None:
        limit = HEADER + sum(tensor.numel() * tensor.element_size() for tensor in like.state_dict().values())
    try:
        data = read_bytes(path, limit=limit)
    except FileNotFoundError as error:
        raise unreadable(path, "it is missing") from error
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise unreadable(path, "its SHA-256 is not the one in result.json: it is damaged or another run's")
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise unreadable(path, "it is damaged") from error


def write_weights(run_dir: Path, state: dict[str, Tensor]) -> str:
    """Their digest."""
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    write_bytes(run_dir / WEIGHTS, data)
    return hashlib.sha256(data).hexdigest()


def digest_of_weights(run_dir: Path) -> str:
    """Tells the weights of two finished runs apart. Raises RunInvalid where there is none."""
    load_run(run_dir)
    return digest_of_file(run_dir / WEIGHTS)[:16]

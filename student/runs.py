"""A run's folder: what was trained on what, the checkpoint, the best weights, and the result that says it is finished.

run.json              config, dataset, class names, aspects; written first, compared by every later start
checkpoint.pt         everything to go on from after the last finished epoch
student.safetensors   weights of the last epoch, or of the best one so far, as the config wants
result.json           the epochs' log and whose weights were kept (best_epoch); written last
tensorboard/          curves
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from storage.datasets.base import ImageDataset
from storage.errors import InputInvalid
from storage.filesystem import open_root, write_whole
from student.config import StudentConfig
from student.examples import Knowledge, aspects_of
from student.model import Aspect, Student, build_student
from student.settings import TrainingConfig


class RunInvalid(InputInvalid):
    """A run folder cannot be used as asked; the message says why and what to do."""


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

    @property
    def config(self) -> TrainingConfig: ...

    @property
    def dataset(self) -> str: ...

    @property
    def learned_from(self) -> tuple[object, ...]:
        """Tells what two runs of the same settings learn from apart."""
        ...

    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self: ...


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What a run trains on what. `digest` covers image ids, labels and answers, `network` the weights learnt from."""

    config: StudentConfig
    dataset: str
    class_names: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    teacher: str | None
    digest: str
    network: str | None

    @classmethod
    def of(cls, config: StudentConfig, dataset: ImageDataset, knowledge: Knowledge, digest: str) -> RunDescription:
        method = config.objective
        return cls(
            config=config,
            dataset=dataset.name,
            class_names=tuple(dataset.class_names),
            aspects=aspects_of(config, knowledge),
            teacher=knowledge.teacher if method.answer_terms else None,
            digest=digest,
            network=digest_of_weights(Path(config.network)) if method.network_terms and config.network else None,
        )

    @property
    def learned_from(self) -> tuple[object, ...]:
        return self.digest, self.aspects, self.teacher, self.network

    @property
    def aspect_keys(self) -> tuple[str, ...]:
        return tuple(aspect.key for aspect in self.aspects)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"config": self.config.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunDescription:
        plain: dict[str, Any] = values | {
            "config": StudentConfig.from_dict(values["config"]),
            "class_names": tuple(values["class_names"]),
            "aspects": tuple(Aspect(**aspect) for aspect in values["aspects"]),
        }
        return cls(**plain)


@dataclass(frozen=True, kw_only=True)
class TrainedStudent:
    """A finished run. `best_epoch` is the one whose weights were kept, `val_top1` (0..1) is its own; None where nothing
    was cut off for validation."""

    run_dir: Path
    description: RunDescription
    epochs: tuple[EpochLog, ...]
    best_epoch: int
    train_images: int
    val_images: int
    dropped_images: int

    @property
    def val_top1(self) -> float | None:
        return self.epochs[self.best_epoch - 1].val_top1

    def load(self) -> Student:
        """The student with the weights that were kept, in evaluation mode on the CPU."""
        return load_weights(self.description, self.run_dir)


AnyDescription = TypeVar("AnyDescription", bound=Description)


def open_run(run_dir: Path, description: Description) -> None:
    """Make `run_dir` the folder of this run, or check that it is. Raises RunInvalid where it is another run's."""
    path = run_dir / "run.json"
    if not path.exists():
        write_json(path, description.to_dict())
        return
    held = read_description(run_dir, type(description))
    wanted, found = description.config.learned(), held.config.learned()
    for name, value in wanted.items():
        if found[name] != value:
            raise RunInvalid(
                f"run folder {run_dir} holds a run with {name} {found[name]!r}, not {value!r}; "
                f"choose another folder or delete it"
            )
    if held.learned_from != description.learned_from:
        raise RunInvalid(
            f"run folder {run_dir} holds a run on other images, labels or answers of dataset '{held.dataset}', or one "
            f"that learned from another network; choose another folder or delete it"
        )


def read_description(run_dir: Path, kind: type[AnyDescription]) -> AnyDescription:
    """What `run_dir` trains. Raises RunInvalid where it is no run folder, or one of another kind."""
    path = run_dir / "run.json"
    try:
        return kind.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunInvalid(f"no run at {run_dir} (it has no run.json); train one with 'aspects train'") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunInvalid(f"{path} cannot be read ({error}); delete the folder and train again") from error


def load_run(run_dir: Path) -> TrainedStudent:
    """The finished run in `run_dir`. Raises RunInvalid where there is none or it has not finished."""
    description, result = read_finished(run_dir, RunDescription)
    logs = tuple(EpochLog(**log) for log in result.pop("epochs"))
    return TrainedStudent(run_dir=run_dir, description=description, epochs=logs, **result)


def read_finished(run_dir: Path, kind: type[AnyDescription]) -> tuple[AnyDescription, dict[str, Any]]:
    """What a finished run trained, and its result as it was written. Raises RunInvalid, as `load_run` does."""
    description = read_description(run_dir, kind)
    if not is_finished(run_dir):
        raise RunInvalid(f"the run in {run_dir} is not finished; train it again with the same settings to go on")
    return description, json.loads((run_dir / "result.json").read_text(encoding="utf-8"))


def is_finished(run_dir: Path) -> bool:
    return (run_dir / "result.json").exists()


def load_weights(description: RunDescription, folder: Path) -> Student:
    """The student of `description` with the weights in `folder`, in evaluation mode on the CPU."""
    config = description.config.replace(pretrained=False)
    student = build_student(config, classes=len(description.class_names), aspects=len(description.aspects))
    student.load_state_dict(safetensors.torch.load_file(folder / "student.safetensors"))
    return student.eval()


def write_weights(run_dir: Path, state: dict[str, Tensor]) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_bytes(run_dir / "student.safetensors", safetensors.torch.save(tensors))


def digest_of_weights(run_dir: Path) -> str:
    """Tells the weights of two finished runs apart. Raises RunInvalid where there is none."""
    load_run(run_dir)
    return hashlib.sha256((run_dir / "student.safetensors").read_bytes()).hexdigest()[:16]


def write_checkpoint(run_dir: Path, checkpoint: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_bytes(run_dir / "checkpoint.pt", buffer.getvalue())


def read_checkpoint(run_dir: Path) -> dict[str, Any] | None:
    """The last checkpoint, on the CPU; None where the run has none yet."""
    path = run_dir / "checkpoint.pt"
    if not path.exists():
        return None
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint


def write_json(path: Path, values: object) -> None:
    write_bytes(path, json.dumps(values, indent=2, ensure_ascii=False).encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Let `path` appear whole or not at all."""
    write_whole(*open_root(str(path)), data)

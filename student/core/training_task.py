"""What is trained: the interface between the training loop and classifiers or detectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from student.core.schedule import parameter_groups
from student.core.settings import TrainingConfig

# A dataclass: epoch, the losses, lr, what `measure` gives, images_per_second and seconds.
AnyLog = TypeVar("AnyLog", bound=Any)


@dataclass(frozen=True)
class Part:
    """What one device is given of a batch: the `indices` [B] of its images, which are these `rows` of the batch, up to
    its end, and what the task has loaded for them."""

    indices: Tensor
    rows: range
    loaded: Any


class TrainingTask(ABC, Generic[AnyLog]):
    """What is trained on one device: a network, its losses and measurements."""

    losses: ClassVar[Sequence[str]]  # names of what `step` gives; "loss" comes first, and is what is minimised
    log: type[AnyLog]

    def __init__(self, network: nn.Module) -> None:
        self.network = network  # whose weights are trained and kept
        self.state: dict[str, Tensor] = {}  # what a run resumes from besides weights and optimizer

    def wrapped(self) -> nn.Module:
        """What Fabric wraps for its precision and devices, and `step` is given."""
        return self.network

    def start(self) -> None:
        """Called before the first epoch of a run, unless it resumes from a checkpoint."""

    def begin(self, epoch: int) -> None:
        """Called before the first update of an epoch."""

    def after_update(self) -> None:
        """Called after each update, on every device."""

    def load(self, batches: Iterable[Tensor]) -> Iterator[Any]:
        """What `step` is given as `loaded` for each of an epoch's `batches` of indices; it may be read ahead."""
        return (None for _ in batches)

    def sampling_weights(self, indices_N: Tensor) -> Tensor | None:
        """Weights [N] by which the images of an epoch are drawn with replacement; None: each once."""
        return None

    @abstractmethod
    def step(self, model: nn.Module, part: Part, epoch: int) -> dict[str, Tensor]:
        """The losses of one update, means over the images of `part`."""

    @abstractmethod
    def measure(self, epoch: int) -> dict[str, float | None]:
        """The fields of the epoch's log besides losses and speed."""

    @abstractmethod
    def keeps(self, logs: list[AnyLog]) -> bool:
        """Whether the weights after the last of `logs` are to be kept, in place of any before."""

    def stops(self, logs: list[AnyLog]) -> bool:
        """Whether training ends after the last of `logs`, before all epochs."""
        return False

    def weights(self) -> Mapping[str, Tensor]:
        """What is written where the weights are kept."""
        return self.network.state_dict()

    def parameter_groups(self, config: TrainingConfig) -> list[dict[str, Any]]:
        """The parameters of `network` for the optimizer."""
        return parameter_groups(config, self.network)

    @abstractmethod
    def describe(self, log: AnyLog) -> str:
        """A line about one epoch."""

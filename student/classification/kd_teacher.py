"""The KD teacher that a student learns from, where its method says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from student.classification.config import StudentConfig
from student.classification.model import Logits, Student
from student.classification.runs import RunDescription, TrainedStudent, digest_of_weights, load_run
from student.core.backbones import to_channels_last
from student.core.fit import fit
from student.core.runs import is_finished, read_description
from student.core.setting_errors import ConfigInvalid

NETWORK = "network"  # folder of the larger network in an experiment's
SEED_PLACE = "{seed}"  # in a folder that is given for the network
# The settings that say which labels are seen.
LABELS = ("label_fraction", "labels_per_class", "train_fraction", "seed")
# The shares of images and labels that a seed draws, with their defaults.
DRAWS = {"label_fraction": 1.0, "labels_per_class": None, "train_fraction": 1.0, "val_fraction": None}
# Of those that draw labels, their values where nothing is drawn.
UNDRAWN = {"label_fraction": 1, "labels_per_class": None, "train_fraction": 1}


def kd_teacher_config(
    recipe: Mapping[str, Any], settings: Mapping[str, Any], network: Mapping[str, Any], draw: Mapping[str, Any]
) -> tuple[StudentConfig, str]:
    """The network that a student of an experiment learns from, and the name of its folder there.

    `draw` has the student's DRAWS and seed: the network is trained on the labels that the student is trained on, so
    there is one for each draw of them, and a single one where nothing is drawn. Raises ConfigInvalid where `network`,
    in what it differs from the students' `settings`, chooses labels itself.
    """
    if chosen := [name for name in LABELS if name in network]:
        raise ConfigInvalid(f"network setting '{chosen[0]}' follows the students'; leave it out of 'network'")
    given = {**settings, "method": "base", NETWORK: None, **draw, **network}
    larger = StudentConfig.from_dict(fit(recipe, given))
    drawn = {name: draw[name] for name, undrawn in UNDRAWN.items() if draw[name] != undrawn}
    if larger.held_out:
        drawn["val_fraction"] = larger.held_out
    if not drawn:
        return larger.replace(seed=0), NETWORK
    name = ",".join([NETWORK, *(f"{name}={value}" for name, value in drawn.items())])
    return larger, f"{name}/seed-{larger.seed}"


def learns_from(run_dir: Path, network: Path) -> bool:
    """Whether the run that was begun in `run_dir` learns from the finished one in `network`."""
    held = read_description(run_dir, RunDescription).network
    return held is not None and is_finished(network) and digest_of_weights(network) == held


def require_same_labels(config: StudentConfig) -> None:
    """Where a student may not see all labels, the network that it learns from may not have seen others. Raises
    ConfigInvalid, and RunInvalid where there is no finished run of a network."""
    if not _draws_labels(config):
        return
    theirs = load_run(Path(str(config.network))).description.config
    drawn = [f"{name} {getattr(config, name)}" for name in LABELS if getattr(config, name) != getattr(theirs, name)]
    if drawn:
        raise ConfigInvalid(
            f"the network in {config.network} has seen labels that this student may not; "
            f"take one that was trained with {', '.join(drawn)}"
        )


def require_kd_teacher(config: StudentConfig, class_names: Sequence[str], dataset: str) -> None:
    """Raises what training by the config's method would raise about its network, before any student is trained."""
    if config.network is not None and config.objective.network_terms:
        config = config.replace(network=config.network.replace(SEED_PLACE, str(config.seed)))
        _run_on(Path(str(config.network)), class_names, dataset)
        require_same_labels(config)


def _run_on(network: Path, class_names: Sequence[str], dataset: str) -> TrainedStudent:
    """Raises ConfigInvalid for a network of other classes, RunInvalid where there is none."""
    run = load_run(network)
    if run.description.class_names != tuple(class_names):
        raise ConfigInvalid(f"the network in {network} was trained on other classes; take a run on '{dataset}'")
    return run


def require_seen_labels(config: StudentConfig, seen_labels: str) -> None:
    """The same by the labels themselves (`digest_of_seen_labels`), which are drawn among the images with answers: equal
    settings are not enough. Runs of older releases do not say which labels they have seen."""
    if _draws_labels(config) and load_run(Path(str(config.network))).seen_labels not in (None, seen_labels):
        raise ConfigInvalid(
            f"the network in {config.network} has seen other labels than this student may: they are drawn among the "
            f"images with answers; train the network on the same images and answers"
        )


def _draws_labels(config: StudentConfig) -> bool:
    """Whether the student learns from a network and may not see all labels."""
    if config.network is None or not config.objective.network_terms:
        return False
    return min(config.label_fraction, config.train_fraction) < 1 or config.labels_per_class is not None


@dataclass(frozen=True)
class KDTeacher:
    """A finished run's network, for batches as `student` is shown them: its pixels become `network`'s own."""

    network: Student
    student: Student
    image_size: int

    @classmethod
    def load(cls, description: RunDescription, student: Student, device: torch.device) -> KDTeacher | None:
        """The network of `description`'s config, None where its method learns from none. Raises ConfigInvalid for one
        of other classes, RunInvalid where there is none."""
        config = description.config
        if config.network is None or not config.objective.network_terms:
            return None
        run = _run_on(Path(config.network), description.class_names, description.dataset)
        network = to_channels_last(run.load().to(device)).eval()
        return cls(network=network, student=student, image_size=run.description.config.image_size)

    def __call__(self, pixels_BCHW: Tensor) -> Tensor:
        """Class logits [B, C]."""
        mean, std, own_mean, own_std = (
            torch.tensor(values, device=pixels_BCHW.device).view(1, 3, 1, 1)
            for values in (self.student.mean, self.student.std, self.network.mean, self.network.std)
        )
        pixels_BCHW = (pixels_BCHW * std + mean - own_mean) / own_std
        if pixels_BCHW.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            pixels_BCHW = functional.interpolate(pixels_BCHW, size, mode="bilinear", antialias=True)
        logits: Logits = self.network(pixels_BCHW.contiguous(memory_format=torch.channels_last))
        return logits.class_logits_BC

"""The grid of an experiment with classifiers, and the network that those learn from whose method wants one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from storage.datasets.base import ImageDataset
from storage.errors import AspectsError
from student.classification.config import StudentConfig
from student.classification.examples import (
    TeacherAnswers,
    balanced_keys,
    fit_to_answers,
    join_examples,
    training_records,
)
from student.classification.kd_teacher import DRAWS, NETWORK, kd_teacher_config, require_kd_teacher
from student.classification.methods import METHODS, labelled_method, last_layer_method, method_about_classes
from student.classification.runs import RunDescription
from student.classification.trainable import require_trainable
from student.core.grid import Cell, Grid
from student.core.runs import DESCRIPTION, read_description
from student.core.settings import TrainingConfig

BALANCE = "balance"
DECIDED = {"val_fraction", "inner_stages"}  # by the first student, for all where they are open and do not vary


@dataclass(frozen=True, kw_only=True)
class StudentGrid(Grid[StudentConfig]):
    """A grid of classifiers. `network` are the settings in which a KD teacher differs from `settings`: it is trained on
    the labels first where a method learns from one. `labelled` says that every training image has a label."""

    CONFIG: ClassVar[type[TrainingConfig]] = StudentConfig

    network: Mapping[str, Any] | None = None
    labelled: bool = False

    def shared(self, run_dir: Path) -> dict[str, Any]:
        settings = super().shared(run_dir)
        return settings if self.network is None else {**settings, NETWORK: str(run_dir / NETWORK)}

    def cells(self, run_dir: Path) -> tuple[Cell[StudentConfig], ...]:
        self.kd_teacher()  # refused before anything is trained
        return super().cells(run_dir)

    def configs(self, run_dir: Path) -> Iterator[StudentConfig]:
        begun = _begun_before(run_dir)
        for config in super().configs(run_dir):
            yield config if begun is None or self.axes.keys() & DECIDED else config.resumed_as(begun)

    def twin(self, config: StudentConfig) -> StudentConfig | None:
        if config.alpha == 0 or config.labels_per_class == 0:  # without answers nothing is learned without labels
            return None
        method = twin_method(config, labelled=self.labelled)
        return None if method is None else config.replace(method=method).effective()

    def left_out_notes(self, run_dir: Path) -> list[str]:
        """What `freeze` and `inner_stages` leave out of the methods, for the user."""
        configs = list(self.configs(run_dir))
        frozen = [config for config in configs if config.freeze]
        trained = [config for config in configs if not config.freeze and not config.learns_at_inner_stages]
        left_out = {"with freeze": _left_out(frozen), "without inner_stages=true": _left_out(trained)}
        if any(config.hidden is None and config.objective.aspect_terms for config in frozen):
            left_out["with freeze"].append(
                "aspects do not change the class outputs unless there is a hidden layer (--set hidden=512)"
            )
        return [f"{where} {'; '.join(parts)}" for where, parts in left_out.items() if parts]

    def kd_teacher(self) -> StudentConfig | None:
        """The KD teacher of the shared settings. Raises ConfigInvalid for an impossible one."""
        if self.network is None:
            return None
        given = {**self.recipe, **self.settings}
        draw = {name: given.get(name, default) for name, default in DRAWS.items()}
        return kd_teacher_config(self.recipe, self.settings, self.network, {**draw, "seed": 0})[0]

    def kd_teacher_for(self, student: StudentConfig) -> tuple[StudentConfig, str]:
        """The KD teacher that `student` learns from, and the name of its folder."""
        draw = {name: getattr(student, name) for name in (*DRAWS, "seed")}
        return kd_teacher_config(self.recipe, self.settings, self.network or {}, draw)

    def check(self, images: ImageDataset, teacher_answers: TeacherAnswers, run_dir: Path | None) -> None:
        """Raise the errors of training any student about labels, answers and folders of other runs, before the first
        one is trained."""
        records = training_records(images)

        def describe(config: StudentConfig, digest: str) -> RunDescription | None:
            if config.objective.network_terms:  # the network is known once it is trained
                return None
            return RunDescription.of(fit_to_answers(config, teacher_answers), images, teacher_answers, digest)

        for cell in self.untrained_cells(run_dir, RunDescription, describe):
            config = fit_to_answers(cell.config, teacher_answers)
            require_trainable(config)
            if self.network is None:
                for seed in self.seeds:
                    require_kd_teacher(config.replace(seed=seed), images.class_names, images.name)
            join_examples(config.replace(seed=self.seeds[0]), images, records, teacher_answers)

    def fit_to_answers(self, teacher_answers: TeacherAnswers) -> StudentGrid:
        """The same with the keys of the questions whose groups are balanced, and with the methods for answers about
        classes, where there are no others. Raises as `balanced_keys`."""
        grid = self._with_keys(teacher_answers)
        return grid._with_methods(teacher_answers)

    def _with_keys(self, teacher_answers: TeacherAnswers) -> StudentGrid:
        def key(balance: Any) -> Any:
            return balance and balanced_keys([balance] if isinstance(balance, str) else balance, teacher_answers)

        def named(values: Mapping[str, Any]) -> Mapping[str, Any]:
            return {**values, BALANCE: key(values[BALANCE])} if BALANCE in values else values

        axes = {name: list(map(key, values)) if name == BALANCE else values for name, values in self.axes.items()}
        return dataclasses.replace(self, settings=named(self.settings), axes=axes, baseline=named(self.baseline))

    def _with_methods(self, teacher_answers: TeacherAnswers) -> StudentGrid:
        if not teacher_answers.about_classes_alone or self.settings.get("labels_per_class") == 0:
            return self

        def suit(values: Mapping[str, Any]) -> Mapping[str, Any]:
            return {**values, "method": method_about_classes(values["method"])} if "method" in values else values

        axes = dict(self.axes)
        if "method" in axes:
            axes["method"] = list(dict.fromkeys(map(method_about_classes, axes["method"])))
        settings = suit({"method": self.recipe.get("method", StudentConfig.METHOD), **self.settings})
        return dataclasses.replace(self, settings=settings, axes=axes, baseline=suit(self.baseline))


def twin_method(config: StudentConfig, *, labelled: bool) -> str | None:
    """The method without answers that the config's is compared with, None where nothing is learned from answers.
    `labelled` says that every training image has a label: then it needs no self-training, unless the config hides
    some."""
    hidden = config.labels_per_class is not None or config.label_fraction < 1
    return labelled_method(config.twin) if config.twin and labelled and not hidden else config.twin


def _left_out(configs: Iterable[StudentConfig]) -> list[str]:
    """What is not learned at inner stages by the configs, which leave them out."""
    methods = dict.fromkeys(config.method for config in configs)
    inner = [name for name in methods if any(METHODS[part].inner for part in name.split("+"))]
    left_out = [f"the terms of {', '.join(inner)} at inner stages are not trained"] if inner else []
    return left_out + [f"{name} is trained as {new}" for name in inner if (new := last_layer_method(name)) != name]


def _begun_before(run_dir: Path) -> StudentConfig | None:
    """The config of a student of a begun experiment, whose open settings are decided for all of its students, also
    those that a later release adds. None where there is none."""
    for path in sorted(run_dir.glob(f"*/seed-*/{DESCRIPTION}")):
        if not path.parent.parent.name.startswith(NETWORK):
            with suppress(AspectsError):  # training it says what is wrong with it
                return read_description(path.parent, RunDescription).config
    return None

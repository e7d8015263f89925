"""The grid of an experiment: every combination of some settings, each a cell that is trained with every seed."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from student.core.fit import fit
from student.core.runs import DESCRIPTION, AnyDescription, is_finished, open_run, read_description
from student.core.setting_errors import ConfigInvalid
from student.core.settings import TrainingConfig

LONGEST_NAME, SHORTENED = 255, 40  # bytes that file systems allow, and characters of a longer name
AnyConfig = TypeVar("AnyConfig", bound=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class Grid(Generic[AnyConfig]):
    """The `settings` that all students share, in place of those of a `recipe` that is fitted to them (see
    student/core/fit.py), `axes` of settings with the values that they take, and the seeds.

    Differences are taken from the cells with the settings `baseline`.
    """

    CONFIG: ClassVar[type[TrainingConfig]]

    settings: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    seeds: Sequence[int]
    baseline: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"method": "base"})
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def shared(self, run_dir: Path) -> dict[str, Any]:
        """The settings of every cell of an experiment in `run_dir`, before its own."""
        return {**self.settings, "seed": 0}

    def cells(self, run_dir: Path) -> tuple[Cell[AnyConfig], ...]:
        """Every combination once, in order, with the baseline's first. Raises ConfigInvalid for an impossible one."""
        if "seed" in self.axes:
            raise ConfigInvalid("grid setting 'seed' is given as seeds; write e.g. seeds: [0, 1, 2]")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigInvalid(f"seeds are {list(self.seeds)}; give at least one, each once")
        if empty := [name for name, values in self.axes.items() if not values]:
            raise ConfigInvalid(f"grid setting '{empty[0]}' has no values; give at least one")
        found: dict[str, Cell[AnyConfig]] = {}
        for config in self.configs(run_dir):
            cell = Cell.of(config, tuple({**self.axes, **self.baseline}))
            if found.setdefault(cell.name, cell).varied != cell.varied:
                raise ConfigInvalid(
                    f"two combinations of the grid have the name '{cell.name}', which is that of a folder; "
                    f"give one of the values another name"
                )
        return tuple(found.values())

    def configs(self, run_dir: Path) -> Iterator[AnyConfig]:
        """The config of every combination as it was asked for, each after the baseline's. Raises ConfigInvalid."""
        shared, kind = self.shared(run_dir), self._config_type()
        for values in itertools.product(*self.axes.values()):
            varied = dict(zip(self.axes, values, strict=True))
            for chosen in (varied | dict(self.baseline), varied):
                yield kind.from_dict(fit(self.recipe, shared | chosen))

    def twin(self, config: AnyConfig) -> AnyConfig | None:
        """The same training without what is learned from answers; None where nothing is, and where a kind of student
        has no twins."""
        return None

    def untrained_cells(
        self,
        run_dir: Path | None,
        kind: type[AnyDescription],
        describe: Callable[[AnyConfig, str], AnyDescription | None],
    ) -> Iterator[Cell[AnyConfig]]:
        """Yield the cells with unfinished students; without a folder, which may not be known yet, all of them.

        Raises RunInvalid for folders of other runs than `describe` gives for a config and a digest; None is not
        compared.
        """
        for cell in self.cells(run_dir or Path()):
            places = [] if run_dir is None else [(seed, cell.directory(run_dir, seed)) for seed in self.seeds]
            for seed, place in places:
                if (place / DESCRIPTION).exists():
                    # With the stored digest: the digest of images and answers is not known before all are read.
                    digest = read_description(place, kind).digest
                    if (wanted := describe(cell.config.replace(seed=seed), digest)) is not None:
                        open_run(place, wanted)
            if not places or not all(is_finished(place) for _, place in places):
                yield cell

    def _config_type(self) -> type[AnyConfig]:
        kind: Any = self.CONFIG  # a class variable cannot have the type of the parameter
        found: type[AnyConfig] = kind
        return found


@dataclass(frozen=True, kw_only=True)
class Cell(Generic[AnyConfig]):
    """One combination: its name, the settings that vary, the config (of seed 0) as it was `asked` for, and the same
    without settings that its method does not use."""

    name: str
    varied: Mapping[str, Any]
    asked: AnyConfig
    config: AnyConfig

    @classmethod
    def of(cls, config: AnyConfig, axes: Sequence[str]) -> Cell[AnyConfig]:
        asked, config = config, config.effective()
        varied = {name: _joined(getattr(config, name)) for name in axes}
        named = [f"{name}={_plain(value)}" for name, value in varied.items() if name != "method" and value is not None]
        name = ",".join([config.method, *named]) if "method" in axes else ",".join(named)
        name = name.replace("/", "-")
        if len(name.encode()) > LONGEST_NAME:
            name = f"{name[:SHORTENED]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return cls(name=name, varied=varied, asked=asked, config=config)

    def columns(self, seed: int) -> dict[str, Any]:
        """The columns that identify a student's row in the table."""
        varied = {name: _plain(value) for name, value in self.varied.items()}
        return {"cell": self.name, **varied, "seed": seed}

    def directory(self, run_dir: Path, seed: int) -> Path:
        return run_dir / self.name / f"seed-{seed}"


def _joined(value: Any) -> Any:
    """A tuple of names as one, any other value as it is."""
    names = isinstance(value, tuple) and bool(value) and all(isinstance(one, str) for one in value)
    return "+".join(value) if names else value


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

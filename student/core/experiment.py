"""Many students side by side: every combination of some settings, each with every seed, compared in pairs of one seed.

Students of one seed start from the same weights and see the same images in the same order, so that what differs is the
settings' doing.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl
from scipy import stats

from storage.answers.read import Answers
from storage.datasets.base import ImageDataset, ImageRecord, select
from student.classification.config import StudentConfig
from student.classification.evaluate import Evaluation, evaluate, read_evaluation
from student.classification.examples import TeacherAnswers, digest_of, training_records
from student.classification.kd_teacher import DRAWS, NETWORK, kd_teacher_config, learns_from
from student.classification.methods import method_about_classes
from student.classification.training import train
from student.core.cache import ImageCache, evaluation_cache, training_cache
from student.core.files import (
    VERSION,
    RunInvalid,
    only_user,
    read_json,
    remove_cache,
    remove_leftovers,
    write_bytes,
    write_json,
)
from student.core.fit import fit
from student.core.progress import titled
from student.core.runs import EpochLog, TrainedStudent, is_begun, is_finished
from student.core.settings import ConfigInvalid, TrainingConfig

AnyConfig = TypeVar("AnyConfig", bound=TrainingConfig)
METRICS = ("top1", "top5", "macro_accuracy")
AnyLog = TypeVar("AnyLog")
SEED_PLACE = "{seed}"  # in a folder that is given for the network
RESULTS = "results.json"
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is trained: the `settings` that all share, in place of those of a `recipe` that gives way to them (see
    student/core/fit.py), `axes` of settings with the values that they take, and the seeds.

    Differences are taken from the cells with the settings `baseline`. `network` are the settings in which a larger
    network differs from `settings`: it is trained on the labels first where a method learns from one.
    """

    settings: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    seeds: Sequence[int]
    baseline: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"method": "base"})
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: Mapping[str, Any] | None = None

    def larger(self) -> StudentConfig | None:
        """The larger network of the shared settings. Raises ConfigInvalid for one that cannot be."""
        if self.network is None:
            return None
        given = {**self.recipe, **self.settings}
        draw = {name: given.get(name, default) for name, default in DRAWS.items()}
        return kd_teacher_config(self.recipe, self.settings, self.network, {**draw, "seed": 0})[0]

    def kd_teacher_for(self, student: StudentConfig) -> tuple[StudentConfig, str]:
        """The larger network that `student` learns from, and the name of its folder."""
        draw = {name: getattr(student, name) for name in (*DRAWS, "seed")}
        return kd_teacher_config(self.recipe, self.settings, self.network or {}, draw)

    def fit_to_answers(self, teacher_answers: TeacherAnswers) -> Grid:
        """The same with the methods that suit what teachers were asked about, where that is the classes alone."""
        if not teacher_answers.about_classes_alone:
            return self

        def suit(values: Mapping[str, Any]) -> Mapping[str, Any]:
            return {**values, "method": method_about_classes(values["method"])} if "method" in values else values

        axes = dict(self.axes)
        if "method" in axes:
            axes["method"] = list(dict.fromkeys(map(method_about_classes, axes["method"])))
        settings = suit({"method": self.recipe.get("method", StudentConfig.METHOD), **self.settings})
        return dataclasses.replace(self, settings=settings, axes=axes, baseline=suit(self.baseline))

    def cells(self, run_dir: Path) -> tuple[Cell[StudentConfig], ...]:
        """Classifiers: every combination once, in order, with the baseline's first. Raises ConfigInvalid for one that
        cannot be."""
        self.larger()
        return self.cells_of(StudentConfig, run_dir)

    def cells_of(self, kind: type[AnyConfig], run_dir: Path) -> tuple[Cell[AnyConfig], ...]:
        """The same of any kind of student."""
        if "seed" in self.axes:
            raise ConfigInvalid("grid setting 'seed' is given as seeds; write e.g. seeds: [0, 1, 2]")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigInvalid(f"seeds are {list(self.seeds)}; give at least one, each once")
        if empty := [name for name, values in self.axes.items() if not values]:
            raise ConfigInvalid(f"grid setting '{empty[0]}' has no values; give at least one")
        shared = {**self.settings, "seed": 0}
        if self.network is not None:
            shared[NETWORK] = str(run_dir / NETWORK)
        found: dict[str, Cell[AnyConfig]] = {}
        for values in itertools.product(*self.axes.values()):
            varied = dict(zip(self.axes, values, strict=True))
            for chosen in (varied | dict(self.baseline), varied):
                cell = Cell.of(kind.from_dict(fit(self.recipe, shared | chosen)), tuple({**self.axes, **self.baseline}))
                found.setdefault(cell.name, cell)
        return tuple(found.values())


@dataclass(frozen=True, kw_only=True)
class Cell(Generic[AnyConfig]):
    """One combination: its name, the settings that vary, and the config (of seed 0)."""

    name: str
    varied: Mapping[str, Any]
    config: AnyConfig

    @classmethod
    def of(cls, config: AnyConfig, axes: Sequence[str]) -> Cell[AnyConfig]:
        config = config.effective()
        varied = {name: getattr(config, name) for name in axes}
        named = [f"{name}={_plain(value)}" for name, value in varied.items() if name != "method" and value is not None]
        name = ",".join([config.method, *named]) if "method" in axes else ",".join(named)
        return cls(name=name.replace("/", "-"), varied=varied, config=config)

    def columns(self, seed: int) -> dict[str, Any]:
        """What tells a student's row in the table from others."""
        varied = {name: _plain(value) for name, value in self.varied.items()}
        return {"cell": self.name, **varied, "seed": seed}

    def directory(self, run_dir: Path, seed: int) -> Path:
        return run_dir / self.name / f"seed-{seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Paired differences by seed, their mean, and, from two seeds on, standard deviation (n - 1), the 95 % confidence
    interval of the mean and the p-value of Student's paired t-test, two-sided."""

    values: tuple[float, ...]
    mean: float
    std: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSummary:
    """One metric of one cell over the seeds, and its difference from the baseline; None for the baseline itself."""

    cell: str
    varied: Mapping[str, Any]
    metric: str
    values: tuple[float, ...]
    mean: float
    std: float | None
    baseline: str
    gain: Difference | None


@dataclass(frozen=True, kw_only=True)
class Results:
    """All students of an experiment, one row of `table` each, and the summary of each cell and metric."""

    dataset: str
    split: str
    images: int
    train_images: int
    val_images: int
    settings: Mapping[str, Any]
    table: pl.DataFrame
    summary: tuple[CellSummary, ...]

    def metric(self, name: str) -> tuple[CellSummary, ...]:
        """The cells' summaries of one of `metrics`."""
        return tuple(summary for summary in self.summary if summary.metric == name)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured, the one that counts first."""
        return tuple(dict.fromkeys(summary.metric for summary in self.summary))

    def difference(self, cell: str, other: str, metric: str = "top1") -> Difference:
        """`cell` minus `other`, paired by seed."""
        return paired_difference(_by_seed(self.table, cell, metric), _by_seed(self.table, other, metric))

    def to_dict(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("dataset", "split", "images", "train_images", "val_images")},
            "settings": dict(self.settings),
            "students": self.table.to_dicts(),
            "summary": [dataclasses.asdict(summary) for summary in self.summary],
        }


def run_experiment(
    grid: Grid,
    dataset: ImageDataset,
    teacher_answers: TeacherAnswers,
    run_dir: Path,
    *,
    split: str = "test",
    progress: bool = True,
    on_epoch: Callable[[str, int, EpochLog], None] | None = None,
) -> Results:
    """Train and evaluate every cell with every seed in `run_dir/CELL/seed-N`, seed by seed.

    Finished runs are not trained again, so an experiment that was stopped goes on where it stopped, and one that has
    grown trains what is new. Writes results.parquet, a row for each student, after every one of them, and results.json
    at the end. Raises what `train` and `evaluate` raise.
    """
    cells = grid.cells(run_dir)
    shown = select(dataset, (split,))
    with ExitStack() as stack:
        stack.enter_context(for_results(run_dir))
        images = ImageCaches(dataset, run_dir, stack, progress=progress)

        def network_for(config: StudentConfig, place: Path) -> str:
            """The folder of the network that the student in `place` learns from, trained if it is not there yet."""
            if grid.network is None:
                return str(config.network).replace(SEED_PLACE, str(config.seed))
            if is_begun(place) and learns_from(place, run_dir / NETWORK):
                return str(run_dir / NETWORK)
            larger, name = grid.kd_teacher_for(config)
            folder = run_dir / name
            cache = None if is_finished(folder) else images.training(larger)
            train(larger, dataset, teacher_answers, folder, progress=progress, images=cache)
            return str(folder)

        def measure(cell: Cell[StudentConfig], seed: int) -> Measured:
            config, place = cell.config.replace(seed=seed), cell.directory(run_dir, seed)
            if config.objective.network_terms:
                config = config.replace(network=network_for(config, place))
            run = train(
                config,
                dataset,
                teacher_answers,
                place,
                progress=progress,
                on_epoch=tell(on_epoch, cell.name, seed),
                images=None if is_finished(place) else images.training(config),
            )
            answers = learnt_answers(teacher_answers, run)
            scores = read_evaluation(place, split)
            if scores is None or scores.digest != digest_of(dataset, shown, TeacherAnswers(image=answers)):
                cache = images.evaluation(config, split)
                scores = evaluate(place, dataset, answers, split, images=cache, accelerator=config.accelerator)
            return Measured(
                row=_row(run, scores),
                epochs=run.epochs,
                images=scores.images,
                train_images=run.train_images,
                val_images=run.val_images,
            )

        return measure_cells(grid, cells, dataset.name, split, run_dir, METRICS, measure)


@contextmanager
def for_results(run_dir: Path) -> Iterator[None]:
    """The folder of an experiment, for this process alone while the block runs. Raises as `only_user`, and
    VersionUnsupported where a newer release has written its results."""
    with only_user(run_dir):
        remove_leftovers(run_dir)
        with suppress(FileNotFoundError, RunInvalid):  # damaged results are written anew
            read_json(run_dir / RESULTS)
        yield


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A trained and evaluated student: its row of the table, and the logs of its epochs."""

    row: Mapping[str, Any]
    epochs: Sequence[Any]
    images: int
    train_images: int
    val_images: int = 0


def measure_cells(
    grid: Grid,
    cells: Sequence[Cell[AnyConfig]],
    dataset: str,
    split: str,
    run_dir: Path,
    metrics: Sequence[str],
    measure: Callable[[Cell[AnyConfig], int], Measured],
) -> Results:
    """Every cell with every seed, seed by seed. Writes results.parquet, a row for each student, after every one of
    them, and results.json at the end. Metrics that a student has no value of are left out of the summary."""
    rows: list[dict[str, Any]] = []
    students = list(itertools.product(grid.seeds, cells))
    for number, (seed, cell) in enumerate(students, start=1):
        with titled(f"student {number} of {len(students)}, {cell.name}, seed {seed}"):
            measured = measure(cell, seed)
        seconds = sum(log.seconds for log in measured.epochs)
        row = {
            **cell.columns(seed),
            **measured.row,
            "seconds": seconds,
            "images_per_second": sum(log.images_per_second * log.seconds for log in measured.epochs) / seconds,
            "run": str(cell.directory(run_dir, seed).relative_to(run_dir)),
        }
        rows.append(row)
        table = pl.DataFrame(rows, infer_schema_length=None)
        write_parquet(run_dir / "results.parquet", table)
    results = Results(
        dataset=dataset,
        split=split,
        images=measured.images,
        train_images=measured.train_images,
        val_images=measured.val_images,
        settings={name: value for name, value in cells[0].config.to_dict().items() if name not in cells[0].varied},
        table=table,
        summary=summarise(table, cells, grid.baseline, [name for name in metrics if table[name].null_count() == 0]),
    )
    write_json(run_dir / RESULTS, results.to_dict())
    return results


def learnt_answers(teacher_answers: TeacherAnswers, run: TrainedStudent) -> Answers | None:
    """Those of the given answers that the run's aspects can be scored on: the ones about the image first."""
    keys = set(run.description.aspect_keys)
    return next((answers for answers in teacher_answers.given if keys.intersection(answers.questions.keys)), None)


class ImageCaches:
    """The decoded images of a dataset for whoever asks: once for students that want them alike, until `stack` ends."""

    def __init__(self, dataset: ImageDataset, folder: Path, stack: ExitStack, *, progress: bool) -> None:
        self.dataset = dataset
        self.folder = folder
        self.stack = stack
        self.progress = progress
        self._open: dict[tuple[object, ...], ImageCache] = {}

    def training(self, config: StudentConfig) -> ImageCache:
        key = ("train", config.stored_size, config.damaged_images)
        return self._cached(key, config, training_cache, training_records(self.dataset))

    def evaluation(self, config: StudentConfig, split: str) -> ImageCache:
        key = (split, config.shown_size, config.image_size, config.damaged_images)
        return self._cached(key, config, evaluation_cache, select(self.dataset, (split,)))

    def _cached(
        self, key: tuple[object, ...], config: StudentConfig, decode: Any, records: Sequence[ImageRecord]
    ) -> ImageCache:
        if key not in self._open:
            folder = self.folder / "-".join(["images", *map(str, key)])
            cache = decode(config, self.dataset, records, folder, progress=self.progress)
            self.stack.callback(remove_cache, folder)
            self._open[key] = self.stack.enter_context(cache)
        return self._open[key]


def summarise(
    table: pl.DataFrame,
    cells: Sequence[Cell[AnyConfig]],
    baseline: Mapping[str, Any],
    metrics: Sequence[str],
) -> tuple[CellSummary, ...]:
    """Every metric of every cell, compared with the cell that has the baseline's settings and else the same."""
    found = []
    for metric, cell in itertools.product(metrics, cells):
        values = _by_seed(table, cell.name, metric)
        reference = Cell.of(cell.config.replace(**baseline), tuple(cell.varied)).name
        gain = None
        if reference != cell.name:
            gain = paired_difference(values, _by_seed(table, reference, metric))
        found.append(
            CellSummary(
                cell=cell.name,
                varied=cell.varied,
                metric=metric,
                values=tuple(values.values()),
                mean=float(np.mean(list(values.values()))),
                std=_std(list(values.values())),
                baseline=reference,
                gain=gain,
            )
        )
    return tuple(found)


def paired_difference(values: Mapping[int, float], others: Mapping[int, float]) -> Difference:
    """`values` minus `others` of the same seed."""
    differences = [value - others[seed] for seed, value in values.items()]
    low = high = p = None
    if len(differences) > 1 and len(set(differences)) > 1:
        test = stats.ttest_1samp(differences, 0.0)
        interval = test.confidence_interval(CONFIDENCE)
        low, high, p = float(interval.low), float(interval.high), float(test.pvalue)
    return Difference(
        values=tuple(differences), mean=float(np.mean(differences)), std=_std(differences), low=low, high=high, p=p
    )


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    """Let `path` appear whole or not at all."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, metadata={"version": str(VERSION)})
    write_bytes(path, buffer.getvalue())


def _row(run: TrainedStudent, scores: Evaluation) -> dict[str, Any]:
    return {
        "best_epoch": run.best_epoch,
        "train_images": run.train_images,
        "val_top1": run.val_top1,
        "val_loss": run.epochs[run.best_epoch - 1].val_loss,
        **{name: getattr(scores, name) for name in (*METRICS, "loss", "aspect_auroc", "aspect_ece")},
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _by_seed(table: pl.DataFrame, cell: str, metric: str) -> dict[int, float]:
    rows = table.filter(pl.col("cell") == cell)
    if rows.is_empty():
        raise KeyError(f"no students of cell '{cell}'")
    return dict(zip(rows["seed"].to_list(), rows[metric].to_list(), strict=True))


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def tell(on_epoch: Callable[[str, int, AnyLog], None] | None, cell: str, seed: int) -> Callable[[AnyLog], None] | None:
    """`on_epoch` for one student's epochs."""
    return None if on_epoch is None else lambda log: on_epoch(cell, seed, log)

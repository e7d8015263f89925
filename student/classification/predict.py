"""Predictions as tables: images are decoded in threads ahead of the network, and rows come a batch at a time.

path | image_id     file, or id in the dataset; null for images that were given as pixels
predicted           the class with the highest probability; null where the prediction is abstained from, and on errors
probability         of that class, also where it is abstained from
abstained           whether `probability` is below the threshold
top                 the most likely classes with their probabilities, the best first
reasons_for         aspects that speak for the class, the strongest first: key, question, p(yes), evidence in nats
reasons_against     the same of those that speak against it (`evidence.evidence`)
p_CLASS             the probability of each class, if wanted
yes_ASPECT          p(yes) of each aspect, if wanted
error               why the image cannot be read; null where it can
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from storage.concurrency import map_ahead
from storage.errors import StorageUnavailable
from storage.images.decode import ImageUnreadable, decode_image, read_image_file
from storage.images.unreachable import IN_A_ROW, passing_reason, require_reachable
from student.classification.augment import normalize_pixels
from student.classification.evidence import evidence
from student.core.aspects import yes_probability
from student.core.prediction_columns import PredictionColumns
from student.core.processor import available_cpus
from student.core.resizing import view_for_evaluation

if TYPE_CHECKING:
    from student.classification.classifier import Classifier

BATCHES_AHEAD = 2  # decoded while the network works; more would only take memory
ImageInput = Path | str | Image.Image | Tensor | NDArray[Any]

CLASS = pl.Struct({"class": pl.String, "probability": pl.Float32})
REASON = pl.Struct({"aspect": pl.String, "text": pl.String, "p_yes": pl.Float32, "evidence": pl.Float32})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An image to predict: its name in the table, and what opens it, from any thread. Opening raises OSError,
    StorageUnavailable and ImageUnreadable."""

    name: str | None
    open: Callable[[], Image.Image]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Why an image cannot be read, and the reason if a server or the network failed."""

    error: str
    passing: str | None


def as_source(given: ImageInput) -> Source:
    """A path, a Pillow image, or a tensor [3, H, W] or array [H, W, 3] of uint8 or of 0..1."""
    if isinstance(given, Image.Image):
        return Source(name=None, open=lambda: given.convert("RGB"))
    if isinstance(given, Tensor | np.ndarray):
        return Source(name=None, open=lambda: v2.functional.to_pil_image(given).convert("RGB"))
    return Source(name=str(given), open=lambda: decode_image(read_image_file(Path(given))))


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Makes the rows of a classifier's predictions."""

    classifier: Classifier
    columns: PredictionColumns
    name_column: str = "path"

    def frames(
        self, sources: Iterable[Source], *, batch_size: int = 64, threads: int | None = None
    ) -> Generator[pl.DataFrame]:
        """A frame for each batch of `sources`, in their order; no more than a few batches are in memory. Raises
        ImagesUnreachable where a server or network share fails for one image after the other."""
        with closing(self._decoded(sources, BATCHES_AHEAD * batch_size, threads or available_cpus())) as decoded:
            batch: list[tuple[Source, Tensor | Unread]] = []
            latest: deque[str | None] = deque(maxlen=IN_A_ROW)
            for source, view in decoded:
                latest.append(view.passing if isinstance(view, Unread) else None)
                require_reachable(latest)
                batch.append((source, view))
                if len(batch) == batch_size:
                    yield self._frame(batch)
                    batch = []
            if batch:
                yield self._frame(batch)

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame([], schema=self.schema, orient="row")

    @property
    def schema(self) -> dict[str, Any]:
        columns, classifier = self.columns, self.classifier
        reasons = {"reasons_for": pl.List(REASON), "reasons_against": pl.List(REASON)}
        return {
            self.name_column: pl.String,
            "predicted": pl.String,
            "probability": pl.Float32,
            "abstained": pl.Boolean,
            "top": pl.List(CLASS),
            **(reasons if columns.reasons else {}),
            **({f"p_{name}": pl.Float32 for name in classifier.class_names} if columns.probabilities else {}),
            **({f"yes_{aspect.key}": pl.Float32 for aspect in classifier.aspects} if columns.aspects else {}),
            "error": pl.String,
        }

    def _decoded(
        self, sources: Iterable[Source], ahead: int, threads: int
    ) -> Generator[tuple[Source, Tensor | Unread]]:
        """Each source with its pixels as the network is shown them, uint8 [S, S, 3], or why it cannot be read."""
        # Pillow decodes outside Python's lock, so threads are enough.
        pool = ThreadPoolExecutor(threads)
        try:
            yield from map_ahead(pool, self._view, sources, ahead)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _view(self, source: Source) -> Tensor | Unread:
        classifier = self.classifier
        try:
            image = source.open()
        except (ImageUnreadable, StorageUnavailable, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else None
            return Unread(error=said or str(error), passing=passing_reason(error))
        view = view_for_evaluation(image, resize_size=classifier.resize_size, image_size=classifier.image_size)
        return torch.from_numpy(np.array(view))

    def _frame(self, batch: Sequence[tuple[Source, Tensor | Unread]]) -> pl.DataFrame:
        views = [view for _, view in batch if isinstance(view, Tensor)]
        rows = iter(self._rows(*self._probabilities(torch.stack(views))) if views else [])
        blank = dict.fromkeys(self.schema)
        table = [
            {
                **blank,
                self.name_column: source.name,
                **({"error": view.error} if isinstance(view, Unread) else next(rows)),
            }
            for source, view in batch
        ]
        return pl.DataFrame(table, schema=self.schema, orient="row")

    @torch.inference_mode()
    def _probabilities(self, pixels_BHWC: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Calibrated class probabilities [B, C] and p(yes) of the aspects [B, Q]."""
        classifier, student = self.classifier, self.classifier.student
        device = next(student.parameters()).device
        pixels = normalize_pixels(pixels_BHWC.to(device), classifier.mean, classifier.std)
        logits = student(pixels.contiguous(memory_format=torch.channels_last))
        probabilities = (logits.class_logits_BC.float() / classifier.temperature).softmax(dim=1)
        return probabilities.cpu().numpy(), yes_probability(
            logits.aspect_logits_BQ.float(), classifier.aspects
        ).cpu().numpy()

    def _rows(self, probs_BC: NDArray[np.float32], p_yes_BQ: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
        columns, names = self.columns, self.classifier.class_names
        order_BC = np.argsort(-probs_BC, axis=1, kind="stable")
        reasons = self._reasons(p_yes_BQ, order_BC[:, 0]) if columns.reasons else [{}] * len(probs_BC)
        for probs, p_yes, order, why in zip(probs_BC, p_yes_BQ, order_BC, reasons, strict=True):
            best = float(probs[order[0]])
            abstained = columns.abstain_below is not None and best < columns.abstain_below
            row = {
                "predicted": None if abstained else names[order[0]],
                "probability": best,
                "abstained": abstained,
                "top": [{"class": names[c], "probability": float(probs[c])} for c in order[: columns.top]],
                **why,
            }
            if columns.probabilities:
                row |= {f"p_{name}": float(p) for name, p in zip(names, probs, strict=True)}
            if columns.aspects:
                row |= {f"yes_{a.key}": float(p) for a, p in zip(self.classifier.aspects, p_yes, strict=True)}
            yield row

    def _reasons(self, p_yes_BQ: NDArray[np.float32], best_B: NDArray[np.int64]) -> list[dict[str, Any]]:
        """The aspects that speak most for and most against each image's best class."""
        aspects, profile, count = self.classifier.aspects, self.classifier.profile, self.columns.reasons
        if not aspects or profile is None:
            return [{"reasons_for": [], "reasons_against": []} for _ in best_B]
        evidence_BQ = np.nan_to_num(evidence(p_yes_BQ, best_B, profile.means()))
        order_BQ = np.argsort(-evidence_BQ, axis=1, kind="stable")

        def reason(image: int, aspect: int) -> dict[str, Any]:
            key, text = aspects[aspect].key, aspects[aspect].text
            found = {"p_yes": float(p_yes_BQ[image, aspect]), "evidence": float(evidence_BQ[image, aspect])}
            return {"aspect": key, "text": text, **found}

        return [
            {
                "reasons_for": [reason(image, q) for q in order[:count] if evidence_BQ[image, q] > 0],
                "reasons_against": [reason(image, q) for q in order[::-1][:count] if evidence_BQ[image, q] < 0],
            }
            for image, order in enumerate(order_BQ)
        ]


def flattened(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with lists as text, for CSV and terminals: `daisy 0.91; tulip 0.05`, `Is it round? yes 0.97`."""
    texts = {
        "top": lambda one: f"{one['class']} {one['probability']:.3f}",
        "reasons_for": _answered,
        "reasons_against": _answered,
    }
    columns = [
        pl.Series(name, ["; ".join(map(text, cell)) if cell is not None else None for cell in frame[name].to_list()])
        for name, text in texts.items()
        if name in frame.columns
    ]
    return frame.with_columns(*columns)


def _answered(reason: Mapping[str, Any]) -> str:
    p_yes = reason["p_yes"]
    return f"{reason['text']} {'yes' if p_yes >= 0.5 else 'no'} {max(p_yes, 1 - p_yes):.2f}"

"""Images with their boxes: what teachers say about them, what a detector found, missed and mistook."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from storage.datasets.detection import Box, DetectionDataset, box_id
from storage.errors import AspectsError
from student.core.stored_detections import SIDES, detection_splits
from student.core.stored_runs import StoredRun
from view.rendering import link, percent, render, sources_of
from view.sources import OpenAnswers, Sources

PAGE = 24  # images
LEAST_SCORE = 0.5  # of the detections that are shown
MISTAKES = 12  # drawn on an image, the surest ones
SAID = 4  # questions that are answered yes most surely, shown with a box

Show = Literal["all", "missed", "mistakes"]

router = APIRouter()


@router.get("/detection")
def detection(
    request: Request,
    run: str | None = None,
    split: str | None = None,
    label: str | None = None,
    show: Show = "all",
    least: Annotated[float, Query(ge=0, le=1)] = LEAST_SCORE,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
) -> HTMLResponse:
    sources = sources_of(request)
    dataset = sources.dataset
    if not isinstance(dataset, DetectionDataset):
        return render(request, "detection.html", title="Detection", dataset=None)
    detectors = [one for one in sources.student_runs() if one.kind == "detector" and detection_splits(one.folder)]
    chosen = _choose(detectors, run)
    splits = list(dict.fromkeys(record.split for record in dataset.records))
    split = split or (detection_splits(chosen.folder)[0] if chosen else splits[0])
    evaluated, found = sources.matches.get(dataset, chosen, split, least)
    kept = [one for one in found if _matches(one, label, show)]
    boxes = _box_answers(sources, dataset)
    return render(
        request,
        "detection.html",
        title="Detection",
        dataset=dataset,
        detectors=detectors,
        chosen=chosen,
        evaluated=evaluated,
        splits=splits,
        filters={"run": chosen.name if chosen else None, "split": split, "label": label, "show": show, "least": least},
        totals=_totals(found),
        images=[_drawn(dataset, one, boxes) for one in kept[(page - 1) * PAGE : page * PAGE]],
        total=len(kept),
        page=page,
        pages=max(1, math.ceil(len(kept) / PAGE)),
        thumbnail=lambda image_id, side: link("/thumbnail", id=image_id, side=side),
    )


def _choose(detectors: Sequence[StoredRun], name: str | None) -> StoredRun | None:
    if name is None:
        return detectors[0] if detectors else None
    for one in detectors:
        if one.name == name:
            return one
    raise HTTPException(404, f"there are no detections of a run '{name}'; run 'aspects evaluate' on it")


def _matches(one: dict[str, Any], label: str | None, show: Show) -> bool:
    boxes = [(box, found) for box, found in zip(one["boxes"], one["found_by"], strict=True)]
    if label and not any(str(box.label) == label for box, _ in boxes):
        return False
    if show == "missed":
        return any(found is None and (not label or str(box.label) == label) for box, found in boxes)
    return bool(one["mistakes"]) if show == "mistakes" else True


def _totals(found: Sequence[dict[str, Any]]) -> dict[str, int]:
    boxes = sum(len(one["boxes"]) for one in found)
    hit = sum(by is not None for one in found for by in one["found_by"])
    return {"boxes": boxes, "found": hit, "missed": boxes - hit, "mistakes": sum(len(one["mistakes"]) for one in found)}


def _box_answers(sources: Sources, dataset: DetectionDataset) -> OpenAnswers | None:
    """The first answers about boxes of the dataset."""
    for one in sources.answer_sets():
        if one.dataset.startswith(f"{dataset.name}.") and sources.shows(one.dataset):
            try:
                return sources.answers(one.id)
            except AspectsError:  # damaged or empty: the overview says so
                continue
    return None


def _drawn(dataset: DetectionDataset, one: dict[str, Any], answers: OpenAnswers | None) -> dict[str, Any]:
    """An image for the template: its size and rectangles (x, y, width, height, kind, text, link)."""
    width, height = dataset.sizes[one["image_id"]]
    shapes = []
    for box, found in zip(one["boxes"], one["found_by"], strict=True):
        text = dataset.class_names[box.label] + ("" if found is None else f", found with {percent(found['score'])}")
        said, address = _said(one["image_id"], box, answers)
        kind = "found" if found is not None else "missed"
        shapes.append({**_rectangle(box.corners), "kind": kind, "text": text, "said": said, "address": address})
    for row in sorted(one["mistakes"], key=lambda row: -row["score"])[:MISTAKES]:
        text = f"mistake: {row['label']}, {percent(row['score'])}"
        corners = [row[side] for side in SIDES]
        shapes.append({**_rectangle(corners), "kind": "mistake", "text": text, "said": [], "address": None})
    size = {"width": width, "height": height}
    return {"image_id": one["image_id"], **size, "shapes": shapes, "mistakes": len(one["mistakes"])}


def _rectangle(corners: Sequence[float]) -> dict[str, float]:
    left, top, right, bottom = corners
    return {"x": round(left, 1), "y": round(top, 1), "width": round(right - left, 1), "height": round(bottom - top, 1)}


def _said(image_id: str, box: Box, answers: OpenAnswers | None) -> tuple[list[str], str | None]:
    """The questions about a box that are answered yes most surely, and the address of all its answers."""
    row = None if answers is None else answers.columns.row_of(box_id(image_id, box))
    if answers is None or row is None:
        return [], None
    p_yes = np.nan_to_num(np.asarray(answers.columns.p_yes[:, row]), nan=0.0)
    best = [place for place in np.argsort(-p_yes, kind="stable")[:SAID].tolist() if p_yes[place] > 0.5]
    said = [f"{answers.columns.keys[place]} {percent(float(p_yes[place]))}" for place in best]
    return said, link("/image", answers=answers.found.id, id=box_id(image_id, box))

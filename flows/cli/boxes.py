"""Reject options about boxes in commands that do not use boxes."""

from __future__ import annotations

from flows.cli.model_options import flag_of
from flows.option_values import OptionInvalid
from flows.parameters import BoxParameters

NEEDS_DETECTION = "needs --task detection; add that, or leave it out"


def refuse_boxes(box_questions: str | None, boxes: BoxParameters, why: str = NEEDS_DETECTION) -> None:
    """Raise OptionInvalid if options about boxes are given that would have no effect."""
    if box_questions is not None:
        raise OptionInvalid(f"--box-questions {why}")
    for name in boxes.model_dump(exclude_defaults=True):
        raise OptionInvalid(f"{flag_of(BoxParameters, name)} {why}")

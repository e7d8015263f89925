"""Grids of classifiers for tests."""

from __future__ import annotations

from typing import Any

from student.classification.config import StudentConfig
from student.classification.grid import StudentGrid


def grid_of(config: StudentConfig, seeds: list[int], **axes: list[Any]) -> StudentGrid:
    return StudentGrid(settings=config.to_dict(), axes=axes or {"method": ["base", "makd"]}, seeds=seeds)

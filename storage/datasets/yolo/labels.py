"""YOLO's label files: boxes, outlines or boxes with keypoints, distinguished by the number of values in a line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from storage.datasets.base import Corners, DatasetInvalid
from storage.documents import DocumentInvalid, read_text
from storage.text import printable

LINE = "expected class, x, y, width, height"
BOX = 5  # values: class, centre, size
ORIENTED = 9  # class and the four corners of a turned box
ROUNDING = 0.01  # so far beyond the image coordinates may lie

Kind = Literal["boxes", "outlines", "boxes with keypoints"]


class LabelLine(NamedTuple):
    """An object of a label file; `corners` are relative to the upright image's width and height."""

    number: int
    label: int
    corners: Corners
    where: str
    beyond: bool  # has coordinates outside the image


@dataclass
class LabelReader:
    """Reads the label files of one dataset, which all have the same format.

    `keypoints` is the number of keypoint values that follow a box, 0 for none.
    """

    class_names: tuple[str, ...]
    keypoints: int
    _kinds: dict[Kind, str] = field(default_factory=dict)  # where each was seen first
    # How many values outlines have, and whether each of them could be a box and points in it.
    _outlines: set[int] = field(default_factory=set)
    _boxed: bool = True

    def read(self, path: Path) -> list[LabelLine] | None:
        """Return the objects of a label file; None if there is no such file. Raises DatasetInvalid, naming file and
        line."""
        try:
            text = read_text(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, DocumentInvalid) as error:
            raise DatasetInvalid(f"cannot read YOLO labels: {error}") from error
        lines = enumerate(text.splitlines())
        return [self._parse(number, line, f"{path}, line {number + 1}") for number, line in lines if line.strip()]

    def _parse(self, number: int, line: str, where: str) -> LabelLine:
        said = repr(printable(line, 80))
        try:
            label, *values = [float(word) for word in line.split()]
        except ValueError as error:
            raise DatasetInvalid(f"{where}: {said} are no numbers; {LINE}") from error
        if not label.is_integer() or len(values) < 4:
            raise DatasetInvalid(f"{where}: {said} is no box; {LINE}")
        if not 0 <= label < len(self.class_names):
            last = len(self.class_names) - 1
            raise DatasetInvalid(f"{where}: there is no class {label:g}; 'names' has 0 to {last}")
        if not all(map(math.isfinite, values)):
            raise DatasetInvalid(f"{where}: {said} has coordinates that are no numbers; {LINE}")
        kind = self._kind(1 + len(values), f"{where}: {said}")
        self._kinds.setdefault(kind, where)
        if len(self._kinds) > 1:
            one, other = self._kinds.items()
            raise DatasetInvalid(
                f"{other[1]} has {other[0]}, but {one[1]} has {one[0]}; "
                "all label files of a dataset must be of one kind"
            )
        if kind == "outlines":
            used = values
            self._outlines.add(1 + len(values))
            self._boxed = self._boxed and _is_box_with_points(values)
            corners = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
        else:
            used = values[:4]
            x, y, width, height = used
            corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        beyond = not all(-ROUNDING <= value <= 1 + ROUNDING for value in used)
        return LabelLine(number, int(label), corners, where, beyond)

    def refuse_hidden_keypoints(self, file: Path) -> None:
        """Raise DatasetInvalid if lines read as outlines are probably boxes with keypoints.

        They all have the same number of values, and their points are inside the boxes. Four corners (9 values) are a
        common outline.
        """
        if self._boxed and len(self._outlines) == 1 and (values := min(self._outlines)) != ORIENTED:
            raise DatasetInvalid(
                f"{file}: all labels have {values} values, which fit boxes with keypoints as well as outlines; add "
                f"'kpt_shape: [{(values - BOX) // 2}, 2]' for keypoints, or 'task: segment' for outlines"
            )

    def _kind(self, values: int, what: str) -> Kind:
        """Return the format by the number of values. Raises DatasetInvalid, beginning with `what`, for an unknown
        one."""
        if values == BOX:
            return "boxes"
        if self.keypoints:
            if values == BOX + self.keypoints:
                return "boxes with keypoints"
            raise DatasetInvalid(
                f"{what} has {values} values; with the 'kpt_shape' of the YAML file a line has {BOX + self.keypoints}"
            )
        if values == BOX + 1:
            raise DatasetInvalid(
                f"{what} has 6 values: a prediction with its confidence, not a label; {LINE}, and nothing else"
            )
        if values % 2:
            return "outlines"
        raise DatasetInvalid(
            f"{what} has {values} values, neither a box nor an outline (class and pairs of x, y); "
            "for boxes with keypoints, the YAML file says 'kpt_shape'"
        )


def _is_box_with_points(values: list[float]) -> bool:
    """Return whether the values are a centre, a size, and then points in that box."""
    x, y, width, height = values[:4]
    points = zip(values[4::2], values[5::2], strict=True)
    within = all(
        2 * abs(left - x) <= width + ROUNDING and 2 * abs(top - y) <= height + ROUNDING
        for left, top in points
        if (left, top) != (0, 0)  # an invisible keypoint
    )
    return within and min(x - width / 2, y - height / 2) >= -ROUNDING and max(x + width / 2, y + height / 2) <= 1.01


def keypoint_values(document: Mapping[str, Any], file: Path) -> int:
    """Return the number of keypoint values per line according to the YAML file's `kpt_shape`, 0 without. Raises
    DatasetInvalid."""
    shape = document.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or any(type(side) is not int or side < 1 for side in shape):
        raise DatasetInvalid(
            f"{file}: 'kpt_shape' is {printable(repr(shape), 80)}; it must be the number of keypoints and 2 or 3"
        )
    return int(shape[0] * shape[1])

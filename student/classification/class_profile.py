"""What the answers say about each class, and which aspects of an image speak for and against a class.

class-profile.json, in a run folder, has the mean p(yes) of each aspect among the training images of each class, as the
student learned it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from student.classification.examples import Examples
from student.classification.targets import means_by_class
from student.classification.terms import AspectTerm, ClassTerm, Method
from student.core.files import RunInvalid, parse, write_json
from student.core.runs import read_if_whole

CLASS_PROFILE = "class-profile.json"


@dataclass(frozen=True, kw_only=True)
class ClassProfile:
    """Mean p(yes) of each aspect (inner, in the order of `aspects`, their keys) for each class (outer, in the order of
    `class_names`); None where no training image of the class has an answer."""

    class_names: tuple[str, ...]
    aspects: tuple[str, ...]
    p_yes: tuple[tuple[float | None, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path) -> ClassProfile:
        """Raises RunInvalid where the fields are not those of a class profile."""
        profile = parse(cls, values, path)
        if len(profile.p_yes) != len(profile.class_names) or {len(row) for row in profile.p_yes} - {
            len(profile.aspects)
        }:
            raise RunInvalid(f"{path} has not one row for each class and one value for each aspect")
        return profile

    def means(self) -> NDArray[np.float64]:
        """`p_yes` as an array [C, Q], NaN where there is no answer."""
        return np.array(self.p_yes, dtype=np.float64).reshape(len(self.class_names), len(self.aspects))


def learned_profile(
    method: Method, examples: Examples, class_names: Sequence[str], aspects: Sequence[str]
) -> ClassProfile:
    """The profile of the `aspects` that a student learns from `examples` by `method`. Images with a hidden label and
    validation images have no part in it. Where no image has a label, it is of the classes that images are named."""
    terms = list(zip(method.target_terms, examples.targets, strict=True))
    targets_NQ = torch.cat([targets for term, targets in terms if isinstance(term, AspectTerm)], dim=1)
    trained = examples.train_indices.unique()
    labels_N = examples.labels_N
    if (labels_N < 0).all():
        for targets_NC in [targets for term, targets in terms if isinstance(term, ClassTerm)]:
            named = ~targets_NC.isnan().any(dim=1)
            labels_N = torch.where(named, targets_NC.nan_to_num().argmax(dim=1), labels_N)
    means_CQ = means_by_class(targets_NQ[trained].numpy(), labels_N[trained].numpy(), len(class_names))
    rows = [[None if np.isnan(value) else round(value, 5) for value in mean] for mean in means_CQ.tolist()]
    return ClassProfile(class_names=tuple(class_names), aspects=tuple(aspects), p_yes=tuple(map(tuple, rows)))


def write_class_profile(run_dir: Path, profile: ClassProfile) -> None:
    write_json(run_dir / CLASS_PROFILE, profile.to_dict())


def read_class_profile(run_dir: Path) -> ClassProfile | None:
    """None where there is none, as in run folders of earlier releases, and, with a note, where it is damaged. Raises
    VersionUnsupported, and StorageUnavailable as `read_json`."""
    path = run_dir / CLASS_PROFILE
    return read_if_whole(path, ClassProfile.from_dict, " and ignored; predictions are without reasons")

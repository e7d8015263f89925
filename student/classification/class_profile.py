"""What the answers say about each class, and which aspects of an image speak for and against a class.

class-profile.json, in a run folder, has the mean p(yes) of each aspect among the training images of each class, as the
student was taught it.
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
from student.classification.terms import AspectTerm, Method
from student.core.files import RunInvalid, parse, write_json
from student.core.runs import read_if_whole

CLASS_PROFILE = "class-profile.json"
SUREST = 0.99  # a mean p(yes); a finite number of images never makes an answer impossible


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
        """Raises RunInvalid for what is no class profile."""
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
    """The profile of the `aspects` that `method` teaches a student by `examples`. Images with a hidden label and
    validation images have no part in it."""
    terms = zip(method.target_terms, examples.targets, strict=True)
    targets_NQ = torch.cat([targets for term, targets in terms if isinstance(term, AspectTerm)], dim=1)
    trained = examples.train_indices.unique()
    means_CQ = means_by_class(targets_NQ[trained].numpy(), examples.labels_N[trained].numpy(), len(class_names))
    rows = [[None if np.isnan(value) else round(value, 5) for value in mean] for mean in means_CQ.tolist()]
    return ClassProfile(class_names=tuple(class_names), aspects=tuple(aspects), p_yes=tuple(map(tuple, rows)))


def evidence(
    p_yes_BQ: NDArray[np.floating], classes_B: NDArray[np.int64], profile: ClassProfile
) -> NDArray[np.float64]:
    """How much each aspect of an image speaks for a class, in nats [B, Q]: below 0 it speaks against it.

    The weight of evidence (Good 1950) of the answer yes is log(m_c / m), where m_c is the class's mean p(yes) and m the
    mean over all classes, and of no log((1 - m_c) / (1 - m)). The image's p(yes), clipped to 0..1, weighs the two.
    Means are kept within 1 - SUREST .. SUREST. NaN where the profile has no mean for the class.
    """
    means_CQ = profile.means().clip(1 - SUREST, SUREST)
    known = ~np.isnan(means_CQ)
    overall_Q = np.where(known, means_CQ, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    overall_Q = np.where(known.any(axis=0), overall_Q, np.nan)
    p_yes, means_BQ = p_yes_BQ.astype(np.float64), means_CQ[classes_B]
    return p_yes * np.log(means_BQ / overall_Q) + (1 - p_yes) * np.log((1 - means_BQ) / (1 - overall_Q))


def write_class_profile(run_dir: Path, profile: ClassProfile) -> None:
    write_json(run_dir / CLASS_PROFILE, profile.to_dict())


def read_class_profile(run_dir: Path) -> ClassProfile | None:
    """None where there is none, as in run folders of earlier releases, and, with a note, where it is damaged. Raises
    VersionUnsupported, and StorageUnavailable as `read_json`."""
    path = run_dir / CLASS_PROFILE
    return read_if_whole(path, ClassProfile.from_dict, " and ignored; predictions are without reasons")

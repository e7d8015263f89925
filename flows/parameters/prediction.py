"""Parameters of `aspects predict`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flows.option_values import OptionInvalid
from student.core.prediction_columns import PredictionColumns


class PredictionParameters(PredictionColumns):
    """The contents of the table, and how its predictions are computed."""

    abstain_for_precision: Annotated[
        float | None, Field(ge=0, le=1, description="Predict no class where less than this share would be right.")
    ] = None
    batch_size: Annotated[int, Field(ge=1, description="Number of images in a batch.")] = 64
    accelerator: Annotated[
        Literal["cpu", "cuda", "mps"] | None, Field(description="Device; default: the best of this machine.")
    ] = None

    def require_one_threshold(self) -> None:
        """Raise OptionInvalid if both ways to abstain are given."""
        if self.abstain_below is not None and self.abstain_for_precision is not None:
            raise OptionInvalid("--abstain-below and --abstain-for-precision are two ways to abstain; give one")

    def columns(self, abstain_below: float | None) -> PredictionColumns:
        """Return the columns of the table, with this threshold."""
        given = self.model_dump(include=set(PredictionColumns.model_fields))
        return PredictionColumns(**{**given, "abstain_below": abstain_below})

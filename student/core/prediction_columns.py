"""The optional contents of a table of predictions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from storage.parameters import Parameters


class PredictionColumns(Parameters):
    """The columns of a classifier's predictions, and the probability below which no class is predicted."""

    top: Annotated[int, Field(ge=1, description="Number of most likely classes.")] = 5
    reasons: Annotated[int, Field(ge=0, description="Number of aspects for, and against, the predicted class.")] = 3
    probabilities: Annotated[bool, Field(description="Add a column with the probability of each class.")] = False
    aspects: Annotated[bool, Field(description="Add a column with p(yes) of each aspect.")] = False
    abstain_below: Annotated[
        float | None, Field(ge=0, le=1, description="Predict no class below this probability.")
    ] = None

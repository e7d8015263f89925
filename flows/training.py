"""The flow `train-student`, implemented in `flows/work/training.py`."""

from __future__ import annotations

from flows.server.flow_runs import as_flow
from flows.work import training as work

train_student = as_flow(
    work.train_student,
    module=__name__,
    name="train-student",
    verb="train",
    description="Train students by the labels alone, a method and its twin without answers, and compare them.",
)

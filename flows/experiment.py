"""The flow `run-experiment`, implemented in `flows/work/experiment.py`."""

from __future__ import annotations

from flows.server.flow_runs import as_flow
from flows.work import experiment as work

run_experiment = as_flow(
    work.run_experiment,
    module=__name__,
    name="run-experiment",
    verb="experiment",
    description="Train every combination of some settings with every seed; compare the students in pairs of one seed.",
)

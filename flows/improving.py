"""The flow `improve-questions`, implemented in `flows/work/improving.py`."""

from __future__ import annotations

from flows.server.flow_runs import as_flow
from flows.work import improving as work

improve_questions = as_flow(
    work.improve_questions,
    module=__name__,
    name="improve-questions",
    verb="improve",
    description="Improve a question set in rounds, by the classes that students confuse.",
)

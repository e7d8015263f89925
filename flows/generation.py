"""The flow `generate-questions`, implemented in `flows/work/generation.py`."""

from __future__ import annotations

from flows.server.flow_runs import as_flow
from flows.work import generation as work

generate_questions = as_flow(
    work.generate_questions,
    module=__name__,
    name="generate-questions",
    verb="generate questions",
    description="Have a language model write yes/no questions that tell classes apart; keep those that can be asked.",
)

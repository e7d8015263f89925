"""The flow `audit-questions`, implemented in `flows/work/auditing.py`."""

from __future__ import annotations

from flows.server.flow_runs import as_flow
from flows.work import auditing as work

audit_questions = as_flow(
    work.audit_questions,
    module=__name__,
    name="audit-questions",
    verb="audit",
    description="Measure every question of a set on a sample of images, and say which ones to keep.",
)

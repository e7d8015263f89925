"""The flow `extract-aspects`, implemented in `flows/work/extraction.py`."""

from __future__ import annotations

from flows.server.flow_runs import as_flow
from flows.work import extraction as work

extract_aspects = as_flow(
    work.extract_aspects,
    module=__name__,
    name="extract-aspects",
    verb="extract",
    description="Ask a multimodal LLM yes/no questions about every image; keep the answers as Parquet; train on them.",
)

"""The flows `detect-aspects` and `train-detector`, implemented in `flows/work/detection.py`."""

from __future__ import annotations

from flows.server.flow_runs import as_flow
from flows.work import detection as work

detect_aspects = as_flow(
    work.detect_aspects,
    module=__name__,
    name="detect-aspects",
    verb="detect",
    description="Ask a multimodal LLM about images and about their boxes; train detectors on boxes and answers.",
)

train_detectors = as_flow(
    work.train_detectors,
    module=__name__,
    name="train-detector",
    verb="train detectors",
    description="Train detectors with and without the teacher's answers, seed by seed, and compare them.",
)

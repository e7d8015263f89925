"""Teachers by short name: every entry can be used as it is, and names for display are short."""

from __future__ import annotations

import re

import pytest

from teacher.engines.config import TINY_MODEL
from teacher.engines.presets import PRESETS, TINY, display_name


def test_short_names_are_lower_case_and_name_different_models() -> None:
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in PRESETS)
    assert len({config.model for config in PRESETS.values()}) == len(PRESETS)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {TINY}))
def test_images_are_limited_to_a_megapixel(name: str) -> None:
    config = PRESETS[name]
    assert config.max_pixels is not None
    assert config.max_pixels <= 1 << 20
    assert config.model.count("/") == 1


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        (PRESETS[TINY].model, TINY),
        (str(TINY_MODEL), TINY),
        ("/elsewhere/site-packages/teacher/tiny/model", TINY),
        ("/models/qwen/model/", "qwen/model"),
        ("./model", "model"),
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"),
    ],
)
def test_display_name(model: str, shown: str) -> None:
    assert display_name(model) == shown

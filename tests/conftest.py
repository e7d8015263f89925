"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real third-party photos and answers; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("ASPECTS_DATA", PROJECT / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set ASPECTS_DATA to the folder that holds flowers102_64")
    return folder

"""Question sets and experiments that come with the project, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

# pyproject.toml puts them here in a wheel; in a checkout they are next to the packages, where users expect them.
INSTALLED = Path(__file__).parent / "bundled"
FOLDER = INSTALLED if INSTALLED.is_dir() else Path(__file__).parents[1]
Kind = Literal["questions", "experiments"]


def bundled_names(kind: Kind) -> list[str]:
    """Return the bundled names that can be given instead of a path, sorted."""
    return sorted(path.stem for path in (FOLDER / kind).glob("*.yaml"))


def find_file(path: Path, kind: Kind) -> Path:
    """Return the bundled file if `path` is its name, e.g. `flowers102`, and no such file exists here; else `path`."""
    if str(path) in bundled_names(kind) and not path.is_file():
        return FOLDER / kind / f"{path}.yaml"
    return path


def say_names(kind: Kind, error: OSError) -> str:
    """Return the list of bundled names to append to the error for a missing file."""
    return f"; bundled {kind}: {', '.join(bundled_names(kind))}" if isinstance(error, FileNotFoundError) else ""

"""Question sets and experiments that come with the project, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

# pyproject.toml puts them here in a wheel; in a checkout they lie beside the packages, where people look for them.
INSTALLED = Path(__file__).parent / "bundled"
FOLDER = INSTALLED if INSTALLED.is_dir() else Path(__file__).parents[1]
Kind = Literal["questions", "experiments"]


def bundled_names(kind: Kind) -> list[str]:
    """What may be given instead of a path, sorted."""
    return sorted(path.stem for path in (FOLDER / kind).glob("*.yaml"))


def find_file(path: Path, kind: Kind) -> Path:
    """The bundled file where `path` is the name of one, e.g. `flowers102`, and no file here; else `path`."""
    if str(path) in bundled_names(kind) and not path.is_file():
        return FOLDER / kind / f"{path}.yaml"
    return path


def say_names(kind: Kind, error: OSError) -> str:
    """What to add to the message about a file that is not there."""
    return f"; bundled {kind}: {', '.join(bundled_names(kind))}" if isinstance(error, FileNotFoundError) else ""

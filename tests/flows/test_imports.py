"""Who may import whom, read from the syntax trees: also imports inside functions count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

ALLOWED = {
    "flows": {"flows", "view", "teacher", "student", "storage"},
    "view": {"view", "teacher", "student", "storage"},
    "teacher": {"teacher", "storage"},
    "student": {"student", "storage"},
    "storage": {"storage"},
}
# Packages that live in one place only, as paths that begin so.
HOME = {
    "prefect": ("flows/server/",),
    "typer": ("flows/",),
    "vllm": ("teacher/engines/vllm/",),
    "ray": ("teacher/extraction/cluster/",),
    "transformers": ("teacher/",),
    "timm": ("student/",),
    "lightning_fabric": ("student/",),
    "fastapi": ("view/",),
    "starlette": ("view/",),
    "uvicorn": ("view/",),
}
# What the rooms of a package may import of their siblings; a package that is not here has no such rule.
ROOMS = {
    "student/core/": {"student.core"},
    "student/classification/": {"student.core", "student.classification"},
    "student/detection/": {"student.core", "student.detection"},
}


def imported(source: str) -> Iterator[str]:
    """The full names that a module imports anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import would escape this test.
            if node.level or node.module is None:
                yield "."
            else:
                # `from student import core` imports student.core.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def misplaced(path: str, source: str) -> list[str]:
    """What the module at `path` (relative to the project) imports although it must not."""
    names = set(imported(source))
    packages = {name.partition(".")[0] if name != "." else "." for name in names}
    forbidden = (set(ALLOWED) | {"."}) - ALLOWED[path.partition("/")[0]]
    elsewhere = {name for name, homes in HOME.items() if not path.startswith(homes)}
    return sorted(packages & (forbidden | elsewhere)) + sorted(_other_rooms(path, names))


def _other_rooms(path: str, names: set[str]) -> set[str]:
    """The rooms of its own package that the module imports from but must not."""
    package = path.partition("/")[0]
    for room, allowed in ROOMS.items():
        if path.startswith(room):
            rooms = {".".join(name.split(".")[:2]) for name in names if name.partition(".")[0] == package}
            return rooms - allowed
    return set()


MODULES = sorted(
    path.relative_to(PROJECT).as_posix() for package in ALLOWED for path in (PROJECT / package).rglob("*.py")
)


@pytest.mark.parametrize("path", MODULES)
def test_module_imports_only_what_its_package_may(path: str) -> None:
    assert misplaced(path, (PROJECT / path).read_text(encoding="utf-8")) == []


def test_every_package_is_looked_at() -> None:
    assert {Path(path).parts[0] for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("storage/a.py", "from student.classification.model import Student", ["student"]),
        ("student/a.py", "def f():\n    import teacher.engines.config", ["teacher"]),
        ("teacher/engines/base.py", "import vllm.inputs", ["vllm"]),
        ("student/a.py", "from prefect import flow", ["prefect"]),
        ("student/a.py", "from . import model", ["."]),
        ("student/core/a.py", "from student.classification.config import StudentConfig", ["student.classification"]),
        ("student/core/a.py", "def f():\n    from student import detection", ["student.detection"]),
        ("student/classification/a.py", "import student.detection.runs", ["student.detection"]),
        ("student/detection/a.py", "from student.classification import evaluate", ["student.classification"]),
        ("student/detection/a.py", "from student.core import losses\nfrom student.detection import model", []),
        ("teacher/engines/vllm/engine.py", "import vllm\nfrom storage import images", []),
    ],
)
def test_forbidden_imports_are_found(path: str, source: str, found: list[str]) -> None:
    assert misplaced(path, source) == found

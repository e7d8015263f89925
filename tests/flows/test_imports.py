"""Who may import whom, read from the syntax trees: also imports inside functions count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

ALLOWED = {
    "flows": {"flows", "teacher", "student", "storage"},
    "teacher": {"teacher", "storage"},
    "student": {"student", "storage"},
    "storage": {"storage"},
}
# Packages that live in one place only, as paths that begin so.
HOME = {
    "prefect": ("flows/server/",),
    "typer": ("flows/",),
    "vllm": ("teacher/engines/vllm/",),
    "transformers": ("teacher/",),
    "timm": ("student/",),
    "lightning_fabric": ("student/",),
    "torchmetrics": ("student/",),
}


def imported(source: str) -> Iterator[str]:
    """The top-level packages that a module imports anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import would go round this test.
            yield node.module.partition(".")[0] if node.level == 0 and node.module else "."


def misplaced(path: str, source: str) -> list[str]:
    """What the module at `path` (relative to the project) imports although it must not."""
    packages = set(imported(source))
    forbidden = (set(ALLOWED) | {"."}) - ALLOWED[path.partition("/")[0]]
    strangers = {name for name, homes in HOME.items() if not path.startswith(homes)}
    return sorted(packages & (forbidden | strangers))


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
        ("storage/a.py", "from student.core.model import Student", ["student"]),
        ("student/a.py", "def f():\n    import teacher.engines.config", ["teacher"]),
        ("teacher/engines/base.py", "import vllm.inputs", ["vllm"]),
        ("student/a.py", "from prefect import flow", ["prefect"]),
        ("student/a.py", "from . import model", ["."]),
        ("teacher/engines/vllm/engine.py", "import vllm\nfrom storage import images", []),
    ],
)
def test_forbidden_imports_are_found(path: str, source: str, found: list[str]) -> None:
    assert misplaced(path, source) == found

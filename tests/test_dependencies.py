"""What is imported is declared, what is declared is used, and the pins are among the versions that are declared."""

from __future__ import annotations

import ast
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import PROJECT

PACKAGES = ("flows", "storage", "student", "teacher", "view")
# Distributions whose modules have another name.
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# Needed although none of our files imports them: pyproject.toml says by whom, or they are programs.
INDIRECT = {"num2words", "sqlalchemy"}
EXTRA_OF = {"vllm": ("cuda", "cpu"), "datasets": ("huggingface",), "ray": ("ray",)}
PROJECT_TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared(*extras: str) -> dict[str, Requirement]:
    """Requirements of the project, or of some of its extras, by name."""
    tables = PROJECT_TABLE["optional-dependencies"]
    lines = [line for extra in extras for line in tables[extra]] if extras else PROJECT_TABLE["dependencies"]
    return {canonical(Requirement(line).name): Requirement(line) for line in lines}


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


@cache
def imported(*folders: str) -> set[str]:
    """Names of the distributions that the files in `folders` import anywhere in them, without ours and Python's."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8")) for folder in folders for path in (PROJECT / folder).rglob("*.py")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    names = {module.partition(".")[0] for module in modules}
    ours = {*PACKAGES, "bench", "tests"} | {path.stem for path in PROJECT.glob("*.py")}
    return {canonical(DISTRIBUTIONS.get(name, name)) for name in names - ours - set(sys.stdlib_module_names)}


def test_packages_import_exactly_the_declared_dependencies() -> None:
    assert imported(*PACKAGES) - EXTRA_OF.keys() == declared().keys() - INDIRECT


@pytest.mark.parametrize("name", EXTRA_OF)
def test_optional_dependencies_are_extras(name: str) -> None:
    assert name in imported(*PACKAGES)
    for extra in EXTRA_OF[name]:
        assert any(found.startswith(name) for found in declared(extra))


def test_imports_of_tests_and_benchmarks_are_declared() -> None:
    everything = declared().keys() | declared("bench", "dev", "huggingface", "ray", "cuda").keys()
    assert imported("tests", "bench") - everything == set()


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").split()
    pins = {canonical(name): version for name, version in (line.split("==") for line in lines)}
    wanted = [*declared().items(), *declared(*PROJECT_TABLE["optional-dependencies"]).items()]
    assert [name for name, requirement in wanted if not requirement.specifier.contains(pins[name])] == []


def test_every_version_has_a_lower_bound() -> None:
    for name, requirement in declared().items():
        assert any(bound.operator == ">=" for bound in requirement.specifier), name


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_part_of_the_packages(package: str) -> None:
    assert Path(PROJECT / package / "py.typed").is_file()

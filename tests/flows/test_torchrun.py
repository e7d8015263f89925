"""`aspects train` as torchrun starts it, one process for each device; what is left when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from student.classification.runs import load_run
from tests.flows.conftest import Aspects
from tests.flows.processes import descendants, free_port, started, wait_until
from tests.student.conftest import write_images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc"),
]

SETTINGS = (
    *("backbone=test_resnet", "image_size=32", "batch_size=8", "lr=0.002", "warmup=1", "epochs=6", "policy=null"),
    *("crop_scale=[0.3,1.0]", "mixup=0", "cutmix=0", "drop_rate=0", "val_fraction=0.25", "sync_batchnorm=true"),
    *("threads=1", "workers=0", "checkpoint_every=1"),
    "precision=32-true",  # bfloat16 would round the losses of one process and of two differently
)


@contextmanager
def two_machines(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The command by an agent for each of two machines, which are both this one; their output in `0.log`, `1.log`."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    torchrun += ["--no-python", str(Path(sys.executable).with_name("aspects")), *command]
    with (
        started(torchrun, folder / "0.log", environment, folder) as one,
        started(torchrun, folder / "1.log", environment, folder) as other,
    ):
        yield [one, other]


def process_of(rank: int, agents: Sequence[subprocess.Popen[bytes]]) -> int:
    """The process of a device, before those that it has started itself."""
    pids = [pid for agent in agents for pid in descendants(agent.pid)]
    return next(pid for pid in pids if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text())


def test_a_lost_machine_ends_the_command_which_resumes_as_one_process_trains(
    aspects: Aspects, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    write_images(tmp_path / "images", train=8, test=2)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    command = ["train", "-d", "images", "--method", "base", "--seeds", "0", *settings, "--runs"]
    assert aspects(*command, "one").code == 0

    folder = tmp_path / "two" / "base" / "seed-0"
    with two_machines([*command, "two"], tmp_path, environment) as agents:
        wait_until((folder / "checkpoint.pt").exists, 240, "the first checkpoint", agents[0])
        os.kill(process_of(1, agents), signal.SIGKILL)
        assert [agent.wait(timeout=120) for agent in agents] == [1, 1]
    said = "".join((tmp_path / f"{number}.log").read_text() for number in range(2))
    assert "error: another process of torchrun has ended, or cannot be reached; the same command resumes" in said
    assert not (folder / "result.json").exists()
    with two_machines([*command, "two"], tmp_path, environment) as agents:
        assert [agent.wait(timeout=240) for agent in agents] == [0, 0]
    alone, together = (load_run(tmp_path / runs / "base" / "seed-0").epochs for runs in ("one", "two"))
    for name in ("loss", "val_loss"):
        expected = [getattr(epoch, name) for epoch in alone]
        assert [getattr(epoch, name) for epoch in together] == pytest.approx(expected, rel=1e-3)

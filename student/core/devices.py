"""The devices that a network is trained on, each in a process of its own where there are several."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch.distributed import DistError
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from storage.errors import AspectsError, RunFailed
from storage.platform.allocator import keep_freed_memory
from storage.platform.crashes import CRASHES, reporting_crash
from storage.platform.processes import serve_parent
from student.core.processor import usable_precision, use_threads
from student.core.setting_errors import ConfigInvalid
from student.core.settings import Accelerator, TrainingConfig, present_accelerator
from student.core.streaming import reporting_dead_workers
from student.core.torchrun import Torchrun, call_others

AnyConfig = TypeVar("AnyConfig", bound=TrainingConfig)


def launch(config: TrainingConfig, work: Callable[[Fabric], None]) -> None:
    """Run `work` on every device of the config; torch's generator is restored afterwards.

    Raises RunFailed where the process of a device, or one that decodes images for it, has ended.
    """
    # Its notes about precision would break the progress bar.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if (torchrun := Torchrun.current()) is not None:
        call_others(config)
        _work_with_others(config, torchrun, work)
        return
    # Spawned, not relaunched from the command line: this may be a worker's process, whose command is not ours.
    strategy = "ddp_spawn" if config.devices > 1 else "auto"
    fabric = Fabric(
        accelerator=config.accelerator, devices=config.devices, strategy=strategy, precision=usable_precision(config)
    )
    crash = (
        f"training of backbone '{config.backbone}' crashed within torch; the same command resumes from the last "
        f"checkpoint; if it crashes again, take another backbone or image_size"
    )
    if config.devices == 1:
        with reporting_crash(crash), torch.random.fork_rng():
            fabric.launch(work)
        return
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    try:
        with torch.random.fork_rng():
            fabric.launch(partial(_report_errors, work=work, errors=errors))
    except (ProcessRaisedException, ProcessExitedException) as error:
        if not errors.empty():
            raise errors.get() from None
        if isinstance(error, ProcessExitedException) and error.signal_name in CRASHES:
            raise RunFailed(f"{crash} ({error.signal_name})") from error
        raise


def work_for_first(config: TrainingConfig) -> None:
    """What any process of torchrun but the first one does in one call of `launch`."""
    torchrun = Torchrun.current()
    assert torchrun is not None
    _work_with_others(config, torchrun, None)


def _work_with_others(config: TrainingConfig, torchrun: Torchrun, work: Callable[[Fabric], None] | None) -> None:
    """Run `work`, which the first process has, in this process of torchrun."""
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=torchrun.local,
        num_nodes=torchrun.machines,
        strategy="ddp",
        precision=usable_precision(config),
    )
    with torch.random.fork_rng():
        fabric.launch()
        work = fabric.broadcast(work)
        assert work is not None
        with reporting_dead_workers(), _reporting_lost_processes():
            work(fabric)
            fabric.barrier()


@contextmanager
def _reporting_lost_processes() -> Iterator[None]:
    """The end of another process of torchrun as RunFailed: gloo raises plain RuntimeErrors."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, DistError) and "gloo" not in str(error):
            raise
        raise RunFailed(
            "another process of torchrun has ended, or cannot be reached; the same command resumes from the last "
            "checkpoint"
        ) from error


def _report_errors(fabric: Fabric, work: Callable[[Fabric], None], errors: Any) -> None:
    """Errors that a user can act on are raised again in the parent process, as themselves."""
    try:
        with reporting_dead_workers():
            work(fabric)
    except AspectsError as error:
        errors.put(error)
        raise


def prepare_device(fabric: Fabric, config: TrainingConfig) -> None:
    """Set up this process, once, before it builds anything."""
    if config.devices > 1 and (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        serve_parent(parent.pid, ignored={signal.SIGINT})  # those of a process that failed are ended by SIGTERM
    use_threads(config)
    if fabric.device.type == "cpu":
        keep_freed_memory()


def on_all_devices(config: AnyConfig) -> AnyConfig:
    """The config with the devices that torchrun has started processes for. Raises ConfigInvalid for another number of
    them."""
    torchrun = Torchrun.current()
    if torchrun is None:
        return config
    if config.devices not in (1, torchrun.world):
        raise ConfigInvalid(f"devices is {config.devices}, but torchrun started {torchrun.world}; leave devices out")
    return config.replace(devices=torchrun.world)


def require_devices(config: TrainingConfig) -> None:
    """Raises ConfigInvalid for devices that are not on this machine."""
    torchrun = Torchrun.current()
    here = config.devices if torchrun is None else torchrun.local
    if config.accelerator == "mps" and not torch.backends.mps.is_available():
        raise ConfigInvalid("accelerator 'mps' is not on this machine; give --set accelerator=cpu")
    if config.accelerator == "cuda" and torch.cuda.device_count() < here:
        raise ConfigInvalid(
            f"{here} CUDA device(s) asked for, but torch sees {torch.cuda.device_count()}; "
            f"give --set accelerator=cpu, or check nvidia-smi and that torch is a CUDA build"
        )


def require_accelerator(name: Accelerator | None) -> Accelerator:
    """`name`, or the accelerator of this machine where it is None. Raises ConfigInvalid for one that is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name is not None and not there[name]:
        raise ConfigInvalid(f"accelerator '{name}' is not on this machine; give --accelerator {present_accelerator()}")
    return name or present_accelerator()


class OfFirstProcess:
    """A function that stays in its process: other processes get one that does nothing."""

    def __init__(self, function: Callable[[Any], None] | None = None) -> None:
        self._function = function

    def __call__(self, log: Any) -> None:
        if self._function is not None:
            self._function(log)

    def __reduce__(self) -> tuple[type[OfFirstProcess], tuple[()]]:
        return OfFirstProcess, ()


@contextmanager
def relay(on_epoch: Callable[[Any], None] | None, config: TrainingConfig) -> Iterator[Callable[[Any], Any] | None]:
    """What rank 0 calls so that `on_epoch` runs in this process, where it may be any function."""
    if on_epoch is None or config.devices == 1:
        yield on_epoch
        return
    if Torchrun.current() is not None:
        yield OfFirstProcess(on_epoch)
        return
    queue = multiprocessing.get_context("spawn").SimpleQueue()

    def deliver() -> None:
        while (log := queue.get()) is not None:
            on_epoch(log)

    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        yield queue.put
    finally:
        queue.put(None)
        thread.join()

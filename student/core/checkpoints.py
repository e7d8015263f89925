"""The checkpoint of a run: what an interrupted training resumes from. The one before it is kept until the run ends.

A file of `torch.save`, then a line with the SHA-256 of all before it. Release 0.1.0 wrote no such line.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import uuid
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from storage.errors import InputInvalid, VersionUnsupported
from student.core.files import (
    VERSION,
    RunInvalid,
    digest_of_file,
    exists,
    parse,
    read_bytes,
    require_version,
    unreadable,
    writing,
)

CURRENT, BEFORE = "checkpoint.pt", "checkpoint-before.pt"
KEPT = ("student.safetensors", "student-before.safetensors")  # a checkpoint names the weights of one of them
SEAL = b"\nsha256:"
SEALED = len(SEAL) + 64
# Weights, their average, two moments of AdamW, and the log of the epochs.
LARGEST, BESIDES = 5, 1 << 26

AnyLog = TypeVar("AnyLog", bound=Any)


class CheckpointInvalid(InputInvalid):
    """A checkpoint is damaged or another run's: the run resumes without it."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Generic[AnyLog]):
    """The state after the last of `epochs`. `weights` is the digest of the weights kept so far, None where there are
    none; `average` is that of the weights, `scaler` the state of the loss scale, and `task` that of what is trained, in
    runs that have one."""

    student: Mapping[str, Tensor]
    optimizer: dict[str, Any]
    epochs: list[AnyLog]
    weights: str | None
    average: Mapping[str, Tensor] | None = None
    scaler: dict[str, Any] = dataclasses.field(default_factory=dict)
    task: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


def write_checkpoint(run_dir: Path, checkpoint: Checkpoint[Any]) -> None:
    """Write it; the last one becomes the one before. Raises as `writing`."""
    state = {
        "version": VERSION,
        "run": digest_of_file(run_dir / "run.json"),
        "weights": checkpoint.weights,
        "student": checkpoint.student,
        "optimizer": checkpoint.optimizer,
        "epochs": [dataclasses.asdict(log) for log in checkpoint.epochs],
    }
    if checkpoint.average is not None:
        state["average"] = checkpoint.average
    if checkpoint.scaler:
        state["scaler"] = checkpoint.scaler
    if checkpoint.task:
        state["task"] = dict(checkpoint.task)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    path = run_dir / CURRENT
    beside = run_dir / f".{CURRENT}.{uuid.uuid4().hex}"
    with writing(path):
        try:
            # The digest is computed while the disk is waited for.
            with beside.open("wb") as file, ThreadPoolExecutor(1) as pool:
                digest = pool.submit(lambda: hashlib.sha256(data).hexdigest())
                file.write(data)
                file.write(SEAL + digest.result().encode())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                path.replace(run_dir / BEFORE)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def read_checkpoint(
    run_dir: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    log: type[AnyLog],
    epochs: int,
    *,
    averaged: bool = False,
    task: Mapping[str, Tensor] = {},
) -> tuple[Checkpoint[AnyLog] | None, dict[Path, str]]:
    """The newest checkpoint of a run of `epochs` that fits both, on the CPU, None where there is none; and the files
    that cannot be used, with a line about each. Where the run is `averaged`, it has an average of the weights; it has
    a state like that of the `task`.

    Raises StorageUnavailable where one cannot be read right now, VersionUnsupported for one of a newer release.
    """
    found: Checkpoint[AnyLog] | None = None
    refused: dict[Path, str] = {}
    largest = LARGEST * sum(_bytes(tensor) for tensor in network.state_dict().values()) + BESIDES
    for path in (run_dir / CURRENT, run_dir / BEFORE):
        try:
            state = _load(path, read_bytes(path, limit=largest))
            found = _checked(path, state, network, optimizer, log, epochs, averaged, task)
            break
        except FileNotFoundError:
            continue
        except VersionUnsupported:
            raise
        except (CheckpointInvalid, RunInvalid) as error:
            refused[path] = f"{path} cannot be used ({error})"
    onward = "training starts again"
    if found is not None:
        onward = f"training resumes after epoch {len(found.epochs)}"
    return found, {path: f"{line}; {onward}" for path, line in refused.items()}


def remove_damaged(path: Path) -> None:
    """Raises RunInvalid for a folder in a checkpoint's place that is not empty."""
    with writing(path):
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif any(path.iterdir()):
            raise unreadable(path, "it is a folder")
        else:
            path.rmdir()


def remove_checkpoints(run_dir: Path) -> None:
    for name in (CURRENT, BEFORE):
        with suppress(OSError):  # of a folder that cannot be written: they do no harm
            (run_dir / name).unlink()


def _load(path: Path, data: bytes) -> dict[str, Any]:
    seal = data[-SEALED:]
    if seal.startswith(SEAL):
        data = data[:-SEALED]
        if hashlib.sha256(data).hexdigest().encode() != seal[len(SEAL) :]:
            raise CheckpointInvalid("its SHA-256 does not match")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ways of pickling that no checkpoint has
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises errors of many types for bytes that are no checkpoint
        raise CheckpointInvalid("it is damaged") from error
    if not isinstance(state, dict):
        raise CheckpointInvalid("it holds no checkpoint")
    try:
        require_version(path, state.get("version", 1))
    except RunInvalid as error:
        raise CheckpointInvalid("its version is not a number") from error
    return state


def _checked(
    path: Path,
    state: dict[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    log: type[AnyLog],
    epochs: int,
    averaged: bool,
    task: Mapping[str, Tensor],
) -> Checkpoint[AnyLog]:
    """Nothing is loaded into the network before all of it is known to fit."""
    if state.get("run") not in (None, digest_of_file(path.parent / "run.json")):
        raise CheckpointInvalid("it is another run's")
    if not _fits_network(state.get("student"), network) or not _fits_optimizer(state.get("optimizer"), optimizer):
        raise CheckpointInvalid("it is of another network")
    if averaged and not _fits_network(state.get("average"), network):
        raise CheckpointInvalid("it has no average of the weights")
    if not _fits(state.get("task", {}), task):
        raise CheckpointInvalid("it has no state of what is trained")
    if not isinstance(entries := state.get("epochs"), list):
        raise CheckpointInvalid("it has no log")
    try:
        logs = [parse(log, entry, path) for entry in entries]
    except RunInvalid as error:
        raise CheckpointInvalid("its log is damaged") from error
    if [one.epoch for one in logs] != list(range(1, len(logs) + 1)) or not 1 <= len(logs) < epochs:
        raise CheckpointInvalid("its log has other epochs")
    weights = state.get("weights")
    if weights is not None and not any(exists(path.parent / name) for name in KEPT):
        raise CheckpointInvalid("the weights of its best epoch, student.safetensors, are gone")
    return Checkpoint(
        student=state["student"],
        optimizer=state["optimizer"],
        epochs=logs,
        weights=weights,
        average=state.get("average"),
        scaler=state.get("scaler", {}),
        task=state.get("task", {}),
    )


def _fits_network(found: object, network: nn.Module) -> bool:
    return _fits(found, network.state_dict())


def _fits(found: object, wanted: Mapping[str, Tensor]) -> bool:
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        return False
    return all(
        isinstance(tensor := found[name], Tensor) and (tensor.shape, tensor.dtype) == (like.shape, like.dtype)
        for name, like in wanted.items()
    )


def _fits_optimizer(found: object, optimizer: torch.optim.Optimizer) -> bool:
    wanted = optimizer.state_dict()["param_groups"]
    if not isinstance(found, dict) or not isinstance(groups := found.get("param_groups"), list):
        return False
    if len(groups) != len(wanted) or not all(isinstance(group, dict) for group in groups):
        return False
    if any(
        group.keys() != like.keys() or group["params"] != like["params"]
        for group, like in zip(groups, wanted, strict=True)
    ):
        return False
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = found.get("state")
    return isinstance(state, dict) and all(
        index in range(len(parameters)) and isinstance(values, dict) and _fit(values, parameters[index])
        for index, values in state.items()
    )


def _fit(values: Mapping[str, Any], parameter: Tensor) -> bool:
    return all(
        value.shape == parameter.shape or value.numel() == 1 for value in values.values() if isinstance(value, Tensor)
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()

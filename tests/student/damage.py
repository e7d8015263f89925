"""What can happen to a file of a run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

Damage = Callable[[Path], object]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def written(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


def flipped(offset: float) -> Damage:
    """One bit, at this share of the file."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[min(len(data) - 1, int(offset * len(data)))] ^= 16
        path.write_bytes(bytes(data))

    return damage


def truncated(share: float) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def changed(**fields: object) -> Damage:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def without(field: str) -> Damage:
    def damage(path: Path) -> None:
        values = json.loads(path.read_text())
        del values[field]
        path.write_text(json.dumps(values))

    return damage


def saved(value: object) -> Damage:
    return lambda path: torch.save(value, path)


def other_weights(path: Path) -> None:
    state = safetensors.torch.load_file(path)
    safetensors.torch.save_file({f"other.{name}": tensor for name, tensor in state.items()}, path)


def one_shape_changed(path: Path) -> None:
    state = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: tensor[:1] if tensor.dim() else tensor for name, tensor in state.items()}, path)

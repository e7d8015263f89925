"""Tiny image files to build datasets of."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def draw(path: Path, shade: int = 0) -> bytes:
    """Write an 8x8 image in the format of the file's suffix, in folders made for it; its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256, 100, 200)).save(path)
    return path.read_bytes()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

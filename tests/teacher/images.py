"""A folder of small images, good and bad, that most extraction tests need."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

DAMAGED = {
    "train/b/bomb.png": "pixels",
    "train/b/empty.jpg": "empty",
    "train/b/text.jpg": "not an image",
    "train/b/truncated.jpg": "damaged",
}


def write_images(root: Path, good: int = 8) -> Path:
    """`good` readable images in class a (train), two in class b (test)."""
    random = np.random.default_rng(7)
    places = [f"train/a/{number:02d}.png" for number in range(good)] + ["test/b/0.png", "test/b/1.png"]
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return root


def write_damaged(root: Path) -> None:
    """The four files of `DAMAGED`, each unreadable in its own way."""
    folder = root / "train" / "b"
    folder.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "JPEG")
    (folder / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    (folder / "bomb.png").write_bytes(_png_header(60_000, 60_000))


def _png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")

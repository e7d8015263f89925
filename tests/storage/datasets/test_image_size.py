"""Sizes and orientations are read from headers, and agree with what decoding an image gives."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage.datasets.image_size import StoredSize, read_size, read_sizes
from storage.images.decode import decode_image
from tests.conftest import PROJECT
from tests.storage.datasets.tiny_images import write

ORIENTATIONS = range(1, 9)


def oriented(path: Path, orientation: int, size: tuple[int, int] = (12, 8)) -> Path:
    """A black image with a white block at 2, 1 to 5, 3 of its stored pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (2, 1, 5, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    image.save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_header_agrees_with_the_decoded_image(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = oriented(tmp_path / f"a{suffix}", orientation)
    found = read_size(path)
    assert found is not None
    assert found.upright == decode_image(path.read_bytes()).size
    if suffix != ".tif":  # Pillow writes a TIFF upright
        assert found == StoredSize(12, 8, orientation)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_corners_turn_with_the_pixels(tmp_path: Path, orientation: int) -> None:
    path = oriented(tmp_path / "a.png", orientation)
    rows, columns = np.nonzero(np.asarray(decode_image(path.read_bytes()))[..., 0])
    white = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert StoredSize(12, 8, orientation).turn((2, 1, 5, 3)) == white


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    data = oriented(tmp_path / "a.png", 6).read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    (tmp_path / "b.png").write_bytes(moved)
    assert read_size(tmp_path / "b.png") == StoredSize(12, 8, 6)
    assert decode_image(moved).size == (8, 12)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": "c" * 5000}, {"xmp": b"x"}])
def test_any_jpeg_without_exif(tmp_path: Path, options: dict[str, object]) -> None:
    Image.new("RGB", (300, 20)).save(tmp_path / "a.jpg", **options)  # type: ignore[arg-type]
    assert read_size(tmp_path / "a.jpg") == StoredSize(300, 20)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_upright(tmp_path: Path, value: int) -> None:
    assert read_size(oriented(tmp_path / "a.jpg", value)) == StoredSize(12, 8)


def test_reading_a_header_prints_nothing(tmp_path: Path) -> None:
    Image.new("1", (9500, 9500)).save(tmp_path / "a.png")  # so many pixels that Pillow warns
    code = f"""
from pathlib import Path
from storage.datasets.image_size import read_size
print(read_size(Path({str(tmp_path / "a.png")!r})).stored)
"""
    # pytest catches warnings itself
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert (ended.stdout, ended.stderr) == ("(9500, 9500)\n", "")


def test_other_files_have_no_image_size(tmp_path: Path) -> None:
    write(tmp_path / "text.jpg", "no image")
    write(tmp_path / "empty.jpg", "")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:30])
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    names = ("text", "empty", "cut", "folder", "pipe", "missing")
    found = read_sizes([tmp_path / f"{name}.jpg" for name in names])
    assert {path.stem: size for path, size in found.items()} == dict.fromkeys(names[:-1])
    with pytest.raises(FileNotFoundError):
        read_size(tmp_path / "missing.jpg")
    assert read_sizes([tmp_path / "empty.jpg" / "below.jpg"]) == {}

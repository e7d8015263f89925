"""Read width, height and EXIF orientation of image files from their first bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from storage.datasets.base import Corners
from storage.images.decoder_warnings import dropped_warnings

Size = tuple[int, int]  # width, height

ORIENTATION = 0x0112  # EXIF's tag; 1 is upright, 5 to 8 change width and height
HEADER = 4096
TAIL = 65536
SOME = 1000  # files per task of a thread
JPEG_START, JPEG_APP1 = b"\xff\xd8", 0xE1
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class StoredSize:
    """Width and height of the stored pixels, and the EXIF orientation (1 to 8) that turns them upright."""

    width: int
    height: int
    orientation: int = 1

    @property
    def stored(self) -> Size:
        return self.width, self.height

    @property
    def upright(self) -> Size:
        return (self.height, self.width) if self.orientation >= 5 else self.stored

    def turn(self, corners: Corners) -> Corners:
        """Convert corners in stored pixels to corners in the upright image."""
        left, top, right, bottom = corners
        width, height = self.width, self.height
        match self.orientation:
            case 2:  # mirrored
                return width - right, top, width - left, bottom
            case 3:  # upside down
                return width - right, height - bottom, width - left, height - top
            case 4:
                return left, height - bottom, right, height - top
            case 5:
                return top, left, bottom, right
            case 6:  # a quarter turn clockwise
                return height - bottom, left, height - top, right
            case 7:
                return height - bottom, width - right, height - top, width - left
            case 8:
                return top, width - right, bottom, width - left
        return corners


def read_sizes(paths: Sequence[Path]) -> dict[Path, StoredSize | None]:
    """Return the size of every existing file, None for one that cannot be opened as an image; only headers are read."""
    found: dict[Path, StoredSize | None] = {}
    chunks = [paths[start : start + SOME] for start in range(0, len(paths), SOME)]
    # Threads hide the latency of a slow disk or network.
    with ThreadPoolExecutor(8) as pool:
        for chunk in pool.map(_read_some, chunks):
            found.update(chunk)
    return found


def _read_some(paths: Sequence[Path]) -> dict[Path, StoredSize | None]:
    found: dict[Path, StoredSize | None] = {}
    for path in paths:
        try:
            found[path] = read_size(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


def read_size(path: Path) -> StoredSize | None:
    """Return the size of an image; None if it cannot be opened. Raises FileNotFoundError and NotADirectoryError."""
    try:
        # Do not block on a pipe without a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        header = os.read(descriptor, HEADER)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return _plain_jpeg(header) or _by_pillow(path)


def _plain_jpeg(header: bytes) -> StoredSize | None:
    """Return the size of a JPEG file without EXIF: most files, and six times as fast as with Pillow."""
    if header[:2] != JPEG_START:
        return None
    place = 2
    while place + 9 <= len(header) and header[place] == 0xFF and header[place + 1] != JPEG_APP1:
        if header[place + 1] in JPEG_FRAMES:
            height, width = header[place + 5 : place + 7], header[place + 7 : place + 9]
            return StoredSize(int.from_bytes(width, "big"), int.from_bytes(height, "big"))
        place += 2 + int.from_bytes(header[place + 2 : place + 4], "big")
    return None


def _by_pillow(path: Path) -> StoredSize | None:
    try:
        with dropped_warnings(), Image.open(path) as image:
            width, height = image.size
            orientation = _orientation(image, path)
            if image.format == "TIFF" and orientation >= 5:
                width, height = height, width  # Pillow gives the size of the upright image
            return StoredSize(width, height, orientation)
    # Pillow reports damage with errors of any kind.
    except Exception:
        return None


def _orientation(image: Image.Image, path: Path) -> int:
    try:
        if image.format == "PNG" and "exif" not in image.info and not _exif_at_end(path):
            # Pillow's own way decodes the whole image, in case EXIF follows the pixels.
            found = Image.Image.getexif(image).get(ORIENTATION)
        else:
            found = image.getexif().get(ORIENTATION)
    # As `decode_image` has it: damaged EXIF costs the orientation, not the image.
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _exif_at_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return b"eXIf" in file.read()
